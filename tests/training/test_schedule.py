"""Learning-rate schedules: the rate that the optimiser of a tiny training has at every step."""

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.training.schedule import SCHEDULES, schedule_callbacks

LR, LR_MIN = 3.6e-4, 3.4e-4


class RateLog(Callback):
    """Records the rates of the parameter groups and the momentum at every step of the optimiser."""

    order = 90

    def __init__(self):
        self.rates, self.momenta = [], []

    def before_step(self):
        self.rates.append([h["lr"] for h in self.opt.hypers])
        self.momenta.append(self.opt.hypers[0]["mom"])


def train(name: str, lr=LR, lr_min=LR_MIN, batches: int = 30, epochs: int = 2, validate: int = 3) -> RateLog:
    """Train two layers in two parameter groups on random numbers."""
    x = torch.randn(batches, 2)
    loaders = [
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(part, part.sum(1, keepdim=True)), batch_size=1)
        for part in (x, x[:validate])
    ]
    log, model = RateLog(), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))

    def optimizer(groups, lr, **_):
        return OptimWrapper([{"params": list(g), "lr": 1e-3} for g in groups], torch.optim.Adam)

    learn = Learner(
        DataLoaders(*loaders),
        model,
        loss_func=nn.MSELoss(),
        opt_func=optimizer,
        lr=lr,
        splitter=lambda m: [list(m[0].parameters()), list(m[1].parameters())],
        cbs=[log, *schedule_callbacks(name, lr, lr_min)],
    )
    with learn.no_bar(), learn.no_logging():
        learn.fit(epochs, lr=lr)
    return log


def rates(name: str, **options) -> np.ndarray:
    return np.array(train(name, **options).rates)[:, 0]


def test_cosine_falls_once_over_the_whole_run():
    got = rates("cosine")
    assert len(got) == 60
    assert got[0] == pytest.approx(LR)
    assert (np.diff(got) < 0).all()
    assert LR_MIN < got[-1] < LR_MIN + 0.01 * (LR - LR_MIN)


def test_cosine_is_the_formula_at_every_step():
    expected = LR_MIN + (LR - LR_MIN) * (1 + np.cos(np.pi * np.arange(60) / 60)) / 2
    assert np.allclose(rates("cosine"), expected, rtol=1e-6)


def test_one_cycle_rises_in_a_quarter_and_falls_to_the_floor():
    got = rates("one-cycle")
    assert got[0] == pytest.approx(LR / 25)
    assert got.argmax() == 15
    assert got.max() == pytest.approx(LR)
    assert (np.diff(got[:16]) > 0).all() and (np.diff(got[15:]) < 0).all()
    assert got[-1] == pytest.approx(LR_MIN, rel=0.01)


def test_one_cycle_moves_adams_first_beta_in_the_opposite_direction():
    momenta = np.array(train("one-cycle").momenta)
    assert momenta[0] == pytest.approx(0.95)
    assert momenta.argmin() == 15
    assert momenta.min() == pytest.approx(0.85)


def test_dedl_equals_torchs_cosine_annealing_stepped_every_batch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=LR_MIN)
    expected = []
    for _ in range(240):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert np.allclose(rates("dedl", batches=80, epochs=3), expected, rtol=1e-6)


def test_dedl_oscillates_with_a_period_of_100_batches_across_epochs():
    got = rates("dedl", batches=80, epochs=3)
    assert np.allclose(got[100:200], got[:100])
    assert (got[:100].argmax(), got[:100].argmin()) == (0, 50)
    assert (got.max(), got.min()) == pytest.approx((LR, LR_MIN))


@pytest.mark.parametrize("name", ["cosine", "dedl"])
def test_validation_batches_do_not_move_the_rate(name):
    assert np.array_equal(rates(name, validate=1), rates(name, validate=20))


def test_constant_does_not_change():
    assert rates("constant") == pytest.approx(np.full(60, LR))


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_parameter_group_follows_its_own_rate(name):
    scale = np.array([0.1, 1.0])
    got = np.array(train(name, lr=LR * scale, lr_min=LR_MIN * scale).rates)
    assert np.allclose(got[:, 0], 0.1 * got[:, 1])
    assert np.allclose(got[:, 1], rates(name))


def test_unknown_schedule_lists_the_known():
    with pytest.raises(
        UserError, match=r"schedule='linear' is unknown; it may be cosine, one-cycle, step, dedl, constant"
    ):
        schedule_callbacks("linear", LR, LR_MIN)


def test_step_falls_to_a_tenth_after_each_third():
    got = rates("step", lr=1e-2)
    assert len(got) == 60
    np.testing.assert_allclose(got, np.repeat([1e-2, 1e-3, 1e-4], 20), rtol=1e-6)
