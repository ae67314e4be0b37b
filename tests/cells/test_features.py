"""Features of single cells."""

import numpy as np
import pytest

from dedl_fastai.cells import measure_cells
from dedl_fastai.cells.features import FAR, cell_features, measured_channels, table_channels
from dedl_fastai.cells.measure import RING_QUARTILES
from dedl_fastai.errors import UserError


@pytest.fixture
def labels():
    image = np.zeros((40, 60), np.int32)
    for i, x in enumerate(range(4, 60, 8)):
        image[10 + i : 15 + i, x : x + 4] = i + 1
    return image


@pytest.fixture
def planes(labels):
    rng = np.random.default_rng(0)
    return {"DAPI": rng.gamma(4, 2, labels.shape).astype(np.float32), "CD4 (Opal)": labels.astype(np.float32)}


def features(labels, planes, intensities="raw", **how):
    cells = measure_cells(labels, planes, **how)
    return cell_features(cells, list(planes), intensities)


def test_one_row_per_cell_with_intensities_shape_and_neighbours(labels, planes):
    x = features(labels, planes, pixel_size_um=0.5)
    assert len(x) == 7 and not x.isna().to_numpy().any()
    assert x["Nucleus CD4 (Opal) mean"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert x["area"].tolist() == [20 * 0.25] * 7
    assert x["nearest"].iloc[0] == pytest.approx(np.hypot(8, 1) / 2)
    assert {"fifth nearest", "Near DAPI", "eccentricity", "solidity", "Ring DAPI mean"} <= set(x.columns)


def test_quartiles_of_the_rings_are_features_where_they_are_asked_for(labels, planes):
    cells = measure_cells(labels, planes, ring_quartiles=True)
    plain, more = cell_features(cells, list(planes)), cell_features(cells, list(planes), ring_quartiles=True)
    assert list(plain.columns) == list(features(labels, planes).columns)
    assert set(more) - set(plain) == {r.format(c) for r in RING_QUARTILES for c in planes}
    assert more[plain.columns].equals(plain)
    scaled = cell_features(cells, list(planes), "scaled", ring_quartiles=True)
    bright = {c: p * 3 + 1 for c, p in planes.items()}
    other = cell_features(measure_cells(labels, bright, ring_quartiles=True), list(planes), "scaled", True)
    assert np.allclose(scaled, other, atol=1e-4)


def test_a_gain_and_an_offset_of_a_channel_change_nothing_in_scaled_features(labels, planes):
    other = {"DAPI": planes["DAPI"] * 3 + 7, "CD4 (Opal)": planes["CD4 (Opal)"] * 0.2 + 1}
    same, changed = (features(labels, p, "scaled") for p in (planes, other))
    assert np.allclose(same, changed, atol=1e-4)
    assert not np.allclose(features(labels, planes), features(labels, other), atol=1e-4)


def test_channels_are_found_in_any_case_and_a_missing_one_is_named(labels, planes):
    cells = measure_cells(labels, planes)
    assert measured_channels(cells) == ["DAPI", "CD4 (Opal)"]
    assert table_channels(cells, ["dapi"]) == ["DAPI"]
    with pytest.raises(UserError, match=r"no channel 'CD8'.*DAPI, CD4"):
        cell_features(cells, ["CD8"])


def test_cells_without_a_ring_and_a_cell_alone_have_all_features(planes):
    alone = np.zeros((40, 60), np.int32)
    alone[5:9, 5:9] = 1
    x = features(alone, planes, ring_um=0)
    assert x["Ring DAPI mean"].iloc[0] == x["Nucleus DAPI mean"].iloc[0]
    assert x["nearest"].iloc[0] == FAR
    assert len(features(alone * 0, planes, "scaled")) == 0


def test_a_cell_with_nan_pixels_has_nan_and_its_neighbours_do_not(labels, planes):
    planes["DAPI"][labels == 3] = np.nan
    x = features(labels, planes, "scaled")
    assert x.isna().any(axis=1).tolist() == [False, False, True, False, False, False, False]


def test_a_constant_channel_is_scaled_to_zero(labels):
    x = features(labels, {"DAPI": np.full(labels.shape, 5, np.float32)}, "scaled")
    assert (x["Cell DAPI mean"] == 0).all()
