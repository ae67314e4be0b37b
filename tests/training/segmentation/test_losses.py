"""Segmentation losses: equal to their formulas in NumPy, with finite gradients in any precision."""

import numpy as np
import pytest
import torch

from dedl_fastai.errors import UserError
from dedl_fastai.io.masks import IGNORED
from dedl_fastai.training.segmentation.losses import LOSSES, CrossEntropy, Dice, Focal, SegLoss, seg_loss

WEIGHTS = (0.6, 3.2)


def logits_of(probability) -> torch.Tensor:
    """Logits (1, 2, 1, N) of N pixels with these foreground probabilities."""
    p = torch.tensor(probability, dtype=torch.float32)
    return torch.stack([torch.log(1 - p), torch.log(p)])[None, :, None]


PROBABILITY = [0.9, 0.2, 0.5, 0.7]
TRUTH = [1, 1, 0, 0]
RIGHT = np.array([0.9, 0.2, 0.5, 0.3])  # probability of the true class
LOGITS, MASK = logits_of(PROBABILITY), torch.tensor(TRUTH)[None, None]


def random_case(classes=2, size=9):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, classes, size, size, generator=generator) * 3
    return logits, torch.randint(0, classes, (2, size, size), generator=generator)


def test_cross_entropy_by_hand():
    assert seg_loss("ce", WEIGHTS)(LOGITS, MASK).item() == pytest.approx(-np.log(RIGHT).mean(), rel=1e-5)


def test_weighted_cross_entropy_by_hand():
    weight = np.array([3.2, 3.2, 0.6, 0.6])
    expected = -(weight * np.log(RIGHT)).sum() / weight.sum()
    assert seg_loss("weighted-ce", WEIGHTS)(LOGITS, MASK).item() == pytest.approx(expected, rel=1e-5)


def test_equal_weights_are_no_weights():
    logits, mask = random_case()
    assert CrossEntropy((2.0, 2.0))(logits, mask).item() == pytest.approx(CrossEntropy()(logits, mask).item(), rel=1e-5)


@pytest.mark.parametrize(("weights", "scale"), [(None, [1, 1, 1, 1]), (WEIGHTS, [3.2, 3.2, 0.6, 0.6])])
def test_cross_entropy_per_pixel(weights, scale):
    loss = CrossEntropy(weights)
    loss.reduction = "none"
    got = loss(LOGITS, MASK)
    assert got.shape == MASK.shape
    assert np.allclose(got[0, 0], -np.array(scale) * np.log(RIGHT), rtol=1e-5)


def test_dice_by_hand():
    overlap, size = 0.9 + 0.2, sum(PROBABILITY) + sum(TRUTH)
    assert Dice()(LOGITS, MASK).item() == pytest.approx(1 - (2 * overlap + 1) / (size + 1), rel=1e-5)


def test_dice_of_three_classes_is_the_mean_of_the_two_foregrounds():
    logits, mask = random_case(classes=3)
    p = logits.softmax(dim=1).numpy()
    scores = []
    for k in (1, 2):
        t = (mask == k).numpy()
        scores.append((2 * p[:, k][t].sum() + 1) / (p[:, k].sum() + t.sum() + 1))
    assert Dice()(logits, mask).item() == pytest.approx(1 - np.mean(scores), rel=1e-5)


@pytest.mark.parametrize("truth", [0, 1])
def test_dice_of_a_certain_and_correct_prediction_is_0(truth):
    mask = torch.full((1, 8, 8), truth)
    logits = 50.0 * torch.stack([1 - mask, mask], dim=1)
    assert Dice()(logits, mask).item() == pytest.approx(0, abs=1e-6)


def test_dice_is_pooled_over_the_batch():
    logits, mask = random_case()
    side_by_side = torch.cat(list(logits), dim=-1)[None], torch.cat(list(mask), dim=-1)[None]
    assert Dice()(logits, mask).item() == pytest.approx(Dice()(*side_by_side).item(), rel=1e-5)


