"""The DataBlocks of both tasks: the loaders are thin over them, and their parts can be swapped."""

import numpy as np
import pytest
import torch
from fastai.data.transforms import IndexSplitter

from dedl_fastai.data import (
    Cohort,
    FieldBlock,
    NucleiBlock,
    PictureAugment,
    TileAugment,
    clf_block,
    clf_dataloaders,
    seg_block,
    seg_dataloaders,
    split_cohort,
)

KEEP = {"seg": TileAugment(max_rotate=0, flips=False), "clf": PictureAugment(p=0)}
MAKE = {"seg": (seg_block, {"tile": 32}), "clf": (clf_block, {"size": 24})}


@pytest.fixture
def cohort(tiny_cohort):
    return split_cohort(tiny_cohort, "paper")


@pytest.fixture(params=["seg", "clf"])
def task(request):
    return request.param


def block_of(task, cohort, **arguments):
    make, settings = MAKE[task]
    return make(cohort, augment=[KEEP[task]], **settings, **arguments)


def valid_batches(dls):
    return [(x.as_subclass(torch.Tensor), y.as_subclass(torch.Tensor)) for x, y in dls.valid]


def test_loaders_are_those_of_the_block(task, cohort):
    ours = block_of(task, cohort).dataloaders(cohort, bs=4)
    make, settings = (
        (seg_dataloaders, {"tile": 32}) if task == "seg" else (clf_dataloaders, {"size": 24, "augment": [KEEP["clf"]]})
    )
    theirs = make(cohort, bs=4, **settings)
    assert ours.facts == theirs.facts and list(ours.vocab) == list(theirs.vocab) and ours.cohort is cohort
    for (x, y), (x_, y_) in zip(valid_batches(ours), valid_batches(theirs), strict=True):
        assert torch.equal(x, x_) and torch.equal(y, y_)


def test_summary_runs_through_every_step(task, cohort, capsys):
    block_of(task, cohort).summary(cohort, bs=2)
    printed = capsys.readouterr().out
    assert "Collecting items" in printed and "Building one batch" in printed and "Could not do one pass" not in printed


def test_a_splitter_of_ones_own(task, cohort):
    dls = block_of(task, cohort, splitter=IndexSplitter([0, 1])).dataloaders(cohort, bs=2)
    assert len(dls.valid.items) == 2


def test_blocks_of_ones_own(cohort):
    dls = block_of("seg", cohort, blocks=(FieldBlock(), NucleiBlock())).dataloaders(cohort, bs=2)
    x, _ = dls.valid.one_batch()
    assert float(x.min()) >= 0 and float(x.max()) <= 1  # not normalised


def test_a_getter_of_ones_own(cohort):
    block = block_of("clf", cohort, get_y=lambda item: [1.0] * len(item.target))
    _, y = block.dataloaders(cohort, bs=2).one_batch()
    assert bool((y == 1).all())


def test_items_of_ones_own(task, cohort):
    items = block_of(task, cohort).dataloaders(cohort, bs=2).train.items[:3]
    dls = block_of(task, cohort, get_items=lambda _: items, splitter=IndexSplitter([2])).dataloaders(None, bs=1)
    assert len(dls.train.items) == 2 and not hasattr(dls, "cohort")


def test_new_augmentation_in_fastais_manner(cohort):
    block = block_of("seg", cohort).new(batch_tfms=[TileAugment(max_rotate=45)])
    assert any(isinstance(t, TileAugment) and t.max_rotate == 45 for t in block.batch_tfms)


def test_another_cohort_keeps_the_facts_of_the_first(task, cohort, many_folder):
    block = block_of(task, cohort)
    other = split_cohort(Cohort.load(many_folder), seed=2)
    dls = block.dataloaders(other, bs=2)
    assert dls.facts == block.known["facts"] and dls.cohort is other
    assert {i.source.field if task == "seg" else i.field for i in dls.train.items} <= set(
        other.part("train").table.field
    )


def test_image_files_are_items_too(task, cohort):
    dls = block_of(task, cohort).dataloaders(cohort, bs=2)
    (x,) = dls.test_dl([cohort.table.image[0]], num_workers=0).one_batch()
    assert np.isfinite(x.numpy()).all()
