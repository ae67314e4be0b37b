"""Crops of single cells: planes, masks, edges of the field, and balanced drawing."""

import numpy as np
import pandas as pd
import pytest
import torch

from dedl_fastai.data.classification.crops import (
    CellItem,
    corners_of,
    crop_dataloaders,
    crop_edge,
    crop_facts,
    crop_of,
    with_statistics,
)
from dedl_fastai.data.scaling import PercentileScaling


@pytest.fixture
def field():
    """Planes (2, 20, 30) and labels with two nuclei side by side."""
    planes = np.stack([np.full((20, 30), 0.25, np.float32), np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)])
    labels = np.zeros((20, 30), np.int32)
    labels[8:12, 8:12], labels[8:12, 12:16] = 3, 7
    return planes, labels


def test_a_crop_has_the_channels_the_nucleus_and_its_neighbours(field):
    crop = crop_of(*field, 3, y=6, x=6, edge=8, size=8)
    assert crop.shape == (4, 8, 8) and crop.dtype == np.float32
    assert (crop[:2] == field[0][:, 6:14, 6:14]).all()
    assert (crop[2] == (field[1][6:14, 6:14] == 3)).all()
    assert (crop[3] == (field[1][6:14, 6:14] == 7)).all()


def test_beyond_the_field_channels_are_mirrored_and_there_are_no_nuclei(field):
    crop = crop_of(*field, 3, y=-4, x=-4, edge=16, size=16)
    assert (crop[0] == 0.25).all()
    assert (crop[1, 3, 4:] == crop[1, 4, 4:]).all()
    assert crop[2:, :4].sum() == 0


def test_a_crop_is_as_large_in_um_whatever_the_pixels_are():
    assert [crop_edge(24, size) for size in (0.5, 0.25, None)] == [48, 96, 48]
    cells = pd.DataFrame({"label": [4], "y_px": [10.2], "x_px": [20.7]})
    assert list(corners_of(cells, 8)) == [(4, 6, 17)]


def test_each_type_is_drawn_equally_often_in_training(field, tmp_path):
    for name, array in zip(("planes", "labels"), field, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    facts = crop_facts(["a", "b"], ["rare", "common"], size=8, scaling=PercentileScaling())
    items = [_item(tmp_path, "rare" if i < 10 else "common", "train") for i in range(200)]
    items += [_item(tmp_path, "common", "valid")] * 3
    facts = with_statistics(facts, items[:4])
    assert len(facts.mean) == 4 and facts.prevalence == (0.5, 0.5)
    how = {"bs": 20, "augment": True, "workers": 0, "seed": 1, "device": torch.device("cpu")}
    dls = crop_dataloaders(items, facts, **how)
    drawn = torch.cat([y for _, y in dls.train])
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=0.12)
    assert len(dls.valid_ds) == 3
    x, _ = dls.one_batch()
    assert x.shape == (20, 4, 8, 8)


def _item(folder, name, split):
    return CellItem(
        field="f",
        patient="p",
        image="",
        split=split,
        labels=(name,),
        target=(float(name == "rare"), float(name == "common")),
        picture=str(folder / "planes.npy"),
        size=8,
        y=6,
        x=6,
        tile=8,
        nuclei=str(folder / "labels.npy"),
        label=3,
    )
