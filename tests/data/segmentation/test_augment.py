"""Joint augmentation of tiles and masks."""

import pytest
import torch

from dedl_fastai.data import TensorField, TensorNuclei, seg_dataloaders
from dedl_fastai.data.segmentation.augment import TileAugment
from dedl_fastai.errors import UserError


def blobs(n=16, size=48):
    """Return masks of two rectangles without symmetry, all of different size: int64 (n, size, size)."""
    masks = torch.zeros(n, size, size, dtype=torch.long)
    for i in range(n):
        masks[i, 4 : 14 + i % 5, 6:40] = 1
        masks[i, 24:44, 30 : 36 + i % 7] = 1
    return masks


def augmented(augment, masks, images=None, seed=0):
    """Return the augmented training batch of fields and masks as plain tensors."""
    torch.manual_seed(seed)
    images = masks[:, None].float() if images is None else images
    x, y = augment((TensorField(images), TensorNuclei(masks)), split_idx=0)
    assert isinstance(x, TensorField) and isinstance(y, TensorNuclei)
    return x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)


def symmetries(square):
    """Return the 8 rotations and flips of a (H, W) tensor."""
    turns = [torch.rot90(square, k, (0, 1)) for k in range(4)]
    return turns + [t.flip(1) for t in turns]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dihedral": True},
        {"max_rotate": 20.0, "dihedral": True},
        {"flips": False},
        {"max_zoom": 1.3},
        {"min_zoom": 0.7},
        {"margin": 8},
    ],
)
def test_mask_and_image_stay_aligned_up_to_interpolated_edges(options):
    x, y = augmented(TileAugment(**options), blobs())
    assert ((x[:, 0] > 0.5).long() != y).float().mean() < 0.02
    far = torch.nn.functional.max_pool2d(y[:, None].float(), 5, 1, 2) == 0  # more than two pixels from every nucleus
    far[..., [0, 1, -2, -1], :] = far[..., [0, 1, -2, -1]] = False  # a nucleus may be just out of sight
    assert (x[far] < 1e-4).all()


@pytest.mark.parametrize("dihedral", [False, True])
def test_without_rotation_image_and_mask_are_moved_pixel_by_pixel(dihedral):
    x, y = augmented(TileAugment(max_rotate=0, dihedral=dihedral), blobs())
    torch.testing.assert_close(x[:, 0], y.float(), atol=1e-5, rtol=0)
    assert (y != blobs()).any()


def test_mask_stays_integer_zero_and_one():
    _, y = augmented(TileAugment(max_rotate=25.0, dihedral=True), blobs())
    assert y.dtype == torch.int64 and y.shape == (16, 48, 48) and set(y.unique().tolist()) == {0, 1}


def test_identity_without_rotation_and_flips():
    images = torch.rand(4, 3, 48, 48)
    x, y = augmented(TileAugment(max_rotate=0, flips=False), blobs(4), images)
    torch.testing.assert_close(x, images, atol=1e-5, rtol=0)
    assert torch.equal(y, blobs(4))


@pytest.mark.parametrize(("dihedral", "n"), [(False, 4), (True, 8)])
def test_draws_reach_every_flip_or_all_eight_symmetries_about_equally_often(dihedral, n):
    mask = blobs(1)[0]
    _, y = augmented(TileAugment(max_rotate=0, dihedral=dihedral), mask.repeat(400, 1, 1))
    hits = [sum(torch.equal(m, s) for m in y) for s in symmetries(mask)]
    assert sum(hits) == 400 and sum(h > 0 for h in hits) == n
    assert min(h for h in hits if h) > 0.5 * 400 / n


