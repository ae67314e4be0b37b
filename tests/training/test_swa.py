"""Weight averaging: the averaged weights, batch norm, unchanged training, resuming, early stopping, and the file."""

import logging
import random
import warnings

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.training import FieldLearner, Keeper, SwaCallback, clf_learner

from .pictures import pictures, quiet_fit


def learner(dls=None, model="test_resnet", cbs=(), **options):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    dls = dls or pictures()
    return clf_learner(dls, model, weights="none", seed=0, cbs=cbs, **options)


class Ends(Callback):
    """Records the weights at the end of each epoch."""

    order = 99

    def before_fit(self):
        self.seen = []

    def after_train(self):
        self.seen.append({k: v.clone() for k, v in self.learn.model.named_parameters()})


class Interrupt(Callback):
    """Interrupts the training after an epoch, before the last files are written."""

    order = 70

    def __init__(self, epoch):
        self.last_epoch = epoch

    def after_epoch(self):
        if self.epoch == self.last_epoch:
            raise KeyboardInterrupt


def swa_file(folder):
    return folder / "swa.safetensors"


@pytest.mark.parametrize(("start", "n", "first"), [(0.5, 4, 2), (0.75, 3, 2), (0.0, 3, 0), (0.99, 2, 1), (0.75, 1, 0)])
def test_weights_are_the_mean_of_the_last_epochs(tmp_path, start, n, first):
    ends = Ends()
    quiet_fit(learner(), n, cbs=[SwaCallback(start, folder=tmp_path), ends])
    got = read_tensors(swa_file(tmp_path))
    for name in ends.seen[0]:
        expected = torch.stack([e[name] for e in ends.seen[first:]]).mean(0)
        torch.testing.assert_close(got[name], expected, rtol=1e-5, atol=1e-7)


