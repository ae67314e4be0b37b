"""Classification `DataLoaders`: pictures, targets, facts, order, tiles; and pictures of new files."""

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.torch_core import TensorMultiCategory
from PIL import Image

from dedl_fastai.data import (
    Cohort,
    PercentileScaling,
    PictureAugment,
    TensorPicture,
    clf_dataloaders,
    labels_for,
    picture_of,
    split_cohort,
    tiles_of_file,
)
from dedl_fastai.data.classification import items as items_module
from dedl_fastai.data.classification.items import clf_items
from dedl_fastai.errors import UserError

KEEP = PictureAugment(p=0)  # leaves every picture as it is


@pytest.fixture
def cohort(tiny_cohort):
    """The tiny cohort with the paper's split: 3 training, 2 validation, 2 test fields."""
    return split_cohort(tiny_cohort, "paper")


@pytest.fixture
def two_colors(tmp_path):
    """Two training pictures, black and (51, 102, 255), and a white validation picture, with labels."""
    (tmp_path / "images").mkdir()
    for name, color in {"a": (0, 0, 0), "b": (51, 102, 255), "c": (255, 255, 255)}.items():
        Image.fromarray(np.full((20, 30, 3), color, np.uint8)).save(tmp_path / "images" / f"{name}.png")
    rows = [("a.png", "x;y", "train"), ("b.png", "y", "train"), ("c.png", "z", "valid")]
    pd.DataFrame(rows, columns=["image", "labels", "split"]).to_csv(tmp_path / "labels.csv", index=False)
    return Cohort.load(tmp_path)


def batches(loader):
    """Return all batches as pairs of plain tensors."""
    return [(x.as_subclass(torch.Tensor).clone(), y.as_subclass(torch.Tensor).clone()) for x, y in loader]


@pytest.mark.parametrize(
    ("input", "channels", "planes"),
    [
        ("thumbnail", (), 3),
        ("autofluorescence", (), 1),
        ("composite", (), 3),
        ("markers", (), 8),
        ("markers", ("CD4", "DAPI"), 2),
    ],
)
def test_batches_are_pictures_and_targets_of_the_given_size(cohort, input, channels, planes):
    dls = clf_dataloaders(cohort, input, size=24, bs=2, channels=channels, device="cpu")
    x, y = dls.one_batch()
    assert type(x) is TensorPicture and x.shape == (2, planes, 24, 24) and x.dtype == torch.float32
    assert type(y) is TensorMultiCategory and y.shape == (2, 5) and y.dtype == torch.float32
    assert dls.c == 5 and dls.vocab == ["b", "tfh", "tfh217", "tfhl", "other"]
    assert dls.facts.n_planes == planes == len(dls.facts.mean)


def test_targets_are_the_labels_of_their_fields(cohort):
    dls = clf_dataloaders(cohort, size=24, bs=8, device="cpu")
    for loader, split in ((dls.train, "train"), (dls.valid, "valid")):
        assert {i.field for i in loader.items} == set(cohort.part(split).table.field)
    ((_, y),) = batches(dls.valid)
    expected = dls.labels.matrix.loc[[i.field for i in dls.valid.items]].to_numpy(np.float32)
    np.testing.assert_array_equal(y, expected)
    item = dls.valid.items[0]
    assert list(item.labels) == dls.labels.cohort.table.set_index("field").labels[item.field].split(";")


def test_facts_are_exact_and_depend_on_the_training_pictures_only(two_colors):
    dls = clf_dataloaders(two_colors, size=16, bs=2)
    facts = dls.facts
    assert facts.mean == pytest.approx([0.1, 0.2, 0.5]) and facts.std == pytest.approx([0.1, 0.2, 0.5], rel=1e-3)
    assert facts.vocab == ("x", "y", "z") and facts.prevalence == (0.5, 1.0, 0.0) and facts.n_train == 2
    assert (facts.input, facts.channels, facts.size, facts.tile) == ("thumbnail", (), 16, 0)
    assert [w for w in dls.labels.warnings if "'y' is in every training item" in w]
    assert [w for w in dls.labels.warnings if "'z' is in no training item" in w]


def test_validation_pictures_are_normalised_and_not_augmented(two_colors):
    dls = clf_dataloaders(two_colors, size=16, bs=1, augment=[PictureAugment(p=1)], device="cpu")
    ((x, _),) = batches(dls.valid)
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([9.0, 4.0, 1.0]), atol=1e-3, rtol=0)  # (1 - mean) / std
    torch.testing.assert_close(x, x[..., :1, :1].expand_as(x))


def test_imagenet_statistics_are_for_three_planes(cohort):
    assert clf_dataloaders(cohort, size=16, bs=2, stats="imagenet").facts.mean == pytest.approx((0.485, 0.456, 0.406))
    with pytest.raises(UserError, match="three planes, but input=markers has 8"):
        clf_dataloaders(cohort, "markers", size=16, stats="imagenet")
    with pytest.raises(UserError, match="stats='mine' is unknown"):
        clf_dataloaders(cohort, stats="mine")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_for_one_seed_and_differ_between_seeds(cohort, workers):
    def epoch(seed):
        return batches(clf_dataloaders(cohort, size=24, bs=2, workers=workers, seed=seed, device="cpu").train)

    one, same, other = epoch(4), epoch(4), epoch(5)
    assert all(torch.equal(a, b) for pair in zip(one, same, strict=True) for a, b in zip(*pair, strict=True))
    assert not torch.equal(one[0][0], other[0][0])