def test_rotation_stays_within_its_limit_in_both_directions():
    torch.manual_seed(0)
    matrices = TileAugment(max_rotate=3.0, flips=False).draw(2000)
    degrees = torch.rad2deg(torch.atan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert degrees.abs().max() <= 3.0 + 1e-4 and degrees.min() < -2.8 and degrees.max() > 2.8
    torch.testing.assert_close(matrices[:, :, :2].det().abs(), torch.ones(2000))  # no scaling
    assert not matrices[:, :, 2].any()


def test_all_factors_of_the_zoom_are_equally_likely():
    torch.manual_seed(0)
    zooms = 1 / TileAugment(max_rotate=180, min_zoom=0.25, max_zoom=2).draw(2000)[:, :, :2].det().abs().sqrt()
    assert 0.25 - 1e-4 <= zooms.min() < 0.26 and 1.96 < zooms.max() <= 2 + 1e-4
    shares = [(zooms < factor).float().mean().item() for factor in (0.5, 1)]
    assert shares == pytest.approx([1 / 3, 2 / 3], abs=0.03)


@pytest.mark.parametrize("options", [{"min_zoom": 0}, {"min_zoom": 1.2}, {"max_zoom": 0.8}, {"margin": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        TileAugment(**options)


def test_rotation_fills_corners_with_the_mirror_image():
    x, _ = augmented(TileAugment(max_rotate=30.0), blobs(8), torch.full((8, 2, 48, 48), 0.7))
    torch.testing.assert_close(x, torch.full_like(x, 0.7))


def test_tiles_of_a_batch_are_moved_differently_but_channels_of_a_tile_equally():
    images = blobs(1)[:, None].float().repeat(12, 3, 1, 1)
    x, _ = augmented(TileAugment(), blobs(1).repeat(12, 1, 1), images)
    assert torch.equal(x[:, 0], x[:, 1]) and torch.equal(x[:, 0], x[:, 2])
    assert len({t.numpy().tobytes() for t in x}) > 8


def test_all_random_numbers_depend_on_the_torch_seed():
    one, same, other = (augmented(TileAugment(dihedral=True), blobs(), seed=s) for s in (7, 7, 8))
    assert torch.equal(one[0], same[0]) and torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])


def test_validation_batches_are_not_changed():
    x, y = TensorField(torch.rand(4, 1, 48, 48)), TensorNuclei(blobs(4))
    after = TileAugment(max_rotate=45.0, dihedral=True)((x, y), split_idx=1)
    assert torch.equal(after[0], x) and torch.equal(after[1], y)


def test_loaders_augment_training_batches_only(two_fields, tmp_path):
    dls = seg_dataloaders(
        two_fields, tile=64, bs=1, augment=[TileAugment(max_rotate=0, dihedral=True)], cache=tmp_path, seed=0
    )
    train = [dls.train.one_batch()[1][0] for _ in range(20)]
    valid = [dls.valid.one_batch()[1][0] for _ in range(5)]
    raw = {s: TensorNuclei.create(dl.items[0]) for s, dl in (("train", dls.train), ("valid", dls.valid))}
    assert any(not torch.equal(m, raw["train"]) for m in train)
    assert all(torch.equal(m, raw["valid"]) for m in valid)


def test_a_margin_is_cut_off_and_the_tile_shifted():
    masks = blobs(64)
    _, y = augmented(TileAugment(max_rotate=0, flips=False, margin=8), masks)
    assert y.shape == (64, 32, 32)
    corners = [
        next((a, b) for a in range(17) for b in range(17) if torch.equal(m[a : a + 32, b : b + 32], t))
        for m, t in zip(masks, y, strict=True)
    ]
    assert {0, 8, 16} & {a for a, _ in corners} and len(set(corners)) > 20


def test_training_tiles_come_with_the_margin_of_their_augmentation(tiny_cohort):
    from dedl_fastai.data import split_cohort

    dls = seg_dataloaders(split_cohort(tiny_cohort), tile=32, bs=4, augment=[TileAugment(margin=8)])
    assert dls.train.items[0].size == 48 and dls.valid.items[0].size == 32
    for dl in (dls.train, dls.valid):
        x, y = dl.one_batch()
        assert x.shape[2:] == y.shape[1:] == (32, 32)
