"""The classification Learner: its parts, parameter groups and rates, resuming, the frozen body, and wrong options."""

import logging

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.models.classification import ClfSpec, body_parameters, head_parameters
from dedl_fastai.training import Keeper, class_weights, clf_learner

from ..pictures import Facts, pictures, quiet_fit


@pytest.fixture(scope="module")
def dls():
    return pictures()


def learner(dls, model="test_resnet", **options):
    return clf_learner(dls, model, **{"weights": "none", "seed": 0, **options})


def states(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def test_spec_and_model_follow_the_facts_of_the_data():
    facts = Facts(mean=(0.1,) * 7, std=(0.2,) * 7, vocab=("a", "b"), prevalence=(0.5, 0.5))
    learn = learner(pictures(facts), drop=0.3)
    assert learn.spec == ClfSpec("test_resnet", size=32, in_channels=7, classes=2, drop=0.3)
    assert learn.model(torch.zeros(2, 7, 32, 32)).shape == (2, 2)


def test_defaults_are_the_weighted_focal_loss_and_torchs_adam(dls):
    learn = learner(dls)
    assert type(learn.loss_func).__name__ == "MultiLabelFocal" and learn.loss_func.gamma == 2
    expected = torch.tensor(class_weights("inverse", dls.facts.prevalence, dls.facts.n_train))
    assert torch.equal(learn.loss_func.weight, expected)
    learn.create_opt()
    assert isinstance(learn.opt.opt, torch.optim.Adam)
    assert [g["betas"] for g in learn.opt.opt.param_groups] == [(0.9, 0.999)] * 2


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet", "test_nfnet"])
@pytest.mark.parametrize("loss", ["focal", "asymmetric"])
def test_training_lowers_the_loss_and_has_named_columns(dls, model, loss):
    learn = quiet_fit(learner(dls, model, loss=loss), 4)
    losses = [row[0] for row in learn.recorder.values]
    assert losses[-1] < losses[0]
    assert list(learn.recorder.metric_names) == [
        "epoch", "train_loss", "valid_loss", "f1_macro", "f1_micro", "map", "time",
    ]  # fmt: skip


def test_loss_may_be_a_function(dls):
    loss = nn.BCEWithLogitsLoss()
    assert learner(dls, loss=loss).loss_func is loss


def test_groups_are_body_and_head_with_all_parameters(dls):
    learn = learner(dls)
    learn.create_opt()
    body, head = learn.opt.param_lists
    assert [id(p) for p in body] == [id(p) for p in body_parameters(learn.model)]
    assert [id(p) for p in head] == [id(p) for p in head_parameters(learn.model)]
    assert len(body) + len(head) == len(list(learn.model.parameters()))


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "dedl", "constant"])
def test_body_rate_is_a_share_of_the_heads_at_every_step(dls, schedule):
    class Rates(Callback):
        order = 99

        def before_fit(self):
            self.seen = []

        def after_batch(self):
            self.seen.append([g["lr"] for g in self.opt.opt.param_groups])

    rates = Rates()
    learn = learner(dls, body_lr=0.1)
    with learn.no_bar(), learn.no_logging():
        learn.fit_schedule(schedule, 2, lr=1e-2, lr_min=1e-3, cbs=rates)
    seen = np.array(rates.seen)
    assert seen[:, 0] == pytest.approx(seen[:, 1] * 0.1)
    assert all(isinstance(lr, float) for lr in (g["lr"] for g in learn.opt.opt.param_groups))
    if schedule == "cosine":
        assert seen[0, 1] == pytest.approx(1e-2) and seen[-1, 1] == pytest.approx(1e-3, rel=0.3)


@pytest.mark.parametrize("options", [{"body_lr": 0.1}, {"freeze": True}, {"amp": "bf16", "accumulate": 2, "clip": 1.0}])
def test_resumed_run_equals_the_whole_run_bit_by_bit(dls, tmp_path, options):
    class Stop(Callback):
        order = 70

        def after_epoch(self):
            if self.epoch == 0:
                raise KeyboardInterrupt

    whole = quiet_fit(learner(dls, **options), 2, cbs=Keeper(tmp_path / "whole", "valid_loss"))
    with pytest.raises(KeyboardInterrupt):
        quiet_fit(learner(dls, **options), 2, cbs=[Keeper(tmp_path / "cut", "valid_loss"), Stop()])
    keeper = Keeper(tmp_path / "cut", "valid_loss")
    assert keeper.load() == 1
    quiet_fit(learner(dls, **options), 2, cbs=keeper)
    assert len(whole.recorder.values) == 2
    for name in ("best", "last"):
        one, other = (tmp_path / run / f"{name}.safetensors" for run in ("whole", "cut"))
        assert one.read_bytes() == other.read_bytes()


def test_frozen_body_and_its_statistics_do_not_change_while_the_head_does(dls):
    learn = learner(dls, freeze=True)
    before = states(learn.model)
    quiet_fit(learn, 1, 1e-2)
    after = learn.model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"fc.weight", "fc.bias"}


def test_all_parameters_change_after_unfreezing(dls):
    learn = learner(dls, freeze=True)
    learn.unfreeze()
    before = states(learn.model)
    quiet_fit(learn, 1, 1e-2)
    after = learn.model.state_dict()
    unchanged = {k for k in before if torch.equal(before[k], after[k])}
    assert not unchanged


def test_frozen_body_without_weights_logs_a_warning(dls, caplog):
    with caplog.at_level(logging.WARNING):
        learner(dls, freeze=True)
    assert "features are random" in caplog.text


def test_validate_predictions_and_rate_finder_work(dls):
    learn = learner(dls, body_lr=0.5)
    before = states(learn.model)
    with learn.no_bar():
        assert len(learn.validate()) == 4
        p, y, decoded = learn.get_preds(with_decoded=True)
        learn.lr_find(num_it=12, show_plot=False)
    assert p.shape == y.shape == (8, 3) and torch.equal(decoded, p > 0.5)
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"model": "resnot-18"}, "unknown model"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"class_weight": "rare"}, "class_weight='rare'"),
        ({"opt": "sgd9"}, "opt='sgd9'"),
        ({"amp": "fp8"}, "amp='fp8'"),
        ({"body_lr": 0.0}, "body_lr=0.0"),
        ({"drop": 1.0}, "drop=1.0"),
    ],
)
def test_wrong_options_are_user_errors(dls, wrong, says):
    with pytest.raises(UserError, match=says):
        learner(dls, **wrong)


def test_exported_name_is_the_function_even_after_its_module_was_imported():
    import dedl_fastai.training.classification.learner
    from dedl_fastai.training import clf_learner as exported

    assert exported is dedl_fastai.training.classification.learner.clf_learner
