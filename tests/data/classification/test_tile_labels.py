"""Labels of tiles: cell centres in inForm's units, classes of each tile, and the split by place."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.data import Cohort, cell_centres, field_labels, splits_by_place
from dedl_fastai.data.classification.tile_labels import by_tile, split_by_place, tile_corners, tile_labels
from dedl_fastai.errors import UserError
from dedl_fastai.io import write_component_tiff

YX = np.array([[5.0, 190.0], [95.0, 10.0], [50.0, 60.0]])  # in a field of 100 x 200 pixels


def field(shape=(100, 200), pixel_size_um=0.5, origin_um=(7000.0, 39000.0)):
    return SimpleNamespace(shape=shape, pixel_size_um=pixel_size_um, origin_um=origin_um, path="f.tif")


def positions(yx, x="Cell X Position", y="Cell Y Position", **others):
    return pd.DataFrame({x: yx[:, 1], y: yx[:, 0], **others})


@pytest.mark.parametrize(
    ("yx", "others"),
    [
        (YX, {"Nucleus Area (pixels)": 1}),
        (YX / 2, {"Nucleus Area (square microns)": 1}),
        (YX / 2 + [39000, 7000], {"Cell Density (per square micron)": 1}),
        (YX, {}),  # no unit in the table: it is determined from the positions
        (YX / 2, {}),
        (YX / 2 + [39000, 7000], {}),
    ],
    ids=["pixels", "microns", "on the slide", "pixels?", "microns?", "on the slide?"],
)
def test_positions_in_every_unit_are_converted_to_pixels_of_the_field(yx, others):
    np.testing.assert_allclose(cell_centres(positions(yx, **others), field()), YX, atol=1e-9)


def test_pixel_columns_override_informs_positions():
    table = positions(YX / 3, x_px=YX[:, 1], y_px=YX[:, 0])
    np.testing.assert_array_equal(cell_centres(table, field()), YX)
    np.testing.assert_array_equal(cell_centres(positions(YX, "x", "y"), field(pixel_size_um=None)), YX)


def test_cells_beyond_the_field_and_tables_without_positions_are_errors():
    with pytest.raises(UserError, match=r"cells are outside f.tif \(100 x 200 pixels\)"):
        cell_centres(positions(YX + 5000), field(origin_um=None))
    with pytest.raises(UserError, match="no Cell X Position"):
        cell_centres(pd.DataFrame({"Cell ID": [1]}), field())


def test_cells_are_counted_in_the_tile_of_their_centre():
    centres = np.array([[0, 0], [9.99, 9.99], [10, 9], [25, 12], [np.nan, 3]])
    classes, corners = pd.Series(["b", "t", "b", "b", "b"]), [(0, 0), (0, 10), (10, 0)]
    counts = tile_labels(classes, centres, vocab=["b", "t"], corners=corners, tile=10)
    assert counts.to_numpy().tolist() == [[1, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize(("width", "columns"), [(40, 4), (44, 4), (45, 5), (50, 5), (6, 1)])
def test_tiles_less_than_half_inside_the_field_are_left_out(width, columns):
    assert tile_corners((10, width), 10) == [(0, 10 * i) for i in range(columns)]


@pytest.mark.parametrize("columns", [5, 6, 8, 10, 23])
def test_split_by_place_is_contiguous_with_a_gap_of_one_tile(columns):
    splits = split_by_place([10 * i for i in range(columns)])
    order = [s for i, s in enumerate(splits) if i == 0 or splits[i - 1] != s]
    assert order == ["train", "ignore", "valid", "ignore", "test"] and splits.count("ignore") == 2
    assert splits.count("train") >= splits.count("valid") == splits.count("test") >= 1


def test_a_field_of_four_tiles_is_too_narrow_to_split():
    with pytest.raises(UserError, match="4 tiles wide, but at least 5"):
        split_by_place([0, 10, 20, 30] * 3)


@pytest.fixture
def one_field(tmp_path):
    """One field of 40 x 100 pixels of 0.5 um, with a cell in the centre of every second tile of 10 pixels."""
    plane = np.random.default_rng(0).random((40, 100)).astype(np.float32)
    write_component_tiff(
        tmp_path / "f_component_data.tif",
        planes={"DAPI": plane},
        colors=[(0, 0, 255)],
        thumbnail=np.zeros((10, 25, 3), np.uint8),
        pixel_size_um=0.5,
        origin_um=(100.0, 200.0),
    )
    yx = np.array([(y, x) for y in range(5, 40, 10) for x in range(5, 100, 20)], dtype=float)
    names = np.where(yx[:, 0] < 20, "B", "T")
    positions(yx / 2 + [200, 100], Phenotype=names).to_csv(tmp_path / "f_cell_seg_data.txt", sep="\t", index=False)
    return Cohort.load(tmp_path)


def test_tiles_of_one_field_are_labelled_and_split_by_place(one_field):
    labels = by_tile(field_labels(one_field), 10)
    table = labels.cohort.table
    assert len(table) == 40 and table.field.is_unique and set(table.source) == {"f"}
    assert labels.counts.sum().to_dict() == {"B": 10, "T": 10}
    held = {(r.y, r.x): r.labels for r in table.itertuples()}
    assert held[0, 0] == "B" and held[30, 80] == "T" and held[0, 10] == "" and held[30, 90] == ""
    assert table.groupby("x").split.nunique().max() == 1
    assert table.split.value_counts().to_dict() == {"train": 16, "ignore": 8, "valid": 8, "test": 8}


def test_tiles_have_the_split_of_their_field_if_it_has_one(one_field):
    table = pd.concat([one_field.table] * 2, ignore_index=True).assign(field=["f", "g"], split=["train", "valid"])
    cohort = Cohort(table, one_field.root, "inform")
    assert not splits_by_place(cohort, 10) and splits_by_place(one_field, 10) and not splits_by_place(one_field, 0)
    done = by_tile(field_labels(cohort), 10).cohort.table
    assert done.groupby("source").split.agg(set).to_dict() == {"f": {"train"}, "g": {"valid"}}


def test_tiles_of_given_labels_are_an_error(one_field):
    given = Cohort(one_field.table.assign(labels="B", cells=""), one_field.root, "inform")
    with pytest.raises(UserError, match="`tile` needs cell tables"):
        by_tile(field_labels(given), 10)
