"""Segmentation `DataLoaders`: tiles, normalisation, order, facts of the training data, drawing."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from dedl_fastai.data import (
    FieldBlock,
    NucleiBlock,
    PercentileScaling,
    TensorField,
    TensorNuclei,
    seg_dataloaders,
    split_cohort,
)
from dedl_fastai.data import cache as cache_module
from dedl_fastai.data.segmentation.augment import TileAugment
from dedl_fastai.data.segmentation.facts import SegFacts

KEEP = TileAugment(max_rotate=0, flips=False)  # leaves every tile as it is


@pytest.fixture
def cohort(tiny_cohort):
    """The tiny cohort with the paper's split: 3 training fields, 2 validation fields."""
    return split_cohort(tiny_cohort, "paper")


def batches(loader):
    """Return all batches as pairs of plain tensors."""
    return [(x.as_subclass(torch.Tensor).clone(), y.as_subclass(torch.Tensor).clone()) for x, y in loader]


def tile_set(loader):
    """Return all tiles of the loader, with their masks, as a set of bytes."""
    return {t.numpy().tobytes() + m.numpy().tobytes() for x, y in batches(loader) for t, m in zip(x, y, strict=True)}


def test_batches_are_field_and_nucleus_tensors_of_the_given_size(cohort):
    dls = seg_dataloaders(cohort, tile=64, bs=4, channels=("DAPI", "CD4"), device="cpu")
    x, y = dls.one_batch()
    assert type(x) is TensorField and x.shape == (4, 2, 64, 64) and x.dtype == torch.float32
    assert type(y) is TensorNuclei and y.shape == (4, 64, 64) and y.dtype == torch.int64
    assert set(y.unique().tolist()) == {0, 1}
    assert dls.c == 2 and dls.vocab == ["background", "nucleus"]


def test_only_fields_of_train_and_valid_are_used(cohort):
    dls = seg_dataloaders(cohort, tile=64, bs=4)
    for loader, split in ((dls.train, "train"), (dls.valid, "valid")):
        assert {t.source.field for t in loader.items} == set(cohort.part(split).table.field)
        assert len(loader.items) == 4 * len(cohort.part(split))  # 96 x 128 needs 2 x 2 tiles of 64


def test_facts_are_exact_on_a_constructed_cohort(two_fields):
    facts = seg_dataloaders(two_fields, tile=64, bs=1, scaling=PercentileScaling(0, 100)).facts
    assert facts.channels == ("DAPI",) and facts.tile == 64 and facts.classes == ("background", "nucleus")
    assert facts.mean == pytest.approx([0.5]) and facts.std == pytest.approx([0.5])  # half of the pixels are 1
    assert facts.foreground == 0.5 and facts.scaling == PercentileScaling(0, 100)


def test_facts_depend_on_the_training_fields_only(two_fields):
    before = seg_dataloaders(two_fields, tile=64, bs=1).facts
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(two_fields.table.image[1])
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(two_fields.table["mask"][1])
    assert seg_dataloaders(two_fields, tile=64, bs=1).facts == before


