"""The segmentation Learner: its parts, mixed precision, accumulation, seeds, saved weights, and wrong options."""

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback

from dedl_fastai.data import seg_dataloaders, split_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.training import Keeper, precision, seg_learner


@pytest.fixture(scope="module")
def dls(tiny_folder):
    from dedl_fastai.data import Cohort

    return seg_dataloaders(split_cohort(Cohort.load(tiny_folder), "paper"), tile=32, bs=8, seed=1, device="cpu")


def learner(dls, **options):
    options = {"encoder": "tu-test_resnet", "weights": "none", "depth": 2, "decoder_channels": (16, 16), **options}
    return seg_learner(dls, seed=0, **options)


def quiet_fit(learn, n, **options):
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(n, 1e-3, 1e-4, **options)
    return learn


def test_optimizer_is_torchs_adam_with_its_own_constants(dls):
    learn = learner(dls)
    learn.create_opt()
    assert isinstance(learn.opt.opt, torch.optim.Adam)
    group = learn.opt.opt.param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 1e-5)


def test_weighted_loss_uses_the_training_masks(dls):
    share = np.mean([t.mask().mean() for t in dls.train_ds.items])
    weight = learner(dls).loss_func.weight
    assert weight[0] == pytest.approx(share, abs=0.02) and weight.sum() == pytest.approx(1)


def test_training_lowers_the_loss(dls):
    learn = quiet_fit(learner(dls), 6)
    losses = [row[0] for row in learn.recorder.values]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("fastest", ["no", "bf16"])
def test_auto_is_the_fastest_precision_of_the_device(dls, monkeypatch, fastest):
    monkeypatch.setattr(precision, "fastest_amp", lambda device: {"cpu": fastest}[str(device)])
    modes = [cb.dtype for cb in learner(dls, amp="auto").cbs if isinstance(cb, precision.Amp)]
    assert modes == {"no": [], "bf16": [torch.bfloat16]}[fastest]


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision_is_on_only_in_training(dls, amp):
    learn = learner(dls, amp=amp)
    seen = []
    hook = learn.model.encoder.register_forward_hook(lambda m, i, out: seen.append(out[-1].dtype))
    quiet_fit(learn, 1)
    hook.remove()
    assert set(seen) == {{"fp16": torch.float16, "bf16": torch.bfloat16}[amp]}
    assert not torch.is_autocast_enabled("cpu")
    assert all(p.isfinite().all() for p in learn.model.parameters())


def test_interrupted_batch_switches_casting_off(dls):
    learn = learner(dls, amp="bf16")

    def interrupt(*_):
        raise KeyboardInterrupt

    learn.model.encoder.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        quiet_fit(learn, 1)
    assert not torch.is_autocast_enabled("cpu")


def test_accumulation_takes_one_step_per_number_of_tiles(dls):
    class Steps(Callback):
        order = 99

        def before_fit(self):
            self.n = 0

        def after_step(self):
            self.n += 1

    counter = Steps()
    quiet_fit(learner(dls, accumulate=2), 1, cbs=counter)
    assert counter.n == 2  # 36 tiles in batches of 8, one step per 16 tiles
    assert len(dls.train) == 5


class Batches(Callback):
    """Keeps a number of each training batch."""

    order = 99

    def __init__(self):
        self.seen = []

    def before_batch(self):
        if self.training:
            self.seen.append(self.xb[0].sum().item())


def test_epoch_seed_repeats_an_epoch_after_any_earlier_draws(dls):
    seen = []
    for noise in (0, 7):
        batches = Batches()
        torch.rand(noise)
        dls.train.rng.seed(noise)
        quiet_fit(learner(dls), 2, cbs=batches)
        seen.append(batches.seen)
    assert seen[0] == seen[1]
    assert seen[0][:5] != seen[0][5:]


def test_a_second_fit_continues_with_other_epochs_as_one_fit_would(dls):
    one, two = Batches(), Batches()
    quiet_fit(learner(dls), 2, cbs=one)
    learn = learner(dls)
    quiet_fit(learn, 1, cbs=two)
    learn.validate()
    quiet_fit(learn, 1, cbs=two)
    assert one.seen == two.seen and one.seen[:5] != one.seen[5:]


def test_validate_and_lr_find_do_not_change_the_files_of_a_run(dls, tmp_path):
    learn = learner(dls, path=tmp_path / "elsewhere")
    quiet_fit(learn, 2, cbs=Keeper(tmp_path / "run"))
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    with learn.no_bar():
        learn.validate()
        learn.lr_find(num_it=20, show_plot=False)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_keeper_loads_the_best_weights_into_the_model(dls, tmp_path):
    from dedl_fastai.models.weights import read_tensors

    learn = quiet_fit(learner(dls), 3, cbs=Keeper(tmp_path))
    best = read_tensors(tmp_path / "best.safetensors")
    assert all(torch.equal(best[k], v) for k, v in learn.model.state_dict().items())


def test_disk_full_while_saving_is_a_user_error_and_keeps_the_old_file(dls, tmp_path, monkeypatch):
    import errno
    from pathlib import Path

    learn = quiet_fit(learner(dls), 1, cbs=Keeper(tmp_path))
    old = (tmp_path / "best.safetensors").read_bytes()

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="disk is full"):
        quiet_fit(learn, 1, cbs=Keeper(tmp_path))
    assert (tmp_path / "best.safetensors").read_bytes() == old
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"amp": "fp8"}, "amp='fp8'"),
        ({"opt": "sgd9"}, "opt='sgd9'"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"depth": 4}, "decoder="),
    ],
)
def test_wrong_names_are_user_errors(dls, wrong, says):
    with pytest.raises(UserError, match=says):
        learner(dls, **wrong)


def test_show_results_draws_truth_and_prediction(dls):
    import matplotlib.pyplot as plt

    learn = learner(dls)
    with learn.no_bar():
        learn.show_results(max_n=2)
    assert len(plt.gcf().axes) == 4
    plt.close("all")


@pytest.mark.parametrize("keep_stats", [False, True])
def test_batch_statistics_stay_and_weights_are_trained_with_keep_stats(dls, keep_stats):
    learn = learner(dls, keep_stats=keep_stats)
    layers = [module for module in learn.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    means = [layer.running_mean.clone() for layer in layers]
    weights = [layer.weight.detach().clone() for layer in layers]
    quiet_fit(learn, 1)
    assert all(map(torch.equal, means, [layer.running_mean for layer in layers])) == keep_stats
    assert not all(map(torch.equal, weights, [layer.weight for layer in layers]))