def test_ce_dice_is_the_sum():
    logits, mask = random_case()
    expected = CrossEntropy()(logits, mask) + Dice()(logits, mask)
    assert seg_loss("ce-dice", WEIGHTS)(logits, mask).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_by_hand_with_gamma_2():
    expected = -((1 - RIGHT) ** 2 * np.log(RIGHT)).mean()
    assert seg_loss("focal", WEIGHTS)(LOGITS, MASK).item() == pytest.approx(expected, rel=1e-5)


def test_focal_with_gamma_0_is_cross_entropy():
    logits, mask = random_case()
    assert Focal(0)(logits, mask).item() == pytest.approx(CrossEntropy()(logits, mask).item(), rel=1e-6)


def test_focal_falls_as_gamma_grows():
    losses = [Focal(gamma)(LOGITS, MASK).item() for gamma in (0, 1, 2, 5)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 4


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_prediction_has_a_larger_loss_than_a_correct_one(name):
    _, mask = random_case()
    right = 4.0 * torch.stack([1 - mask, mask], dim=1)
    loss = seg_loss(name, WEIGHTS)
    assert loss(right, mask) < loss(-right, mask)


@pytest.mark.parametrize("name", LOSSES)
def test_masks_of_bytes_are_accepted(name):
    logits, mask = random_case()
    loss = seg_loss(name, WEIGHTS)
    assert torch.equal(loss(logits, mask.to(torch.uint8)), loss(logits, mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["half", "bf16"])
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_has_the_same_loss_and_finite_gradients(name, dtype):
    """There are more pixels than half precision can count (65504), and some predictions are far off."""
    generator = torch.Generator().manual_seed(5)
    logits = (torch.randn(1, 2, 300, 300, generator=generator) * 20).to(dtype).requires_grad_()
    mask = torch.randint(0, 2, (1, 300, 300), generator=generator)
    loss = seg_loss(name, WEIGHTS)
    got = loss(logits, mask)
    got.backward()
    assert got.item() == pytest.approx(loss(logits.detach().float(), mask).item(), rel=1e-3)
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_certain_predictions_are_finite(name):
    mask = torch.tensor([[[0, 1, 0, 1]]])
    logits = torch.tensor([[[[1000.0, -1000, -1000, 1000]], [[-1000.0, 1000, 1000, -1000]]]]).requires_grad_()
    seg_loss(name, WEIGHTS)(logits, mask).backward()
    assert logits.grad.isfinite().all()


def test_activation_and_decodes_are_softmax_and_the_likeliest_class():
    logits, _ = random_case(classes=3)
    p = SegLoss().activation(logits)
    assert torch.allclose(p.sum(dim=1), torch.ones(2, 9, 9))
    assert torch.equal(SegLoss().decodes(p), logits.argmax(dim=1))


def test_unknown_loss_lists_the_known():
    with pytest.raises(UserError, match=r"loss='hinge' is unknown; it may be weighted-ce, ce, dice, ce-dice, focal"):
        seg_loss("hinge", WEIGHTS)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_have_no_part_in_the_loss_and_its_gradient(name):
    logits, mask = random_case()
    mask[:, :4] = IGNORED
    other = logits.clone()
    other[:, :, :4] = 7.0
    losses, gradients = [], []
    for value in (logits, other):
        leaf = value.clone().requires_grad_()
        losses.append(seg_loss(name, WEIGHTS)(leaf, mask))
        losses[-1].backward()
        gradients.append(leaf.grad)
    assert losses[0].item() == losses[1].item() != 0
    assert torch.equal(gradients[0][:, :, 4:], gradients[1][:, :, 4:]) and not gradients[0][:, :, :4].any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_which_nothing_is_known_has_no_gradient(name):
    logits, mask = random_case()
    leaf = logits.requires_grad_()
    seg_loss(name, WEIGHTS)(leaf, torch.full_like(mask, IGNORED)).backward()
    assert not leaf.grad.any()


def test_the_loss_of_known_pixels_is_that_without_the_others():
    logits, mask = random_case()
    mask[:, :4] = IGNORED
    for name in ("ce", "weighted-ce", "focal"):
        known = seg_loss(name, WEIGHTS)(logits[:, :, 4:], mask[:, 4:])
        assert seg_loss(name, WEIGHTS)(logits, mask).item() == pytest.approx(known.item(), rel=1e-6)
