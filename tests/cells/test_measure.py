"""Cell tables: agreement with scikit-image and inForm, phenotypes, distances, densities."""

import time

import numpy as np
import pandas as pd
import pytest
from skimage.measure import label, regionprops_table
from skimage.morphology import convex_hull_image
from skimage.segmentation import expand_labels

from dedl_fastai.cells.measure import measure_cells
from dedl_fastai.cells.neighbours import neighbourhoods
from dedl_fastai.cells.phenotyping import add_phenotypes, field_summary
from dedl_fastai.cells.watershed import instances
from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_cell_table, read_mask, read_segmentation_maps
from dedl_fastai.phenotypes.rules import Rules


@pytest.fixture(scope="module")
def blobs():
    """Irregular objects, some of a single pixel, with gaps between ids."""
    rng = np.random.default_rng(3)
    labels = label(rng.random((90, 110)) < 0.45, connectivity=2) * 3
    labels[40:60, 40:60] = 5000
    return labels


@pytest.fixture(scope="module")
def planes(blobs):
    rng = np.random.default_rng(4)
    return {c: rng.normal(2, 3, blobs.shape).astype(np.float32) for c in ("DAPI", "CD19")}


@pytest.fixture(scope="module")
def squares():
    """Four cells of 4 x 4 with centres at (x, y) = (5.5, 5.5), (15.5, 5.5), (5.5, 25.5), (35.5, 25.5)."""
    labels = np.zeros((32, 42), np.int32)
    for i, (y, x) in enumerate([(4, 4), (4, 14), (24, 4), (24, 34)], 1):
        labels[y : y + 4, x : x + 4] = i
    return labels


RULES = Rules.parse("b = CD19+ CD4-\nt = CD19- CD4+")


@pytest.fixture(scope="module")
def markers(squares):
    """Cells 1 and 2 are b, 3 is t, 4 is neither."""
    levels = {"CD19 (Opal 540)": [0, 9, 8, 0, 0], "CD4": [0, 0, 1, 9, 0]}
    return {c: np.array(v, np.float32)[squares] for c, v in levels.items()}


def test_shapes_equal_those_of_scikit_image(blobs):
    table = measure_cells(blobs, {}, ring_um=0)
    names = ("label", "area", "centroid", "perimeter", "eccentricity")
    expected = regionprops_table(blobs, properties=names)
    np.testing.assert_array_equal(table["label"], expected["label"])
    pairs = {"area_px": "area", "y_px": "centroid-0", "x_px": "centroid-1", "perimeter_px": "perimeter"}
    for ours, theirs in pairs.items():
        np.testing.assert_allclose(table[ours], expected[theirs], atol=1e-9, err_msg=ours)
    np.testing.assert_allclose(table["eccentricity"], expected["eccentricity"], atol=1e-6)


def test_solidity_is_the_area_divided_by_that_of_the_hull(blobs):
    table = measure_cells(blobs, {}, ring_um=0).set_index("label")["solidity"]
    for i in table.index[::7]:
        mask = blobs == i
        if np.ptp(np.nonzero(mask), axis=1).min() > 0:  # scikit-image has no hull for a line
            assert table[i] == pytest.approx(
                mask.sum() / (mask | convex_hull_image(mask, offset_coordinates=False)).sum()
            )
    assert table[5000] == 1


def test_intensities_equal_those_computed_from_the_pixels(blobs, planes):
    table = measure_cells(blobs, planes).set_index("label")
    for name, plane in planes.items():
        for i in table.index[::9]:
            values = plane[blobs == i].astype(float)
            assert table.loc[i, f"Nucleus {name} mean"] == pytest.approx(values.mean())
            assert table.loc[i, f"Nucleus {name} median"] == pytest.approx(np.median(values))
            assert table.loc[i, f"Nucleus {name} sum"] == pytest.approx(values.sum())


def test_ring_quartiles_equal_those_computed_from_the_pixels(blobs, planes):
    table = measure_cells(blobs, planes, ring_um=3, ring_quartiles=True).set_index("label")
    ring = np.where(blobs > 0, 0, expand_labels(blobs, 3))
    shares = {"lower quartile": 25, "median": 50, "upper quartile": 75}
    for name, plane in planes.items():
        for i in table.index[::9]:
            values = plane[ring == i].astype(float)
            for measure, share in shares.items():
                expected = np.percentile(values, share) if len(values) else np.nan
                assert table.loc[i, f"Ring {name} {measure}"] == pytest.approx(expected, nan_ok=True)
    assert not any("quartile" in c for c in measure_cells(blobs, planes))


