"""The paper's augmentation of pictures: invariants, frequencies, reproducibility."""

import pytest
import torch

from dedl_fastai.data import PictureAugment, TensorPicture
from dedl_fastai.data.classification.augment import color_matrices, homographies, rotations, warped

GEOMETRY_OFF = dict(degrees=0.0, distortion=0.0)
COLOR_OFF = dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)


def pictures(n=8, planes=3, size=24, seed=0):
    return 0.3 + 0.4 * torch.rand(n, planes, size, size, generator=torch.Generator().manual_seed(seed))


def augmented(augment, x, seed=0, split_idx=0):
    torch.manual_seed(seed)
    out, y = augment((TensorPicture(x), torch.arange(len(x))), split_idx=split_idx)
    assert isinstance(out, TensorPicture) and torch.equal(y, torch.arange(len(x)))
    return out.as_subclass(torch.Tensor)


@pytest.mark.parametrize("planes", [1, 3, 8])
def test_probability_zero_changes_no_pixel(planes):
    x = pictures(planes=planes)
    assert torch.equal(augmented(PictureAugment(p=0), x), x)


def test_validation_pictures_are_not_changed():
    x = pictures()
    assert torch.equal(augmented(PictureAugment(p=1), x, split_idx=1), x)
    assert not torch.equal(augmented(PictureAugment(p=1), x), x)


@pytest.mark.parametrize("planes", [1, 2, 3, 8])
def test_any_number_of_planes_keeps_shape_dtype_and_range(planes):
    x = pictures(planes=planes)
    out = augmented(PictureAugment(p=1, brightness=0.9, contrast=0.9), x)
    assert out.shape == x.shape and out.dtype == torch.float32 and out.isfinite().all()
    assert out.min() >= 0 and out.max() <= 1


def test_pictures_are_the_same_for_one_seed_and_differ_between_items():
    x = pictures(1).expand(64, -1, -1, -1).contiguous()
    one, same, other = (augmented(PictureAugment(p=0.5), x, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert len({item.numpy().tobytes() for item in one}) > 40


def test_the_input_batch_is_not_changed():
    x = pictures()
    before = x.clone()
    augmented(PictureAugment(p=1), x)
    assert torch.equal(x, before)


def test_flips_have_probability_p_independently_along_both_axes():
    x = pictures(1).expand(2000, -1, -1, -1).contiguous()
    out = augmented(PictureAugment(**GEOMETRY_OFF, **COLOR_OFF), x)
    both = {(a, b): x[0].flip([d for d, on in ((-1, a), (-2, b)) if on]) for a in (0, 1) for b in (0, 1)}
    share = {k: (out - v).abs().amax((1, 2, 3)).lt(1e-4).float().mean().item() for k, v in both.items()}
    expected = {(0, 0): 0.49, (1, 0): 0.21, (0, 1): 0.21, (1, 1): 0.09}
    assert sum(share.values()) == pytest.approx(1)
    assert all(abs(share[k] - expected[k]) < 0.04 for k in expected)


def test_each_choice_has_probability_p_and_takes_either_transform_half_the_time():
    augment = PictureAugment(p=0.3)
    torch.manual_seed(0)
    augment.draw(20_000, 3)
    (first, *_), (second, *_) = augment.jitters
    assert first.float().mean() == pytest.approx(0.15, abs=0.01) and second.float().mean() == pytest.approx(
        0.15, abs=0.01
    )
    assert (first & second).float().mean() == pytest.approx(0.0225, abs=0.005)  # the two choices are independent
    assert augment.moved.float().mean() == pytest.approx(1 - 0.85**2, abs=0.015)
    flip_x, flip_y = augment.flips.unbind(1)
    assert flip_x.float().mean() == pytest.approx(0.3, abs=0.015)
    assert (flip_x & flip_y).float().mean() == pytest.approx(0.09, abs=0.01)


def test_jitter_of_markers_is_drawn_for_each_plane_and_does_not_mix_planes():
    x = pictures(planes=3)
    x[:, 1] = 0
    augment = PictureAugment(p=1, color=False, **GEOMETRY_OFF)
    out = augmented(augment, x)
    assert out[:, 1].abs().max() == 0  # an absent marker stays absent
    ratio = out.flatten(2).mean(2) / x.flatten(2).mean(2)
    assert ((ratio[:, 0] - ratio[:, 2]).abs() > 1e-3).any()


def test_hue_and_saturation_keep_greys_and_brightness():
    grey = torch.full((1, 3, 2, 2), 0.4)
    turned = torch.einsum("nij,njhw->nihw", color_matrices(torch.tensor([1.0]), torch.tensor([1.3])), grey)
    torch.testing.assert_close(turned, grey, atol=2e-3, rtol=0)
    torch.testing.assert_close(color_matrices(torch.zeros(1), torch.ones(1))[0], torch.eye(3), atol=1e-5, rtol=0)


def test_homographies_map_the_corners_to_the_shifted_corners():
    shifts = 0.25 * (torch.rand(5, 4, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    at = torch.einsum("nij,kj->nki", homographies(shifts), torch.cat([corners, torch.ones(4, 1)], 1))
    torch.testing.assert_close(at[..., :2] / at[..., 2:], corners + shifts, atol=1e-5, rtol=0)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_warping_by_a_quarter_turn_is_exact(quarter):
    x = pictures(2, planes=5, size=9)
    out = warped(x, rotations(torch.full((2,), quarter * torch.pi / 2)))
    torch.testing.assert_close(out, torch.rot90(x, quarter, (2, 3)), atol=1e-4, rtol=0)


def test_moved_pictures_have_no_black_corners():
    x = torch.full((32, 1, 32, 32), 0.6)
    out = augmented(PictureAugment(p=1, **COLOR_OFF), x)
    torch.testing.assert_close(out, x, atol=1e-4, rtol=0)
