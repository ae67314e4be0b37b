"""APP: the autoencoder's shape and gradients, its term of the loss, unchanged training, resuming, wrong options."""

import itertools
import math

import pytest
import torch
from fastai.callback.core import Callback
from torch import nn

from dedl_fastai.data import Cohort, seg_dataloaders, split_cohort
from dedl_fastai.errors import UserError
from dedl_fastai.io.masks import IGNORED
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import app_of
from dedl_fastai.training import AppAutoencoder, AppCallback, seg_learner
from dedl_fastai.training.segmentation.autoencoder import PAPER_WIDTHS, reconstruction_grads

SMALL = (96, 32, 16)


@pytest.fixture(scope="module")
def dls(tiny_folder):
    return seg_dataloaders(split_cohort(Cohort.load(tiny_folder), "paper"), tile=32, bs=8, seed=1, device="cpu")


def learner(dls, app="none", arch="unet", **options):
    network = {"weights": "none", "depth": 2, "decoder_channels": (16, 16)}
    return seg_learner(dls, arch, "tu-test_resnet", app=app, seed=0, **network, **options)


def fit(learn, n=1, cbs=(), lr=1e-3):
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(n, lr, lr, cbs=cbs)
    return learn


def history_of(learn, n: int) -> list[dict]:
    """APP's columns of the history after each of `n` epochs."""
    rows = []

    class Rows(Callback):
        order = 70

        def after_epoch(self):
            rows.append(self.learn.app.history())

    fit(learn, n, cbs=[Rows()])
    return rows


def app(**options) -> AppCallback:
    return AppCallback(**{"hidden": SMALL, "rows": 1.0, **options})


def trained_on(rows: torch.Tensor, out: str) -> tuple[float, float]:
    """Loss and norm of the rows' gradient after 60 steps of Adam at the paper's rate, with the rows as targets."""
    network = AppAutoencoder(32, (2048, 64, 32, 16), out=out)
    opt = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(60):
        opt.zero_grad()
        loss, gradient = reconstruction_grads(network, rows, rows)
        opt.step()
    return loss.item(), gradient.norm().item()


def test_autoencoder_learns_at_the_papers_rate():
    rows = torch.zeros(64, 1, 32)
    for i in range(64):
        rows[i, 0, i // 2 : i // 2 + 4] = 1  # one of 32 positions of a nucleus
    grey = rows.mean().item() * (1 - rows.mean().item())  # the loss of a constant reconstruction
    loss, gradient = trained_on(rows, AppCallback().made_of["out"])
    assert loss < 0.9 * grey
    assert gradient > 1e-6


def test_default_network_has_the_papers_layers_and_size():
    with torch.device("meta"):
        network = AppAutoencoder(480)
    sizes = [m.out_features for m in network.layers if isinstance(m, nn.Linear)]
    assert sizes == [15360, 256, 128, 64, 32, 16, 32, 64, 128, 256, 480]
    assert sum(p.numel() for p in network.parameters()) == 11_531_696


@pytest.mark.parametrize(("act", "kind"), [("gelu", nn.GELU), ("relu", nn.ReLU)])
def test_activation_and_output_by_name(act, kind):
    layers = AppAutoencoder(8, SMALL, act, "act").layers
    assert sum(isinstance(m, kind) for m in layers) == sum(isinstance(m, nn.Linear) for m in layers)
    assert isinstance(AppAutoencoder(8, SMALL, act, "sigmoid").layers[-1], nn.Sigmoid)
    assert isinstance(AppAutoencoder(8, SMALL, act, "linear").layers[-1], nn.Identity)


@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("n_maps", [1, 2])
@pytest.mark.parametrize("chunk", [4, 7, 1000])
def test_chunks_give_the_gradients_of_one_pass(loss, n_maps, chunk):
    network = AppAutoencoder(12, SMALL).double()
    rows = torch.rand(10, n_maps, 12, dtype=torch.float64)
    truth = torch.zeros_like(rows)
    truth[:, 0] = (torch.rand(10, 12) > 0.5).double()
    if n_maps == 2:
        truth[:, 1] = 1 - truth[:, 0]
    leaf = rows.clone().requires_grad_()
    rebuilt = network(leaf)
    if loss == "mse":
        whole = ((rebuilt - truth) ** 2).mean()
    elif n_maps == 1:
        p = rebuilt.sigmoid()
        whole = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    else:
        whole = nn.functional.cross_entropy(rebuilt, truth.argmax(1))
    whole.backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    value, gradient = reconstruction_grads(network, rows, truth, loss, chunk=chunk)
    assert value.item() == pytest.approx(whole.item(), rel=1e-5)
    torch.testing.assert_close(gradient, leaf.grad.float(), rtol=1e-4, atol=1e-8)
    for parameter, grad in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-8)