def test_batch_norm_has_the_statistics_of_the_averaged_weights(tmp_path):
    """Expected are the means over the batches of the mean and variance of each batch norm's input."""
    dls = pictures(shuffle=False, augment=lambda b: b)
    learn = quiet_fit(learner(dls), 2, cbs=SwaCallback(0.0, folder=tmp_path))
    got = read_tensors(swa_file(tmp_path))
    model = learner(dls).model.train()
    model.load_state_dict(got)
    inputs: dict[str, list] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda m, x, name=name: inputs.setdefault(name, []).append(x[0]))
    with torch.no_grad():
        for x, _ in dls.train:
            model(x.as_subclass(torch.Tensor))
    assert inputs
    for name, batches in inputs.items():
        mean = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
        var = torch.stack([x.var((0, 2, 3)) for x in batches]).mean(0)
        torch.testing.assert_close(got[f"{name}.running_mean"], mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(got[f"{name}.running_var"], var, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(learn.model.state_dict()[f"{name}.running_var"], var, rtol=1e-3)


def test_training_and_generators_are_unchanged(tmp_path):
    after = []
    for extra in ([], [SwaCallback(0.0)]):
        learn = quiet_fit(learner(path=tmp_path), 2, cbs=extra)
        drawn = (torch.rand(2).tolist(), random.random(), np.random.rand(2).tolist(), learn.dls.train.rng.random())
        after.append((drawn, learn.model.state_dict()))
    assert after[0][0] == after[1][0]
    assert all(torch.equal(v, after[1][1][k]) for k, v in after[0][1].items())


def averaging(folder):
    return [Keeper(folder, "valid_loss", False), SwaCallback(0.5)]


def early_averaging(folder):
    return [Keeper(folder, "flat", patience=2), SwaCallback(lr=5e-3), Flat()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted trainings by their names: the models', and "early" averaging."""
    runs = tmp_path_factory.mktemp("whole")
    for model in ("test_resnet", "test_vit"):
        quiet_fit(learner(model=model), 4, cbs=averaging(runs / model))
    quiet_fit(learner(), 8, cbs=early_averaging(runs / "early"))
    return runs


def check_same_files(one, other):
    for name in ("best", "last", "swa"):
        assert (one / f"{name}.safetensors").read_bytes() == (other / f"{name}.safetensors").read_bytes(), name


@pytest.mark.parametrize(
    ("epoch", "model"), [(0, "test_vit"), (1, "test_resnet"), (2, "test_vit"), (2, "test_resnet"), (3, "test_resnet")]
)
def test_interrupted_run_ends_with_the_same_file(whole, tmp_path, epoch, model):
    """Interruptions before and during the averaging, and after the last epoch."""
    with pytest.raises(KeyboardInterrupt):
        quiet_fit(learner(model=model), 4, cbs=[*averaging(tmp_path), Interrupt(epoch)])
    assert not swa_file(tmp_path).exists()
    torch.rand(5)
    resumed = averaging(tmp_path)
    assert resumed[0].load() == epoch + 1
    quiet_fit(learner(model=model), 4, cbs=resumed)
    check_same_files(whole / model, tmp_path)


class Flat(Callback):
    """A monitored value that never improves after an epoch (default: the first)."""

    def __init__(self, until: int = 0):
        self.until = until

    def history(self):
        return {"flat": float(min(self.epoch, self.until))}


@pytest.mark.parametrize(
    ("start", "until", "averaged"),
    [
        (0.75, 0, range(2, 4)),  # patience is exhausted after 2 epochs: averaging takes the place of epochs 6 and 7
        (0.75, 3, range(5, 7)),
        (0.75, 4, range(6, 8)),  # it ends where the averaging begins anyway
        (0.25, 1, range(2, 8)),  # it ends while weights are averaged: that is completed
    ],
)
def test_a_run_without_patience_left_goes_over_into_its_averaging(tmp_path, start, until, averaged):
    keeper, ends = Keeper(tmp_path, "flat", patience=1), Ends()
    quiet_fit(learner(), 8, cbs=[keeper, SwaCallback(start), Flat(until), ends])
    assert len(keeper.rows) == averaged.stop and keeper.best_epoch == until
    got = read_tensors(swa_file(tmp_path))
    for name in ends.seen[0]:
        expected = torch.stack([ends.seen[i][name] for i in averaged]).mean(0)
        torch.testing.assert_close(got[name], expected, rtol=1e-5, atol=1e-7)


def test_the_rate_of_an_early_averaging_is_its_own(tmp_path, caplog):
    keeper = Keeper(tmp_path, "flat", patience=2)
    with caplog.at_level(logging.INFO, "dedl_fastai"):
        quiet_fit(learner(), 8, cbs=[keeper, SwaCallback(lr=5e-3), Flat()])
    rates = [row["lr"] for row in keeper.rows]
    assert rates[3:] == [5e-3] * 2 and max(rates[:3]) < 5e-3
    assert "the weights of 2 epochs are averaged" in caplog.text and "stopped early" in caplog.text


def test_patience_without_averaging_ends_the_run(tmp_path):
    keeper = Keeper(tmp_path, "flat", patience=2)
    quiet_fit(learner(), 8, cbs=[keeper, Flat()])
    assert len(keeper.rows) == 3


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_interrupted_early_averaging_ends_with_the_same_files(whole, tmp_path, epoch):
    """Interruptions right after patience is exhausted, between averaged epochs, and after the last one."""
    if epoch < 4:
        with pytest.raises(KeyboardInterrupt):
            quiet_fit(learner(), 8, cbs=[*early_averaging(tmp_path), Interrupt(epoch)])
    else:
        quiet_fit(learner(), 8, cbs=early_averaging(tmp_path))
        swa_file(tmp_path).unlink()  # killed between its last state and its last files
    resumed = early_averaging(tmp_path)
    assert resumed[0].load() == epoch + 1
    quiet_fit(learner(), 8, cbs=resumed)
    check_same_files(whole / "early", tmp_path)
    assert len(resumed[0].rows) == 5


@pytest.mark.parametrize("where", ["learner", "fit"])
def test_validate_predict_and_rate_finder_change_nothing(tmp_path, where):
    swa = SwaCallback(0.0, lr=1e-3, folder=tmp_path)
    learn = learner(cbs=[swa] if where == "learner" else [], path=tmp_path / "own")
    with learn.no_bar(), learn.added_cbs([] if where == "learner" else [swa]):
        learn.validate()
        learn.lr_find(num_it=12, show_plot=False)
        assert swa.average is None and not swa_file(tmp_path).exists()
    quiet_fit(learn, 2, cbs=[] if where == "learner" else [swa])
    before, average = swa_file(tmp_path).read_bytes(), swa.state_dict()
    swa_file(tmp_path).unlink()
    with learn.no_bar(), learn.added_cbs([] if where == "learner" else [swa]):
        learn.validate()
        learn.get_preds()
        learn.lr_find(num_it=12, show_plot=False)
    assert not swa_file(tmp_path).exists() and before
    assert all(torch.equal(v, swa.state_dict()["model"][k]) for k, v in average["model"].items())


def test_interrupted_fit_writes_nothing_at_the_next_validation(tmp_path):
    learn = learner(cbs=[SwaCallback(0.0, folder=tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        quiet_fit(learn, 3, cbs=Interrupt(1))
    with learn.no_bar():
        learn.validate()
    assert not swa_file(tmp_path).exists()


def test_second_fit_starts_a_new_average(tmp_path):
    swa, ends = SwaCallback(0.0, folder=tmp_path), Ends()
    learn = learner(cbs=[swa])
    quiet_fit(learn, 2)
    quiet_fit(learn, 1, cbs=ends)
    got = read_tensors(swa_file(tmp_path))
    assert all(torch.equal(got[k], v) for k, v in ends.seen[0].items())


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision_gives_finite_weights_in_single_precision(tmp_path, amp):
    quiet_fit(learner(amp=amp), 2, cbs=SwaCallback(0.5, folder=tmp_path))
    got = [v for v in read_tensors(swa_file(tmp_path)).values() if v.is_floating_point()]
    assert all(v.dtype == torch.float32 and v.isfinite().all() for v in got)
    assert not torch.is_autocast_enabled("cpu")


def test_constant_rate_applies_to_each_group_once_the_averaging_begins(tmp_path):
    class Rates(Ends):
        def after_train(self):
            self.seen.append([g["lr"] for g in self.opt.opt.param_groups])

    rates = Rates()
    quiet_fit(learner(body_lr=0.5), 4, lr=1e-3, lr_min=1e-5, cbs=[SwaCallback(0.5, lr=2e-2, folder=tmp_path), rates])
    assert rates.seen[2:] == [[1e-2, 2e-2]] * 2
    assert rates.seen[1][1] < 1e-3


def test_frozen_batch_norm_keeps_its_statistics(tmp_path):
    learn = learner(freeze=True)
    before = {k: v.clone() for k, v in learn.model.named_buffers()}
    quiet_fit(learn, 2, cbs=SwaCallback(0.0, folder=tmp_path))
    got = read_tensors(swa_file(tmp_path))
    assert before and all(torch.equal(got[k], v) for k, v in before.items())


def test_several_inputs_of_any_type(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.BatchNorm1d(3), nn.Linear(3, 1)

        def forward(self, x, scale):
            return self.fc(self.norm(x) * scale)

    items = [(torch.full((3,), float(i)), torch.ones(1), torch.zeros(1)) for i in range(8)]
    dls = DataLoaders(DataLoader(items, bs=4), DataLoader(items, bs=4), device=torch.device("cpu"))
    learn = FieldLearner(dls, Two(), loss_func=nn.MSELoss(), path=tmp_path)
    quiet_fit(learn, 1, cbs=SwaCallback(0.0))
    assert read_tensors(swa_file(tmp_path))["norm.running_mean"].tolist() == [3.5] * 3


def test_no_attribute_shadows_the_learners(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "You are shadowing")
        quiet_fit(learner(), 2, cbs=[Keeper(tmp_path, "f1_macro"), SwaCallback(0.0, lr=1e-3)])
    assert (tmp_path / "swa.safetensors").exists()


def test_average_is_not_pickled_with_the_learner(tmp_path):
    learn = learner(cbs=[SwaCallback(0.0, folder=tmp_path)], path=tmp_path)
    quiet_fit(learn, 1)
    assert "average" not in learn.swa.__getstate__()


@pytest.mark.parametrize("start", [-0.1, 1.0, 20])
def test_wrong_start_is_a_user_error(start):
    with pytest.raises(UserError, match=f"swa_start={start}"):
        SwaCallback(start)
