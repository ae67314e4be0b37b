"""Multi-label losses: equal to their published formulas in NumPy; and the weights of the classes."""

import numpy as np
import pytest
import torch

from dedl_fastai.errors import UserError
from dedl_fastai.training.classification.losses import (
    CLASS_WEIGHTS,
    LOSSES,
    Asymmetric,
    ClfLoss,
    class_weights,
    clf_loss,
)

WEIGHTS = (0.5, 2.0, 1.0, 0.2, 1.3)


def case(n=7, spread=3.0):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(n, 5, generator=generator) * spread
    return logits, (torch.rand(n, 5, generator=generator) > 0.5).float()


def arrays(logits, labels):
    return 1 / (1 + np.exp(-logits.double().numpy())), labels.numpy()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_is_the_published_and_released_formula(weights, gamma):
    p, y = arrays(*case())
    log_pt = y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12)
    expected = (-((1 - np.exp(log_pt)) ** gamma) * log_pt * np.array(weights or [1.0] * 5)).mean()
    assert clf_loss("focal", weights, gamma)(*case()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_bce_by_hand(weights):
    p, y = arrays(*case())
    expected = -((y * np.log(p) + (1 - y) * np.log(1 - p)) * np.array(weights or [1.0] * 5)).mean()
    assert clf_loss("bce", weights)(*case()).item() == pytest.approx(expected, rel=1e-5)


def test_focal_with_gamma_0_is_bce():
    assert clf_loss("focal", WEIGHTS, 0)(*case()).item() == pytest.approx(clf_loss("bce", WEIGHTS)(*case()).item())


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_asymmetric_is_the_published_formula(weights):
    p, y = arrays(*case())
    lowered = np.maximum(p - 0.05, 0)
    loss = -y * (1 - p) * np.log(p) - (1 - y) * lowered**4 * np.log(1 - lowered)
    expected = (loss * np.array(weights or [1.0] * 5)).mean()
    assert clf_loss("asymmetric", weights)(*case()).item() == pytest.approx(expected, rel=1e-5)


def test_asymmetric_without_asymmetry_is_focal():
    loss = Asymmetric(WEIGHTS, gamma_neg=2, gamma_pos=2, margin=0.0)
    assert loss(*case()).item() == pytest.approx(clf_loss("focal", WEIGHTS)(*case()).item(), rel=1e-5)


def test_certain_negatives_have_no_asymmetric_loss():
    logits = torch.full((1, 5), -4.0, requires_grad=True)
    loss = clf_loss("asymmetric")(logits, torch.zeros(1, 5))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_certain_predictions_have_finite_losses_and_gradients(name, dtype):
    logits = torch.tensor([[1000.0, -1000.0, 1000.0, -1000.0, 0.0]]).to(dtype).requires_grad_()
    loss = clf_loss(name, WEIGHTS)(logits, torch.tensor([[1.0, 1.0, 0.0, 0.0, 1.0]]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert logits.grad.isfinite().all()
    assert not logits.grad[0, 0] and not logits.grad[0, 3]


@pytest.mark.parametrize("name", ["focal", "bce"])
def test_prediction_far_off_still_has_a_gradient(name):
    """The released formula adds 1e-12 to the probability and has no gradient here."""
    logits = torch.tensor([[-40.0]], requires_grad=True)
    clf_loss(name)(logits, torch.ones(1, 1)).backward()
    assert logits.grad.item() == pytest.approx(-1)


@pytest.mark.parametrize("name", LOSSES)
def test_per_label_losses_average_to_the_loss(name):
    loss = clf_loss(name, WEIGHTS)
    mean = loss(*case())
    loss.reduction = "none"
    assert loss(*case()).shape == (7, 5)
    assert loss(*case()).mean().item() == pytest.approx(mean.item())


def test_activation_and_decodes_return_probabilities_and_labels():
    logits, _ = case()
    p = ClfLoss().activation(logits)
    assert torch.equal(p, logits.sigmoid())
    assert torch.equal(ClfLoss().decodes(p), logits > 0)


def test_inverse_weights_are_1_over_prevalence_with_mean_1():
    weights = class_weights("inverse", (0.5, 0.25, 1.0), 40)
    assert np.mean(weights) == pytest.approx(1)
    assert np.array(weights) * (0.5, 0.25, 1.0) == pytest.approx(weights[2])


def test_effective_weights_are_cuis_formula():
    counts = np.array([20, 10, 40])
    raw = (1 - 0.999) / (1 - 0.999**counts)
    assert class_weights("effective", counts / 40, 40) == pytest.approx(raw * 3 / raw.sum())


def test_dedl_weights_are_the_released_vector():
    """Prevalences and weights are those of the released notebook; the weights increase with the frequency."""
    released = (0.944, 0.4595, 0.4696, 0.1464, 1)
    expected = [0.9475164011246484, 0.4934395501405811, 0.5029053420805999, 0.2, 1.0]
    assert class_weights("dedl", released, 198) == pytest.approx(expected)
    assert np.array(released) == pytest.approx(np.array([187, 91, 93, 29, 198]) / 198, abs=1e-3)
    assert class_weights("dedl", (0.5, 0.5), 10) == (1.0, 1.0)


@pytest.mark.parametrize("kind", CLASS_WEIGHTS)
def test_weights_are_finite_and_positive_for_absent_and_constant_classes(kind):
    weights = class_weights(kind, (0.0, 1.0, 0.3), 10)
    assert all(np.isfinite(w) and w > 0 for w in weights)
    assert clf_loss("focal", weights)(torch.zeros(2, 3), torch.ones(2, 3)).isfinite()


def test_inverse_and_dedl_weights_have_opposite_orders():
    prevalence = (0.9, 0.1, 0.5)
    inverse, dedl = (np.argsort(class_weights(k, prevalence, 100)) for k in ("inverse", "dedl"))
    assert inverse.tolist() == dedl.tolist()[::-1]
    assert class_weights("none", prevalence, 100) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: clf_loss("hinge"), "loss='hinge' is unknown; it may be focal, bce, asymmetric"),
        (lambda: clf_loss("focal", None, -1), "gamma=-1"),
        (lambda: class_weights("rare", (0.5,), 2), "class_weight='rare' is unknown; it may be inverse, effective"),
    ],
)
def test_wrong_names_are_user_errors(call, says):
    with pytest.raises(UserError, match=says):
        call()