def test_model_gets_the_gradient_of_main_loss_plus_weighted_term(dls):
    """Expected is autograd's gradient of the same sum, computed directly."""
    callback = app(weight=0.7)
    learn = learner(dls, callback)
    grads = {}

    class Grab(Callback):
        order = 20

        def before_step(self):
            grads.setdefault("ours", [p.grad.clone() for p in self.model.parameters() if p.grad is not None])
            grads.setdefault("batch", (self.x.clone(), self.y.clone()))

    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    fit(learn, cbs=[Grab()], lr=0.0)
    model = learn.model
    model.load_state_dict(before)
    model.train()
    x, y = grads["batch"]
    with torch.random.fork_rng():
        torch.manual_seed(callback.seed)
        network = AppAutoencoder(32, SMALL)
    logits = model(x)
    rebuilt = network(logits.softmax(1)[:, 1])
    total = learn.loss_func(logits, y) + 0.7 * ((rebuilt - (y > 0).float()) ** 2).mean()
    expected = torch.autograd.grad(total, [p for p in model.parameters() if p.requires_grad])
    for ours, wanted in zip(grads["ours"], expected, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-7)


def test_weight_zero_trains_the_same_model_as_no_app(dls):
    without, with_zero = fit(learner(dls)), fit(learner(dls, app(weight=0.0)))
    for a, b in zip(without.model.parameters(), with_zero.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_data_order_is_the_same_with_and_without_app(dls):
    seen = []
    for chosen in ("none", app(rows=0.5)):
        sums = []

        class Sums(Callback):
            def before_batch(self, sums=sums):
                sums.append(self.x.sum().item())

        fit(learner(dls, chosen), 2, cbs=[Sums()])
        seen.append(sums)
    assert seen[0] == seen[1]


def test_app_changes_the_learned_weights_and_its_loss_falls(dls):
    with_app = learner(dls, app(target=0.5))
    history = history_of(with_app, 6)
    without = fit(learner(dls), 6)
    assert history[-1]["app_loss"] < history[0]["app_loss"]
    pairs = zip(with_app.model.parameters(), without.model.parameters(), strict=True)
    assert any(not torch.allclose(a, b, rtol=1e-3) for a, b in pairs)


def test_auto_holds_the_gradient_ratio_within_a_factor_of_two(dls):
    ratios = [row["app_grad_ratio"] for row in history_of(learner(dls, app(target=0.1)), 8)]
    assert all(0.05 < r < 0.2 for r in ratios[1:]), ratios


def test_auto_limits_the_ratio_of_each_batch_to_twice_the_target(tiny_folder, monkeypatch):
    calls = itertools.count()

    def leaping(*args, **options):
        value, gradient = reconstruction_grads(*args, **options)
        return value, gradient * (100 if next(calls) % 4 == 3 else 1)

    monkeypatch.setattr("dedl_fastai.training.segmentation.app.reconstruction_grads", leaping)
    one_batch = seg_dataloaders(split_cohort(Cohort.load(tiny_folder), "paper"), tile=32, bs=64, seed=1, device="cpu")
    ratios = [row["app_grad_ratio"] for row in history_of(learner(one_batch, app(target=0.1)), 8)]
    assert ratios[3] == pytest.approx(0.2)
    assert max(ratios) < 0.2001


@pytest.mark.parametrize("gradient_left", [1, 1e-9])
def test_dead_autoencoder_logs_a_warning(dls, monkeypatch, caplog, gradient_left):
    def fading(*args, **options):
        value, gradient = reconstruction_grads(*args, **options)
        return value, gradient * gradient_left

    monkeypatch.setattr("dedl_fastai.training.segmentation.app.reconstruction_grads", fading)
    fit(learner(dls, app()), 4)
    assert ("hardly depends on the prediction" in caplog.text) == (gradient_left < 1)


def test_mean_error_next_to_a_summed_main_loss_has_no_effect(dls):
    callback = app(weight="summed")
    fit(learner(dls, callback), 2)
    assert 0 < callback.history()["app_grad_ratio"] < 1e-3
    last_batch = 4  # 36 tiles in batches of 8
    assert callback.history()["app_weight"] == pytest.approx(1 / (last_batch * 32 * 32))


def test_released_app_is_the_ratio_of_two_summed_cross_entropies(tiny_folder):
    one_batch = seg_dataloaders(split_cohort(Cohort.load(tiny_folder), "paper"), tile=32, bs=64, seed=1, device="cpu")
    callback = app_of(SegConfig.resolve({"app": "relu", "app_released": True, "app_width": 64, "seed": 3}))
    learn = learner(one_batch, callback, loss="ce")
    seen = {}

    class Grab(Callback):
        def before_batch(self):
            seen.setdefault("weights", {k: v.clone() for k, v in self.model.state_dict().items()})
            seen.setdefault("batch", [b.as_subclass(torch.Tensor).clone() for b in (self.x, self.y)])

    fit(learn, cbs=[Grab()])
    learn.model.load_state_dict(seen["weights"])
    learn.model.train()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = AppAutoencoder(32, (64, *PAPER_WIDTHS[1:]), "relu", "act")
    logits, mask = learn.model(seen["batch"][0]), seen["batch"][1].long()
    rebuilt = network(logits.softmax(1).movedim(1, 2)).movedim(2, 1)
    sums = [nn.functional.cross_entropy(x, mask, reduction="sum") for x in (rebuilt, logits)]
    ours, main = (torch.autograd.grad(x, logits, retain_graph=True)[0].norm().item() for x in sums)
    assert callback.history()["app_grad_ratio"] == pytest.approx(ours / main, rel=1e-3)


def test_share_of_the_rows_estimates_the_same_gradient():
    network = AppAutoencoder(16, SMALL)
    rows, truth = torch.rand(64, 1, 16), (torch.rand(64, 1, 16) > 0.5).float()
    _, whole = reconstruction_grads(network, rows, truth)
    total = torch.zeros_like(whole)
    for seed in range(400):
        picked = torch.randperm(64, generator=torch.Generator().manual_seed(seed))[:16]
        total[picked] += reconstruction_grads(network, rows[picked], truth[picked])[1]
    assert nn.functional.cosine_similarity(total.flatten(), whole.flatten(), 0) > 0.99
    assert (total.norm() / 400 / whole.norm()).item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("amp", ["fp16", "bf16"])
def test_mixed_precision(dls, amp):
    callback = app()
    learn = fit(learner(dls, callback, amp=amp), 2)
    assert all(p.isfinite().all() for p in learn.model.parameters())
    assert callback.history()["app_loss"] < 0.3
    assert all(p.dtype is torch.float32 and p.isfinite().all() for p in callback.autoencoder.parameters())
    assert not torch.is_autocast_enabled("cpu")


def test_autoencoder_steps_when_the_model_steps(dls):
    callback = app()
    learn = learner(dls, callback, accumulate=2, clip=1.0)
    fit(learn)
    steps = callback.own_opt.state_dict()["state"][0]["step"]
    assert int(steps) == 2  # 36 tiles in batches of 8, one step per 16 tiles


def test_validation_does_not_change_the_autoencoder(dls):
    callback = app()
    learn = fit(learner(dls, callback))
    before = {k: v.clone() for k, v in callback.autoencoder.state_dict().items()}
    with learn.no_bar():
        learn.validate()
    assert all(torch.equal(before[k], v) for k, v in callback.autoencoder.state_dict().items())


def test_lr_find_does_not_change_the_state(dls, tmp_path):
    fresh, used = app(), app()
    learn = learner(dls, used, path=tmp_path)
    with learn.no_bar():
        learn.lr_find(num_it=8, show_plot=False, suggest_funcs=None)
    assert used.state_dict() == {}
    fit(learn)
    fit(learner(dls, fresh))
    for a, b in zip(fresh.autoencoder.parameters(), used.autoencoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_restores_a_new_callback_exactly(dls):
    whole = app(schedule="cosine")
    fit(learner(dls, whole))
    other = app(schedule="cosine")
    other.load_state_dict(whole.state_dict())
    assert other.state_dict()["log_ratio"] == whole.term_weight.log_ratio
    learn = learner(dls, other)
    other.learn = learn
    other._build(32, torch.device("cpu"))
    for a, b in zip(whole.autoencoder.parameters(), other.autoencoder.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UserError, match="32 px"):
        other.load_state_dict(whole.state_dict())
        other._build(64, torch.device("cpu"))


def test_unetplusplus_with_tiles_of_another_width(tiny_folder):
    wide = seg_dataloaders(split_cohort(Cohort.load(tiny_folder), "paper"), tile=48, bs=4, seed=1, device="cpu")
    callback = app(rows=0.3)
    fit(learner(wide, callback, "unetplusplus"))
    assert callback.autoencoder.width == 48


def test_exported_learner_has_no_autoencoder(dls, tmp_path):
    import pickle

    callback = app()
    fit(learner(dls, callback))
    assert not {"autoencoder", "own_opt", "own_scaler"} & callback.__getstate__().keys()
    assert len(pickle.dumps(callback.__getstate__()["made_of"])) < 1000


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"act": "tanh"}, "app='tanh'"),
        ({"weight": "much"}, "app_weight='much'"),
        ({"weight": -1}, "app_weight=-1"),
        ({"rows": 0.0}, "app_rows=0.0"),
        ({"loss": "l1"}, "app_loss='l1'"),
        ({"schedule": "steps"}, "app_schedule='steps'"),
        ({"maps": "none"}, "maps"),
        ({"loss": "ce", "out": "sigmoid"}, "linear or act, not sigmoid"),
    ],
)
def test_wrong_options_are_user_errors(options, says):
    with pytest.raises(UserError, match=says):
        AppCallback(**options)


def test_history_before_any_batch_is_zero():
    assert app().history() == {"app_loss": 0.0, "app_grad_ratio": 0.0, "app_weight": 0.0}
    assert math.isfinite(app().history()["app_grad_ratio"])


@pytest.mark.parametrize(("loss", "maps"), [("mse", 1), ("mse", 2), ("ce", 1), ("ce", 2)])
def test_ignored_pixels_are_not_reconstructed(loss, maps):
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(6, maps, 10, generator=generator)
    truth = torch.nn.functional.one_hot(torch.randint(0, 2, (6, 10), generator=generator), 2).movedim(-1, 1)
    truth = truth[:, :maps].float()
    known, gradient_known = reconstruction_grads(nn.Identity(), rows[..., 4:], truth[..., 4:], loss=loss)
    truth[..., :4] = IGNORED
    value, gradient = reconstruction_grads(nn.Identity(), rows, truth, loss=loss)
    assert value.item() == pytest.approx(known.item(), rel=1e-6)
    torch.testing.assert_close(gradient[..., 4:], gradient_known)
    assert not gradient[..., :4].any()