def test_facts_of_several_channels_match_numpy(cohort):
    facts = seg_dataloaders(cohort, tile=64, bs=4, channels=("DAPI", "CD19")).facts
    entries = cache_module.cache_cohort(cohort.part("train"), ("DAPI", "CD19"), facts.scaling)
    pixels = np.stack([e.open_pixels() for e in entries]).astype(np.float64)
    np.testing.assert_allclose(facts.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(facts.std, pixels.std(axis=(0, 2, 3)), rtol=1e-4)
    assert facts.foreground == pytest.approx(np.mean([e.open_mask().mean() for e in entries]))


def test_tiles_are_normalised_with_the_training_statistics(two_fields):
    dls = seg_dataloaders(two_fields, tile=64, bs=1, scaling=PercentileScaling(0, 100), augment=[KEEP])
    for loader, share_bright in ((dls.train, 0.5), (dls.valid, 0.5)):
        x = batches(loader)[0][0]
        assert (x - 1).abs().lt(1e-4).float().mean() == share_bright  # (1 - 0.5) / 0.5
        assert (x + 1).abs().lt(1e-4).float().mean() == 1 - share_bright


def facts_with(foreground):
    """Return `SegFacts` with this share of foreground."""
    return SegFacts(
        channels=("DAPI",),
        scaling=PercentileScaling(),
        mean=(0.1,),
        std=(0.1,),
        tile=64,
        foreground=foreground,
    )


@pytest.mark.parametrize("foreground", [0.0, 0.1479, 0.5, 1.0])
def test_class_weights_are_positive_sum_to_one_and_favour_the_rarer_class(foreground):
    facts = facts_with(foreground)
    background, nucleus = facts.class_weights
    assert background + nucleus == pytest.approx(1) and background > 0 and nucleus > 0
    assert (nucleus > background) == (foreground < 0.5)


def test_papers_class_weights_come_from_its_foreground_share():
    facts = facts_with(0.1479)
    assert facts.class_weights == pytest.approx((0.1479, 0.8521))


def test_few_training_tiles_are_shown_several_times(two_fields):
    (n_train, n_valid), (n_more, n_valid_still) = (
        (len(dls.train.dataset), len(dls.valid.dataset))
        for dls in (seg_dataloaders(two_fields, tile=32, bs=1, min_tiles=n) for n in (0, 30))
    )
    assert n_train < 30 <= n_more < 30 + n_train and n_more % n_train == 0 and n_valid == n_valid_still


@pytest.mark.parametrize(("skip", "n_train"), [(False, 4), (True, 2)])
def test_blank_training_tiles_are_left_out_only_with_skip_blank(two_fields, skip, n_train):
    dls = seg_dataloaders(two_fields, tile=32, bs=1, skip_blank=skip)
    assert len(dls.train.items) == n_train
    assert len(dls.valid.items) == 4  # three are blank, but validation uses all tiles


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_for_one_seed_and_differ_between_seeds(cohort, workers):
    def epoch(seed):
        return batches(seg_dataloaders(cohort, tile=64, bs=4, workers=workers, seed=seed, device="cpu").train)

    one, same, other = epoch(4), epoch(4), epoch(5)
    assert all(torch.equal(a, b) for pair in zip(one, same, strict=True) for a, b in zip(*pair, strict=True))
    assert not torch.equal(one[0][0], other[0][0])


def test_tiles_do_not_depend_on_the_number_of_workers(cohort):
    loaders = [seg_dataloaders(cohort, tile=64, bs=4, workers=w, augment=[KEEP], device="cpu") for w in (0, 2)]
    none, two = ({s: tile_set(getattr(d, s)) for s in ("train", "valid")} for d in loaders)
    assert len(none["train"]) == 12 and len(none["valid"]) == 8
    assert none == two


def test_training_tiles_are_shuffled_and_validation_tiles_are_not(cohort):
    dls = seg_dataloaders(cohort, tile=64, bs=12, seed=0, augment=[KEEP])
    expected = torch.stack([TensorNuclei.create(t).as_subclass(torch.Tensor) for t in dls.valid.items])
    for _ in range(2):
        assert torch.equal(torch.cat([y for _, y in batches(dls.valid)]), expected)
    first, second = (batches(dls.train)[0][0] for _ in range(2))
    assert not torch.equal(first, second)


def test_an_epoch_decodes_no_file(cohort, monkeypatch):
    dls = seg_dataloaders(cohort, tile=64, bs=4)

    def fail(*_args):
        raise AssertionError("decoded again")

    for name in ("read_scaled", "read_mask"):
        monkeypatch.setattr(cache_module, name, fail)
    assert len(batches(dls.train)) == 3 and len(batches(dls.valid)) == 2
    assert seg_dataloaders(cohort, tile=48, bs=4).facts.mean == dls.facts.mean  # nor does another tile size


@pytest.mark.parametrize(("bs", "sizes"), [(11, [11]), (4, [4, 4, 4]), (5, [5, 5, 2]), (16, [12])])
def test_only_a_last_batch_of_one_tile_is_dropped(cohort, bs, sizes):
    dls = seg_dataloaders(cohort, tile=64, bs=bs)
    assert [len(x) for x, _ in batches(dls.train)] == sizes
    assert sum(len(x) for x, _ in batches(dls.valid)) == 8


def test_padding_is_applied_to_pixels_and_masks(two_fields):
    dls = seg_dataloaders(two_fields, tile=96, bs=1, pad="zero", augment=[KEEP], scaling=PercentileScaling(0, 100))
    x, y = batches(dls.valid)[0]
    assert y[:, 64:].sum() == 0 and y[..., 64:].sum() == 0 and y.sum() == 32 * 32
    torch.testing.assert_close(x[..., 64:], torch.full((1, 1, 96, 32), -1.0))


def test_blocks_can_be_used_in_a_datablock_without_normalisation(cohort):
    from fastai.data.block import DataBlock
    from fastai.data.transforms import RandomSplitter

    tiles = seg_dataloaders(cohort, tile=64, bs=4).train.items
    dls = DataBlock(blocks=(FieldBlock(), NucleiBlock()), splitter=RandomSplitter(0.5)).dataloaders(tiles, bs=2)
    x, y = dls.one_batch()
    assert isinstance(x, TensorField) and isinstance(y, TensorNuclei)
    assert x.min() >= 0 and x.max() <= 1


@pytest.mark.parametrize("channels", [["DAPI"], ["DAPI", "CD4"], ["DAPI", "CD4", "CD19"]])
def test_show_batch_draws_tiles_with_outlines(cohort, channels):
    seg_dataloaders(cohort, tile=64, bs=4, channels=channels).show_batch(max_n=4)
    axes = plt.gcf().axes
    assert len(axes) == 4 and all(a.images for a in axes) and any(a.collections for a in axes)
    shape = axes[0].images[0].get_array().shape
    assert shape == ((64, 64, 3) if len(channels) == 3 else (64, 64))
    plt.close("all")


def test_shown_pixels_are_those_of_the_file(two_fields):
    dls = seg_dataloaders(two_fields, tile=64, bs=1, augment=[KEEP], scaling=PercentileScaling(0, 100))
    dls.valid.show_batch(max_n=1)
    shown = plt.gca().images[0].get_array()
    np.testing.assert_allclose(shown[:32], 0, atol=1e-5)
    np.testing.assert_allclose(shown[32:], 1, atol=1e-5)
    plt.close("all")


def test_an_empty_mask_is_drawn_without_an_outline():
    axis = TensorNuclei(torch.zeros(16, 16, dtype=torch.long)).show()
    assert len(axis.collections) == 0
    plt.close("all")