def test_cells_without_room_for_a_ring_have_no_quartiles():
    labels = np.repeat([1, 2], 8).reshape(4, 4).repeat(2, axis=0)
    table = measure_cells(labels, {"A": labels.astype(np.float32)}, ring_quartiles=True)
    assert table["Ring A median"].isna().all() and len(table) == 2
    assert "Ring A upper quartile" in measure_cells(labels * 0, {"A": labels * 1.0}, ring_quartiles=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_pixels_only_affect_the_median_of_their_own_cell(bad):
    labels = np.repeat([1, 2, 3], 12).reshape(3, 12)
    plane = labels * np.float32(10)
    plane[0, 2:9] = bad
    table = measure_cells(labels, {"A": plane}, ring_um=0)
    np.testing.assert_array_equal(table["Nucleus A median"], [np.nan, 20, 30])
    np.testing.assert_array_equal(table["Nucleus A mean"][1:], [20, 30])


def test_the_ring_has_its_width_in_um_and_excludes_other_cells(squares):
    plane = np.where(squares > 0, 100.0, 1.0)
    plane[4:8, 9:14] = 50.0  # one column is in the ring of the first cell, two are in that of the second
    table = measure_cells(squares, {"A": plane}, pixel_size_um=0.5, ring_um=1.0)
    wide = 36  # two rows on each side and the corners
    assert table["Ring A mean"].tolist() == pytest.approx([1 + 49 * 4 / wide, 1 + 49 * 8 / wide, 1, 1])
    narrow = measure_cells(squares, {"A": plane}, pixel_size_um=0.5, ring_um=0.5)
    assert narrow["Ring A mean"].tolist() == [1, 1 + 49 * 4 / 16, 1, 1]  # 16 pixels next to each square
    assert narrow["Cell A mean"].tolist() == [(1600 + 16 * r) / 32 for r in narrow["Ring A mean"]]


def test_a_cell_enclosed_by_another_has_no_ring():
    labels = np.ones((9, 9), int)
    labels[3:6, 3:6] = 2
    table = measure_cells(labels, {"A": np.ones((9, 9))})
    assert table["Ring A mean"].isna().all()
    assert table["Cell A mean"].tolist() == [1, 1]


def test_slide_coordinates_and_cells_at_the_border(squares):
    shifted = squares[4:]
    table = measure_cells(shifted, {}, pixel_size_um=0.5, origin_um=(1000.0, 2000.0))
    assert table["x_um"].tolist() == [1003, 1008, 1003, 1018]
    assert table["y_um"].tolist() == [2001, 2001, 2011, 2011]
    assert table["area_um2"].tolist() == [4] * 4
    assert table["touches_border"].tolist() == [True, True, False, False]


def test_um_columns_are_empty_without_a_pixel_size(squares):
    table = measure_cells(squares, {})
    assert table[["x_um", "y_um", "area_um2", "perimeter_um"]].isna().all(axis=None)
    assert table["x_px"].tolist() == [5.5, 15.5, 5.5, 35.5]


def test_probability_and_uncertainty_are_means(squares):
    table = measure_cells(squares, {}, probability=squares / 10, uncertainty=np.full(squares.shape, 0.25))
    assert table["probability"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert table["uncertainty"].tolist() == [0.25] * 4


def test_phenotypes_by_given_thresholds_are_described(squares, markers):
    table = measure_cells(squares, markers, ring_um=0, rules=RULES, thresholds={"CD19": 5, "CD4": 2})
    assert table["phenotype"].iloc[:3].tolist() == ["b", "b", "t"]
    assert pd.isna(table["phenotype"].iloc[3])
    assert "given" in table.attrs["how"] and "mixture" not in table.attrs["how"]


def test_phenotypes_by_gates_over_the_cells(squares, markers):
    table = measure_cells(squares, markers, rules=RULES)
    assert table["phenotype"].iloc[:3].tolist() == ["b", "b", "t"]
    assert "mixture over 4 cells" in table.attrs["how"]
    assert set(table.attrs["thresholds"]) == {"CD19", "CD4"}


def test_a_gate_over_several_fields_is_one_threshold(squares, markers):
    markers = {c: p + 1 for c, p in markers.items()}  # the background
    dim = {c: 1 + (p - 1) / 9 for c, p in markers.items()}
    tables = {n: measure_cells(squares, m) for n, m in (("bright", markers), ("dim", dim))}
    both = add_phenotypes(tables, RULES)
    assert both["bright"].attrs["thresholds"] == both["dim"].attrs["thresholds"]
    assert both["dim"]["phenotype"].isna().all()


def test_distances_to_the_nearest_of_each_phenotype(squares, markers):
    table = measure_cells(squares, markers, pixel_size_um=0.5, rules=RULES)
    assert table["nearest_b"].tolist() == pytest.approx([5, 5, 10, 0.5 * np.hypot(20, 20)])
    assert table["nearest_t"].iloc[[0, 3]].tolist() == pytest.approx([10, 15])
    assert np.isnan(table["nearest_t"].iloc[2])  # the only cell of its phenotype


def test_summary_counts_and_densities(squares, markers):
    cells = measure_cells(squares, markers, rules=RULES)
    rows = field_summary(cells, tissue_mm2=0.5).set_index("phenotype")
    assert rows["cells"].to_dict() == {"b": 2, "t": 1, "all": 4}
    assert rows["per_mm2"].to_dict() == {"b": 4, "t": 2, "all": 8}
    assert rows["share"].to_dict() == {"b": 0.5, "t": 0.25, "all": 1}
    assert field_summary(cells.drop(columns="phenotype"))["phenotype"].tolist() == ["all"]
    assert field_summary(cells)["per_mm2"].isna().all()


def test_a_field_without_cells(squares, markers):
    table = measure_cells(np.zeros_like(squares), markers, 0.5, rules=RULES, probability=np.zeros(squares.shape))
    assert len(table) == 0 and "Nucleus CD4 median" in table and "nearest_b" in table
    assert field_summary(table, 1.0)["cells"].tolist() == [0, 0, 0]
    assert neighbourhoods(table, 10)["observed"].isna().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, m: measure_cells(s[1:], m), r"\(32, 42\)"),
        (lambda s, m: measure_cells(s, m, probability=np.zeros((2, 2))), "probability"),
        (lambda s, m: measure_cells(s, m, channels=["CD8"]), "CD8"),
        (lambda s, m: measure_cells(s, m, rules=Rules.parse("x = CD8+")), "CD8"),
        (lambda s, m: neighbourhoods(measure_cells(s, m), 10), "phenotype"),
        (lambda s, m: field_summary(measure_cells(s, m), 0.0), "mm2"),
        (lambda s, m: neighbourhoods(measure_cells(s, m, rules=RULES), 0), "radius"),
    ],
)
def test_invalid_input_is_refused(squares, markers, call, message):
    with pytest.raises(UserError, match=message):
        call(squares, markers)


