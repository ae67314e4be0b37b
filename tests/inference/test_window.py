"""Sliding window: tiles cover the field, and blending keeps the result of the untiled field away from seams."""

import numpy as np
import pytest
import torch
from torch import nn

from dedl_fastai.cells.watershed import instances
from dedl_fastai.errors import UserError
from dedl_fastai.inference.window import (
    blend_weight,
    predict_bands,
    window_batches,
    window_starts,
)

from .fields import blended_probability, nuclei_plane

ZERO, ONE = np.zeros(1, np.float32), np.ones(1, np.float32)


class Constant(nn.Module):
    """The same logits everywhere."""

    def __init__(self, logit: float):
        super().__init__()
        self.logit = logit

    def forward(self, x):
        return torch.stack([torch.zeros_like(x[:, 0]), torch.full_like(x[:, 0], self.logit)], dim=1)


def pointwise(channels: int, classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, classes, 1)).eval()


def convolutional() -> nn.Module:
    """A network with a receptive field of 7 x 7 pixels: 3 on each side."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(4, 2, 3, padding=1)).eval()


def untiled(model, pixels, mean=ZERO, std=ONE) -> np.ndarray:
    """Probability from the whole field at once."""
    x = torch.from_numpy((pixels - mean[:, None, None]) / std[:, None, None])[None]
    with torch.inference_mode():
        return 1 - model(x).softmax(dim=1)[0, 0].numpy()


def field(height: int, width: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(height * width).random((channels, height, width), dtype=np.float32)


@pytest.mark.parametrize("overlap", [0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("tile", [1, 8, 33])
def test_starts_cover_the_axis_and_stay_inside(tile, overlap):
    for length in range(tile, 5 * tile + 3):
        starts = window_starts(length, tile, overlap)
        assert starts[0] == 0
        assert starts[-1] + tile == length
        assert (np.diff(starts) <= tile).all()
        assert (np.diff(starts) >= 0).all()


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5])
def test_neighbouring_tiles_overlap_by_the_given_share(overlap):
    for length in range(33, 200):
        assert max(np.diff(window_starts(length, 32, overlap))) <= 32 * (1 - overlap) + 1


def test_an_axis_not_longer_than_a_tile_needs_one_tile():
    assert window_starts(32, 32, 0.5) == window_starts(5, 32, 0.5) == [0]


def test_no_more_tiles_than_needed():
    assert window_starts(96, 32, 0) == [0, 32, 64]
    assert window_starts(97, 32, 0.5) == [0, 13, 26, 39, 52, 65]


def test_tiles_that_overlap_almost_fully_start_once_at_every_pixel():
    assert window_starts(70, 64, 0.995) == window_starts(70, 64, 1 - 1e-12) == list(range(7))
    pixels = field(66, 67)
    bands = list(predict_bands([lambda tiles: tiles[:, 0]], pixels, 64, overlap=0.995))
    np.testing.assert_allclose(np.concatenate([b.mean for b in bands]), pixels[0], atol=1e-5)


@pytest.mark.parametrize("tile", [1, 31, 32, 480])
def test_blend_weight_is_positive_symmetric_and_1_in_the_middle(tile):
    weight = blend_weight(tile)
    assert weight.shape == (tile,) and weight.dtype == np.float32
    assert weight.min() >= 0.03
    assert weight.max() == weight[tile // 2] == pytest.approx(1, abs=0.01)
    assert np.allclose(weight, weight[::-1], atol=1e-6)


@pytest.mark.parametrize("bs", [1, 4, 100])
def test_batches_hold_each_tile_once_at_its_corner(bs):
    pixels = field(50, 70, 2)
    seen = []
    for corners, tiles in window_batches(pixels, 32, 0.25, bs):
        assert len(corners) == len(tiles) <= bs
        for (y, x), tile in zip(corners, tiles, strict=True):
            assert np.array_equal(tile, pixels[:, y : y + 32, x : x + 32])
        seen += corners
    assert sorted(seen) == [(y, x) for y in window_starts(50, 32, 0.25) for x in window_starts(70, 32, 0.25)]


@pytest.mark.parametrize("seed", range(8))
def test_pointwise_network_gives_the_untiled_result_for_any_size(seed):
    rng = np.random.default_rng(seed)
    height, width, channels = *rng.integers(1, 90, 2), int(rng.integers(1, 4))
    tile, overlap, bs = int(rng.choice([8, 32, 64])), float(rng.choice([0, 0.25, 0.5])), int(rng.integers(1, 9))
    pixels, model = field(height, width, channels), pointwise(channels)
    mean, std = rng.random(channels, dtype=np.float32), rng.random(channels, dtype=np.float32) + 0.5
    got = blended_probability(model, pixels, tile, mean=mean, std=std, overlap=overlap, bs=bs)
    assert got.shape == (height, width) and got.dtype == np.float32
    assert np.allclose(got, untiled(model, pixels, mean, std), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (5, 100), (100, 5), (31, 32), (33, 31)])
def test_field_smaller_than_a_tile_gives_the_untiled_result(size):
    pixels, model = field(*size), pointwise(1)
    got = blended_probability(model, pixels, 32)
    assert got.shape == size
    assert np.allclose(got, untiled(model, pixels), atol=1e-5)


def test_field_smaller_than_a_tile_is_mirrored_at_its_lower_and_right_edge():
    pixels, model = field(20, 27), convolutional()
    mirrored = np.pad(pixels, [(0, 0), (0, 12), (0, 5)], mode="symmetric")
    got = blended_probability(model, pixels, 32)
    assert np.allclose(got, untiled(model, mirrored)[:20, :27], atol=1e-5)


def test_foreground_of_several_classes_is_all_but_the_first():
    pixels, model = field(40, 50), pointwise(1, classes=4)
    assert np.allclose(blended_probability(model, pixels, 32), untiled(model, pixels), atol=1e-5)


@pytest.mark.parametrize(("logit", "probability"), [(0, 0.5), (200, 1), (-200, 0)])
def test_constant_network_gives_its_constant(logit, probability):
    got = blended_probability(Constant(logit), field(75, 61), 16, overlap=0.3)
    np.testing.assert_allclose(got, probability, atol=1e-6)


def touched_by_a_seam(size, tile: int, overlap: float, radius: int) -> np.ndarray:
    """Pixels close enough to an inner edge of one of their tiles that the network saw padding there."""
    touched = []
    for length in size:
        axis = np.zeros(length, bool)
        for start in window_starts(length, tile, overlap):
            if start > 0:
                axis[start : start + radius] = True
            if start + tile < length:
                axis[start + tile - radius : start + tile] = True
        touched.append(axis)
    return touched[0][:, None] | touched[1][None]


@pytest.mark.parametrize("edge", [80, 90, 101, 117, 131])
def test_a_certain_network_is_not_more_than_certain(edge):
    found = blended_probability(Constant(200), field(edge, edge + 7), 32, overlap=0.3)
    assert found.max() <= 1


@pytest.mark.parametrize("size", [(64, 64), (75, 61), (40, 113)])
def test_convolutional_network_differs_from_untiled_only_along_the_seams(size):
    pixels, model = field(*size), convolutional()
    got = blended_probability(model, pixels, 32, overlap=0.25)
    seam = touched_by_a_seam(size, 32, 0.25, radius=3)
    expected = untiled(model, pixels)
    assert 0.1 < seam.mean() < 0.9
    assert np.allclose(got[~seam], expected[~seam], atol=1e-5)
    assert not np.allclose(got[seam], expected[seam], atol=1e-5)


def test_blending_reduces_the_errors_at_the_seams():
    pixels, model = field(96, 96), convolutional()
    errors = [
        np.abs(blended_probability(model, pixels, 32, overlap=o) - untiled(model, pixels)).mean() for o in (0, 0.5)
    ]
    assert errors[1] < errors[0] / 2


def test_batch_size_does_not_matter():
    pixels, model = field(75, 61), convolutional()
    one, many = (blended_probability(model, pixels, 32, bs=bs) for bs in (1, 16))
    assert np.allclose(one, many, atol=1e-6)


def test_memory_mapped_field(tmp_path):
    pixels, model = field(50, 40), pointwise(1)
    np.save(tmp_path / "field.npy", pixels)
    mapped = np.load(tmp_path / "field.npy", mmap_mode="r")
    got = blended_probability(model, mapped, 32)
    assert np.array_equal(got, blended_probability(model, pixels, 32))


class Smooth(nn.Module):
    """Predicts nuclei where the mean over 7 x 7 pixels is above 0.5, with probabilities close to 0 or 1."""

    def forward(self, x):
        mean = nn.functional.avg_pool2d(x, 7, stride=1, padding=3)
        return torch.cat([torch.zeros_like(mean), 1000 * (mean - 0.5)], dim=1)


@pytest.mark.parametrize("size", [(64, 64), (150, 131), (90, 257), (200, 40)])
@pytest.mark.parametrize("overlap", [0.25, 0.5])  # 8 and 16 pixels; the receptive field has 7
def test_labels_are_exactly_those_of_the_untiled_field(size, overlap):
    pixels = (nuclei_plane(size, seed=sum(size), share=3) > 0.5).astype(np.float32)[None]
    labels = instances(blended_probability(Smooth(), pixels, 32, overlap=overlap))
    assert labels.max() > 5
    np.testing.assert_array_equal(labels, instances(untiled(Smooth(), pixels)))


@pytest.mark.parametrize("bs", [1, 3, 50])
@pytest.mark.parametrize("size", [(20, 20), (100, 40), (40, 100), (131, 90)])
def test_bands_are_contiguous_and_contain_finished_rows(size, bs):
    pixels, model = field(*size), convolutional()
    whole = blended_probability(model, pixels, 32)
    predict = as_member(model)
    bottom = 0
    for band in predict_bands([predict], pixels, 32, bs=bs):
        assert band.y0 == bottom and band.mean.shape[1] == size[1] and band.sd is None
        np.testing.assert_allclose(band.mean, whole[bottom : bottom + len(band.mean)], atol=1e-6)
        bottom += len(band.mean)
    assert bottom == size[0]


def as_member(model):
    """The model as a function of tiles, as `predict_bands` takes it."""
    return lambda tiles: untiled_batch(model, tiles)


def untiled_batch(model, tiles) -> np.ndarray:
    with torch.inference_mode():
        return 1 - model(torch.from_numpy(tiles)).softmax(dim=1)[:, 0].numpy()


class Rows:
    """Pixels that record which rows were read."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.asked = pixels, pixels.shape, []

    def __getitem__(self, key):
        self.asked.append((key[1].start, min(key[1].stop, self.shape[1])))
        return self.pixels[key]


