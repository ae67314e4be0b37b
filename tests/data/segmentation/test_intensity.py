"""Augmentation of intensities, and augmentation by its level."""

import pytest
import torch

from dedl_fastai.data import IntensityAugment, TensorField, TensorNuclei, augmentation
from dedl_fastai.errors import UserError


def changed(pixels, seed=0, **options):
    torch.manual_seed(seed)
    mask = TensorNuclei((pixels[:, 0] > 0.5).long())
    x, y = IntensityAugment(**options)((TensorField(pixels), mask), split_idx=0)
    assert isinstance(x, TensorField) and torch.equal(y, mask)
    return x.as_subclass(torch.Tensor)


NONE = {"contrast": 0.0, "brightness": 0.0}
TILES = torch.rand(32, 2, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def test_nothing_changes_without_strength():
    torch.testing.assert_close(changed(TILES, **NONE), TILES)


def test_brightness_shifts_and_contrast_keeps_the_mean():
    bright = changed(TILES, contrast=0.0, brightness=0.1) - TILES
    assert bright.std(dim=(1, 2, 3)).max() < 1e-6 and 0.05 < bright.abs().max() <= 0.1 + 1e-6
    flat = changed(TILES, contrast=0.5, brightness=0.0)
    torch.testing.assert_close(flat.mean(dim=(2, 3)), TILES.mean(dim=(2, 3)))
    ratio = flat.std(dim=(2, 3)) / TILES.std(dim=(2, 3))
    assert ratio.min() < 0.8 and ratio.max() > 1.2


def test_gamma_keeps_the_order_of_pixels():
    out = changed(TILES, gamma=0.7, **NONE)
    assert torch.equal(out[0, 0].flatten().argsort(), TILES[0, 0].flatten().argsort())
    assert (out - TILES).abs().max() > 0.05


@pytest.mark.parametrize(("options", "is_smoother"), [({"blur": 2.0}, True), ({"noise": 0.2}, False)])
def test_blur_smooths_and_noise_roughens_about_half_of_the_tiles(options, is_smoother):
    out = changed(TILES, **NONE, **options)
    touched = (out - TILES).abs().amax(dim=(1, 2, 3)) > 0
    assert 8 <= int(touched.sum()) <= 24
    rough = [t.diff(dim=-1).abs().mean(dim=(1, 2, 3))[touched] for t in (out, TILES)]
    assert bool((rough[0] < rough[1]).all()) == is_smoother


def test_pixels_stay_in_range_and_tiles_differ():
    out = changed(torch.rand(16, 1, 16, 16), contrast=0.9, brightness=0.9, gamma=2, blur=3, noise=1)
    assert out.min() >= 0 and out.max() <= 1
    assert len({t.numpy().tobytes() for t in out}) == 16


def test_the_torch_seed_decides():
    options = {"gamma": 0.5, "blur": 1.0, "noise": 0.1}
    assert torch.equal(changed(TILES, 3, **options), changed(TILES, 3, **options))
    assert not torch.equal(changed(TILES, 3, **options), changed(TILES, 4, **options))


def test_validation_batches_are_not_changed():
    x = TensorField(TILES)
    assert torch.equal(IntensityAugment(noise=1)((x,), split_idx=1)[0], x)


def test_levels():
    paper, standard, wide, strong = (augmentation(level, tile=64) for level in ("paper", "standard", "wide", "strong"))
    assert [type(t).__name__ for t in paper] == ["TileAugment"] and paper[0].max_rotate == 3
    assert augmentation("paper", rotate=10, dihedral=True)[0].dihedral
    assert standard[0].max_rotate == 180 and standard[0].max_zoom > 1 and not standard[1].noise and strong[1].noise
    assert standard[0].min_zoom == 1 / standard[0].max_zoom == strong[0].min_zoom, "as far in as out"
    assert wide[0].min_zoom == 0.5 < standard[0].min_zoom and wide[0].max_zoom == standard[0].max_zoom
    assert (wide[0].margin, standard[0].margin) == (32, 16)
    with pytest.raises(UserError, match="augment='wild'"):
        augmentation("wild")
