"""Nuclei of mirror images in a tile: image and ids together, what was there stays, and only in training."""

import numpy as np
import pytest
import torch

from dedl_fastai.data.segmentation.crowd import CrowdAugment
from dedl_fastai.data.segmentation.levels import augmentation
from dedl_fastai.data.segmentation.tensors import TensorField, TensorInstances, TensorNuclei
from dedl_fastai.errors import UserError
from dedl_fastai.runs.options.seg import SegConfig


def batch(n=4, edge=64):
    """Tiles with two bright discs in the upper left corner."""
    y, x = np.mgrid[:edge, :edge]
    ids = np.zeros((edge, edge), np.int64)
    ids[np.hypot(y - 12, x - 14) < 8] = 1
    ids[np.hypot(y - 14, x - 40) < 7] = 2
    pixels = np.where(ids > 0, 0.6, 0.05).astype(np.float32)
    return TensorField(torch.from_numpy(pixels)[None, None].repeat(n, 1, 1, 1)), TensorInstances(
        torch.from_numpy(ids)[None].repeat(n, 1, 1)
    )


def test_added_nuclei_are_bright_have_new_ids_and_leave_the_others_as_they_are():
    torch.manual_seed(0)
    pixels, ids = batch()
    crowded, more = CrowdAugment(p=1.0)((pixels, ids), split_idx=0)
    assert isinstance(crowded, TensorField) and isinstance(more, TensorInstances)
    assert torch.equal(more[ids > 0], ids[ids > 0]), "what is taken stays"
    for i in range(len(ids)):
        new = (ids[i] == 0) & (more[i] > 0)
        assert int(more[i].max()) > 2 and new.any()
        assert float(crowded[i, 0][new].min()) > 0.35, "the pixels of a nucleus come with its ids"
        sizes = torch.bincount(more[i].flatten())[3:]
        assert all(size == 0 or size > 0.85 * 140 for size in sizes.tolist()), "at most 15 % of a nucleus is covered"
    assert torch.equal(pixels, batch()[0]) and torch.equal(ids, batch()[1]), "the batch itself is not changed"


def test_validation_masks_without_ids_and_empty_tiles_stay():
    pixels, ids = batch()
    crowd = CrowdAugment(p=1.0)
    assert crowd((pixels, ids), split_idx=1)[1] is ids
    mask = TensorNuclei((ids > 0).long())
    assert crowd((pixels, mask), split_idx=0)[1] is mask
    empty = (pixels, TensorInstances(torch.zeros_like(ids)))
    assert not crowd(empty, split_idx=0)[1].any()
    assert torch.equal(CrowdAugment(p=0.0)((pixels, ids), split_idx=0)[0], pixels)


def test_the_generator_of_torch_decides():
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(CrowdAugment()(batch(), split_idx=0)[1])
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


def test_an_unknown_extent_is_not_copied():
    pixels, ids = batch()
    unknown = TensorInstances(torch.where(ids == 2, -1, ids))
    more = CrowdAugment(p=1.0)((pixels, unknown), split_idx=0)[1]
    assert torch.equal(more == -1, unknown == -1)


def test_impossible_numbers_are_refused():
    with pytest.raises(UserError, match="shares from 0 to 1"):
        CrowdAugment(p=2)
    with pytest.raises(UserError, match="`crowd` needs the ids of nuclei"):
        SegConfig.resolve({"crowd": 0.5, "head": "mask"})


def test_it_runs_between_geometry_and_intensities():
    transforms = augmentation("standard", tile=64, crowd=0.5)
    assert [type(t).__name__ for t in sorted(transforms, key=lambda t: t.order)] == [
        "TileAugment",
        "CrowdAugment",
        "IntensityAugment",
    ]
    assert len(augmentation("paper", crowd=0.0)) == 1