def test_channels_pixel_size_and_origin_are_taken_from_a_field(tiny_cohort):
    row = tiny_cohort.table.iloc[0]
    with open_field(row.image) as field:
        labels = instances(read_mask(row["mask"]).astype(float), pixel_size_um=field.pixel_size_um)
        cells = measure_cells(labels, field, channels=["dapi", "CD19"], rules=None)
        x, size = field.origin_um[0], field.pixel_size_um
        np.testing.assert_allclose(cells["x_um"], x + size * (cells["x_px"] + 0.5))
        means = [c for c in cells if c.startswith("Nucleus") and c.endswith("mean")]
        assert means == [f"Nucleus {field.channels[field.channel_index(c)]} mean" for c in ("DAPI", "CD19")]


def test_measurements_of_inform_nuclei_equal_those_of_inform(shared_data):
    base = shared_data / "inform_FIHC4" / "FIHC4__0929309_HP_IM3_2"
    nuclei = read_segmentation_maps(f"{base}_binary_seg_maps.tif")["nucleus"]
    truth = read_cell_table(f"{base}_cell_seg_data.txt").set_index("Cell ID")
    with open_field(f"{base}_component_data.tif") as field:
        cells = measure_cells(nuclei, field).set_index("label")
        channels = field.channels
    assert sorted(cells.index) == sorted(truth.index)
    truth = truth.loc[cells.index]
    np.testing.assert_array_equal(cells["area_px"], truth["Nucleus Area (pixels)"])
    for channel in channels:
        theirs = truth[f"Nucleus {channel} Mean (Normalized Counts, Total Weighting)"].to_numpy()
        np.testing.assert_allclose(cells[f"Nucleus {channel} mean"], theirs, rtol=1e-4, atol=6e-4, err_msg=channel)


def test_two_thousand_cells_a_second_with_six_channels():
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 1601).reshape(40, 40), np.pad(np.ones((12, 12), int), 4))
    channels = {f"c{i}": rng.random(labels.shape, np.float32) for i in range(6)}
    start = time.process_time()
    assert len(measure_cells(labels, channels, pixel_size_um=0.5)) == 1600
    assert time.process_time() - start < 0.8
