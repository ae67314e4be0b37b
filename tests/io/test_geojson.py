"""Outlines and GeoJSON: they rasterise back to the labels, follow RFC 7946, and are written one feature at a time."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.draw import polygon as draw_polygon
from skimage.segmentation import watershed

from dedl_fastai.errors import UserError
from dedl_fastai.io import cell_polygons, write_geojson
from dedl_fastai.io.outlines import object_boxes
from dedl_fastai.io.rings import signed_areas


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


def area(points):
    return abs(signed_areas(points, np.array([0, len(points)]))[0])


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
    drawn = sum(map(area, fewer.values()))
    assert drawn == pytest.approx((labels > 0).sum(), rel=0.01)


class Sliced:
    """A plane that has only a shape and slices, as one on disk; large slices are refused."""

    def __init__(self, labels, most):
        self.labels, self.most, self.shape = labels, most, labels.shape

    def __getitem__(self, key):
        part = self.labels[key]
        assert part.shape[0] <= self.most and part.shape[1] <= self.most, "more was read than a region and its halo"
        return part


@pytest.mark.parametrize("region", [32, 100, 301])
def test_outlines_do_not_depend_on_the_region_size(blobs, region):
    whole = dict(cell_polygons(blobs))
    pieces = list(cell_polygons(Sliced(blobs, region + 128), region=region))
    assert len(pieces) == len(whole)  # an object across region borders comes once
    for label, points in pieces:
        np.testing.assert_array_equal(points, whole[label])


def test_an_object_longer_than_a_region_has_a_complete_outline():
    labels = np.zeros((400, 60), np.int32)
    labels[10:390, 20:30] = 3
    labels[5, 5] = 1
    found = dict(cell_polygons(labels, simplify=0, region=16))
    assert list(found) == [1, 3]
    assert area(found[3]) == pytest.approx(3800, abs=1)


def test_boxes_enclose_all_pixels_of_an_id_and_missing_ids_have_zeros(blobs):
    boxes = object_boxes(blobs, region=50)
    assert len(boxes) == blobs.max() + 1
    for label, box in enumerate(ndimage.find_objects(blobs), start=1):
        expected = [0] * 4 if box is None else [box[0].start, box[1].start, box[0].stop, box[1].stop]
        assert boxes[label].tolist() == expected


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
    assert area(points) == pytest.approx(100, abs=1)


def test_no_cells_give_a_valid_empty_collection(tmp_path):
    assert write_geojson(tmp_path / "a.geojson", cell_polygons(np.zeros((5, 5), np.uint8))) == 0
    found = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert found == {"type": "FeatureCollection", "features": []}


def test_the_file_follows_rfc_7946(tmp_path, blobs):
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


def test_every_polygon_is_valid_in_shapely(blobs):
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
        measurements=pd.DataFrame({"area µm²": np.float32([2.5]), "gone": math.nan, "n": 3}, index=[1]),
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


def test_shapely_rasterises_the_file_back_to_the_labels(tmp_path, blobs):
    shapely = pytest.importorskip("shapely", reason="shapely is not installed")
    labels = largest_piece(blobs)
    write_geojson(tmp_path / "a.geojson", cell_polygons(labels, region=64))
    features = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    y, x = np.indices(labels.shape) + 0.5
    for feature in features:
        polygon = shapely.from_geojson(json.dumps(feature["geometry"]))
        drawn = shapely.contains_xy(polygon, x, y)
        mask = ndimage.binary_fill_holes(labels == int(feature["properties"]["name"]))
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.98


def test_features_are_written_one_by_one(tmp_path):
    square = np.array([(0, 0), (0, 9), (9, 9), (9, 0)], float)
    sizes = []

    def polygons():
        for label in range(1, 2001):
            sizes.append(sum(p.stat().st_size for p in tmp_path.iterdir()))
            yield label, square + label

    path = tmp_path / "a.geojson"
    assert write_geojson(path, polygons()) == 2000
    assert sizes[-1] > 0.9 * path.stat().st_size  # on disk before the last polygon was requested
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2002


@pytest.mark.parametrize("bad", [[(0, 0), (0, math.inf), (3, 3)], [(0, 0), (1, 1)], [(0, 0), (1, 1), (2, 2)]])
def test_an_invalid_polygon_is_a_user_error_and_keeps_the_old_file(tmp_path, bad):
    path = tmp_path / "a.geojson"
    path.write_text("old")
    polygons = [(1, np.array([(0, 0), (0, 9), (9, 9)])), (2, np.array(bad, float))]
    with pytest.raises(UserError, match="outline of cell 2"):
        write_geojson(path, polygons)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.geojson"]