def test_every_row_is_read_once_and_no_earlier_than_needed():
    rows = Rows(field(200, 50))
    bands = predict_bands([as_member(pointwise(1))], rows, 32, bs=2)
    next(bands)
    assert rows.asked[-1][1] < 100
    list(bands)
    assert rows.asked[0][0] == 0 and rows.asked[-1][1] == 200
    assert all(a[1] == b[0] for a, b in zip(rows.asked, rows.asked[1:], strict=False))


def test_members_see_the_same_tiles_and_their_spread_is_that_of_the_blended_maps():
    pixels, models = field(75, 61), [convolutional(), pointwise(1), Constant(0.3)]
    bands = list(predict_bands([as_member(m) for m in models], pixels, 32, spread=True))
    each = np.stack([blended_probability(m, pixels, 32) for m in models])
    np.testing.assert_allclose(np.concatenate([b.mean for b in bands]), each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(np.concatenate([b.sd for b in bands]), each.std(axis=0), atol=1e-6)


class LeftIsBright(nn.Module):
    """Predicts a ramp across each tile, wherever the tile is in the field: not equivariant to flips."""

    def forward(self, x):
        ramp = torch.linspace(2, -2, x.shape[-1]).expand_as(x[:, 0])
        return torch.stack([torch.zeros_like(ramp), ramp], dim=1)


@pytest.mark.parametrize("tta", ["flips", "dihedral"])
@pytest.mark.parametrize("size", [(32, 32), (75, 61)])
def test_tta_changes_nothing_for_a_pointwise_model(size, tta):
    pixels, model = field(*size), pointwise(1)
    plain, mean = (blended_probability(model, pixels, 32, tta=t) for t in ("none", tta))
    np.testing.assert_allclose(mean, plain, atol=1e-6)


@pytest.mark.parametrize("tta", ["flips", "dihedral"])
def test_images_of_a_tile_are_transformed_back_before_averaging(tta):
    pixels, model = field(32, 32), convolutional()
    images = [(t, f) for t in ((0, 2) if tta == "flips" else range(4)) for f in (False, True)]
    total = 0
    for turns, flip in images:
        image = np.rot90(pixels[:, :, ::-1] if flip else pixels, turns, axes=(1, 2))
        found = np.rot90(untiled(model, np.ascontiguousarray(image)), -turns)
        total = total + (found[:, ::-1] if flip else found)
    got = blended_probability(model, pixels, 32, tta=tta)
    np.testing.assert_allclose(got, total / len(images), atol=1e-6)
    assert np.abs(got - untiled(model, pixels)).max() > 1e-3


def test_flips_remove_the_preference_of_a_model_for_one_side():
    pixels = field(32, 32)
    assert np.ptp(blended_probability(LeftIsBright(), pixels, 32)) > 0.5
    np.testing.assert_allclose(blended_probability(LeftIsBright(), pixels, 32, tta="flips"), 0.5, atol=1e-6)


def test_unknown_tta_is_refused():
    with pytest.raises(UserError, match="flips, dihedral"):
        blended_probability(pointwise(1), field(32, 32), 32, tta="spin")
