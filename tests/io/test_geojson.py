"""Outlines of labels and GeoJSON: they rasterise back, have RFC 7946's shape, are streamed, and come whole."""

import json
import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.draw import polygon as draw_polygon
from skimage.segmentation import watershed

from dedl_fastai.errors import UserError
from dedl_fastai.io import cell_polygons, write_geojson
from dedl_fastai.io.geojson import signed_area


@pytest.fixture
def blobs(rng):
    """About 150 touching cells of many shapes and sizes, some at the border, one of one pixel; ids have gaps."""
    plane = ndimage.gaussian_filter(rng.normal(size=(300, 360)), 5)
    inside = plane > -0.005
    seeds = ndimage.label((ndimage.maximum_filter(plane, 13) == plane) & inside)[0]
    labels = watershed(-plane, seeds, mask=inside).astype(np.uint32)
    labels[labels == 7] = 0
    labels[0, :4] = labels.max() + 3
    labels[~inside & (np.cumsum(~inside).reshape(inside.shape) == 50)] = labels.max() + 2
    return labels


def iou(labels, label, points):
    rows, cols = draw_polygon(points[:, 0] - 0.5, points[:, 1] - 0.5, labels.shape)
    drawn = np.zeros(labels.shape, bool)
    drawn[rows, cols] = True
    mask = ndimage.binary_fill_holes(labels == label)
    return (drawn & mask).sum() / (drawn | mask).sum()


def largest_piece(labels):
    kept = np.zeros_like(labels)
    for label in np.unique(labels)[1:]:
        pieces, _ = ndimage.label(labels == label, np.ones((3, 3)))
        kept[pieces == np.bincount(pieces.ravel())[1:].argmax() + 1] = label
    return kept


@pytest.mark.parametrize("simplify, least", [(0, 1.0), (0.5, 0.98), (3, 0.98)])
def test_polygons_rasterise_back_to_the_cells(blobs, simplify, least):
    labels = largest_piece(blobs)
    polygons = dict(cell_polygons(labels, simplify))
    assert list(polygons) == sorted(np.unique(labels)[1:])
    assert len(polygons) > 100
    assert min(iou(labels, n, points) for n, points in polygons.items()) >= least


def test_simplified_outlines_have_fewer_points_and_the_cells_area(blobs):
    labels = largest_piece(blobs)
    full, fewer = (dict(cell_polygons(labels, s)) for s in (0, 0.5))
    assert sum(map(len, fewer.values())) < 0.75 * sum(map(len, full.values()))
    drawn = sum(abs(signed_area(p)) for p in fewer.values())
    assert drawn == pytest.approx((labels > 0).sum(), rel=0.01)


def test_outlines_are_in_corner_coordinates():
    labels = np.zeros((9, 9), np.int32)
    labels[2:5, 3:8] = 1
    ((label, points),) = cell_polygons(labels)
    assert label == 1
    assert points.min(axis=0).tolist() == [2, 3]
    assert points.max(axis=0).tolist() == [5, 8]


def test_a_label_in_two_pieces_gives_the_larger_one_and_a_hole_is_filled():
    labels = np.zeros((20, 20), np.uint16)
    labels[1, 1] = labels[5:15, 5:15] = 4
    labels[8:10, 8:10] = 0
    ((_, points),) = cell_polygons(labels)
    assert points.min() == 5
    assert abs(signed_area(points)) == pytest.approx(100, abs=1)


def test_no_cells_give_a_valid_empty_collection(tmp_path):
    assert write_geojson(tmp_path / "a.geojson", cell_polygons(np.zeros((5, 5), np.uint8))) == 0
    found = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert found == {"type": "FeatureCollection", "features": []}


def test_the_file_has_the_shape_of_rfc_7946(tmp_path, blobs):
    n = write_geojson(tmp_path / "a.geojson", cell_polygons(blobs), origin=(1000, 50))
    found = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert found["type"] == "FeatureCollection"
    assert len(found["features"]) == n == len(np.unique(blobs)) - 1
    for feature in found["features"]:
        assert feature["type"] == "Feature"
        assert feature["geometry"]["type"] == "Polygon"
        (ring,) = feature["geometry"]["coordinates"]
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(len(p) == 2 and math.isfinite(p[0]) and math.isfinite(p[1]) for p in ring)
        x, y = np.array(ring).T
        assert np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0  # counterclockwise: the right-hand rule
        assert 1000 <= x.min() < x.max() <= 1360
        assert 50 <= y.min() < y.max() <= 350


def test_polygons_read_from_the_file_are_the_cells(tmp_path, blobs):
    labels = largest_piece(blobs)
    write_geojson(tmp_path / "a.geojson", cell_polygons(labels))
    for feature in json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]:
        points = np.array(feature["geometry"]["coordinates"][0])[:, ::-1]
        assert iou(labels, int(feature["properties"]["name"]), points) > 0.98


def test_shapely_finds_every_polygon_valid(blobs):
    shapely = pytest.importorskip("shapely", reason="shapely is not installed")
    assert all(shapely.Polygon(points).is_valid for _, points in cell_polygons(blobs))


def test_classes_colours_and_measurements_are_as_qupath_reads_them(tmp_path):
    labels = np.zeros((20, 20), np.uint8)
    for i in range(4):
        labels[4 * i + 1 : 4 * i + 4, 2:9] = i + 1
    write_geojson(
        tmp_path / "a.geojson",
        cell_polygons(labels),
        classes={1: "Größe", 2: "other", 3: math.nan},
        measurements={1: {"area µm²": np.float32(2.5), "gone": math.nan, "n": np.int64(3)}},
        colors={"Größe": (200, 0, 16)},
        object_type="cell",
    )
    features = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    first, second, third, fourth = (f["properties"] for f in features)
    assert first == {
        "objectType": "cell",
        "name": "1",
        "classification": {"name": "Größe", "color": [200, 0, 16], "colorRGB": -3670000},
        "measurements": {"area µm²": 2.5, "n": 3.0},
    }
    assert second["classification"] == {"name": "other"}
    assert third == {"objectType": "cell", "name": "3"}
    assert fourth == {"objectType": "cell", "name": "4"}


def test_features_are_written_one_by_one(tmp_path):
    square = np.array([(0, 0), (0, 9), (9, 9), (9, 0)], float)
    sizes = []

    def polygons():
        for label in range(1, 2001):
            sizes.append(sum(p.stat().st_size for p in tmp_path.iterdir()))
            yield label, square + label

    path = tmp_path / "a.geojson"
    assert write_geojson(path, polygons()) == 2000
    assert sizes[-1] > 0.9 * path.stat().st_size  # on disk before the last one was asked for
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2002


@pytest.mark.parametrize("bad", [[(0, 0), (0, math.inf), (3, 3)], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)]])
def test_a_polygon_that_is_none_is_a_user_error_and_the_old_file_stays(tmp_path, bad):
    path = tmp_path / "a.geojson"
    path.write_text("old")
    polygons = [(1, np.array([(0, 0), (0, 9), (9, 9)])), (2, np.array(bad, float))]
    with pytest.raises(UserError, match="outline of cell 2"):
        write_geojson(path, polygons)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.geojson"]