def test_an_epoch_decodes_no_file_and_new_loaders_use_the_cache(cohort, monkeypatch):
    dls = clf_dataloaders(cohort, "markers", size=24, bs=2)

    def fail(*_args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(items_module, "read_input", fail)
    assert len(batches(dls.train)) == 1  # three items: a last batch of one item is dropped
    assert clf_dataloaders(cohort, "markers", size=24, bs=2).facts == dls.facts
    with pytest.raises(AssertionError, match="decoded again"):
        clf_dataloaders(cohort, "markers", size=25, bs=2)


def test_items_of_any_split_use_the_facts_of_training(cohort):
    facts = clf_dataloaders(cohort, size=24, bs=2).facts
    items = clf_items(cohort, facts, "test")
    assert {i.field for i in items} == set(cohort.part("test").table.field)
    assert len(clf_items(cohort, facts, "all")) == 7
    for item in items:
        assert item.pixels().shape == (3, 24, 24) and item.pixels().dtype == np.float32
        np.testing.assert_array_equal(item.pixels(), picture_of(item.image, facts))
        assert item.target == tuple(float(c in item.labels) for c in facts.vocab)
    corners, pictures = tiles_of_file(items[0].image, facts)
    assert corners == [(0, 0)] and pictures.shape == (1, 3, 24, 24)


def test_classes_unknown_to_the_facts_are_dropped_and_missing_ones_are_absent(two_colors, caplog):
    from dataclasses import replace

    facts = replace(clf_dataloaders(two_colors, size=16, bs=1).facts, vocab=("new", "y"))
    items = clf_items(two_colors, facts, "train")
    assert [i.target for i in items] == [(0.0, 1.0), (0.0, 1.0)] and items[0].labels == ("y",)
    assert "classes that the model does not know are dropped: x, z" in caplog.text


def test_evaluation_uses_rules_and_thresholds_of_training(cohort, tmp_path):
    one = tmp_path / "cells.txt"
    pd.DataFrame({"cd19_mean": [1.0, 1.2, 9, 9.5], "cd4": [0, 0, 0, 0]}).to_csv(one, sep="\t", index=False)
    table = cohort.table.assign(cells=str(one))
    measured = Cohort(table, cohort.root, cohort.layout)
    rules = tmp_path / "rules.txt"
    rules.write_text("b = CD19+\nnone =", encoding="utf-8")
    facts = clf_dataloaders(measured, size=16, bs=2, rules=rules, min_cells=2).facts
    pd.DataFrame({"cd19_mean": [100.0, 200, 200, 201], "cd4": [0, 0, 0, 0]}).to_csv(one, sep="\t", index=False)
    again = labels_for(measured, facts)  # Otsu would separate 100 from 200
    assert again.counts.iloc[0].to_dict() == {"b": 4, "none": 0} and again.thresholds == facts.thresholds
    assert facts.min_cells == again.min_cells == 2


def test_tiles_are_cut_from_their_field_and_thumbnails_at_their_scale(tiny_cohort):
    one = tiny_cohort.where(tiny_cohort.table.field == tiny_cohort.table.field[0])
    scaling = PercentileScaling()
    for input, planes in (("markers", 8), ("thumbnail", 3)):
        dls = clf_dataloaders(one, input, size=16, bs=2, tile=16, scaling=scaling, augment=[KEEP], device="cpu")
        items = clf_items(one, dls.facts, "all")
        assert {(i.y, i.x) for i in items} <= {(y, x) for y in range(0, 96, 16) for x in range(0, 128, 16)}
        assert {i.split for i in items} == {"train", "valid", "test"} and {i.field for i in items} == {
            one.table.field[0]
        }
        whole = np.load(items[0].picture)
        assert whole.shape == ((8, 96, 128) if input == "markers" else (3, 24, 32))
        item = next(i for i in items if (i.y, i.x) == (32, 16))
        assert item.pixels().shape == (planes, 16, 16)
        if input == "markers":
            np.testing.assert_array_equal(item.pixels(), whole[:, 32:48, 16:32])
        else:
            assert item.pixels().mean() == pytest.approx(whole[:, 8:12, 4:8].mean(), abs=0.02)
        corners, pictures = tiles_of_file(item.image, dls.facts)
        np.testing.assert_array_equal(pictures[corners.index((32, 16))], item.pixels())
    assert dls.labels.counts.sum().sum() == len(dls.labels.cells[one.table.field[0]])
    with pytest.raises(UserError, match="classifies tiles of 16 pixels"):
        picture_of(item.image, dls.facts)


@pytest.mark.parametrize(
    ("splits", "message"),
    [("", "no labelled train fields"), ("train", "no labelled valid fields"), ("test", "no labelled train fields")],
)
def test_a_cohort_without_a_split_is_an_error(tiny_cohort, splits, message):
    with pytest.raises(UserError, match=message):
        clf_dataloaders(tiny_cohort.with_split([splits] * 7), size=16)


def test_all_fields_must_have_the_channels_of_the_first_training_field(cohort, tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    table = cohort.table.copy()
    table.loc[table.split == "valid", "image"] = str(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png has no channel 'DAPI'"):
        clf_dataloaders(Cohort(table, cohort.root, cohort.layout), "markers", size=16)


def test_fastais_own_augmentation_can_be_used(cohort):
    from fastai.vision.augment import aug_transforms

    dls = clf_dataloaders(cohort, "markers", size=24, bs=2, augment=aug_transforms(flip_vert=True), device="cpu")
    x, _ = dls.one_batch()
    assert type(x) is TensorPicture and x.shape == (2, 8, 24, 24) and x.isfinite().all()


def test_tiles_of_given_labels_without_cell_tables_are_an_error(two_colors):
    with pytest.raises(UserError, match="`tile` needs cell tables"):
        clf_dataloaders(two_colors, size=16, tile=10)
