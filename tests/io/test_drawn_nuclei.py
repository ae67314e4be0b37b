"""Nuclei drawn in QuPath: object types, classes, holes, several polygons, regions; and there and back again."""

import gzip
import json
import zipfile

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import watershed

from dedl_fastai.errors import UserError
from dedl_fastai.io import cell_polygons, geojson_features, read_drawn_nuclei, write_geojson


def square(y0, x0, y1, x1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]


def feature(*rings, kind="annotation", name="", **more):
    properties = {"objectType": kind} | ({"classification": {"name": name, "color": [1, 2, 3]}} if name else {})
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": rings}, "properties": properties, **more}


def written(path, *features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}, indent=1))
    return path


def test_cells_detections_and_annotations_are_nuclei_with_their_classes(tmp_path):
    inner = {"type": "Polygon", "coordinates": [square(6, 6, 8, 8)]}
    of_parts = feature(square(1, 12, 3, 14), kind="detection")
    of_parts["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    path = written(
        tmp_path / "a.geojson",
        feature(square(1, 1, 4, 5), name="Tumor", id="5f0c2a1e-1111-4222-8333-444455556666"),
        feature(square(5, 5, 9, 9), kind="cell", nucleusGeometry=inner),
        of_parts,
        feature(square(0, 0, 16, 16), kind="tile"),
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [3, 3]}, "properties": {}},
    )
    found = read_drawn_nuclei(path, (16, 20))
    expected = np.zeros((16, 20), int)
    expected[1:4, 1:5], expected[6:8, 6:8], expected[1:3, 12:14] = 1, 2, 3
    np.testing.assert_array_equal(found.labels, expected)
    assert found.known.all()
    assert found.cells.to_dict("list") == {
        "label": [1, 2, 3],
        "x_px": [2.5, 6.5, 12.5],
        "y_px": [2.0, 6.5, 1.5],
        "Phenotype": ["Tumor", "", "Tumor: Positive"],
    }


def test_holes_are_left_out_and_several_polygons_are_one_nucleus(tmp_path):
    parts = [[square(0, 0, 6, 6), square(2, 2, 4, 4)], [square(8, 8, 10, 12)]]
    several = {"type": "MultiPolygon", "coordinates": parts}
    path = written(tmp_path / "a.geojson", {"type": "Feature", "geometry": several, "properties": {}})
    labels = read_drawn_nuclei(path, (9, 11)).labels  # the second polygon leaves the image
    expected = np.zeros((9, 11), int)
    expected[:6, :6], expected[2:4, 2:4], expected[8:, 8:] = 1, 0, 1
    np.testing.assert_array_equal(labels, expected)


def test_regions_say_what_is_known_and_an_annotation_around_nuclei_is_none(tmp_path):
    path = written(
        tmp_path / "a.geojson",
        feature(square(0, 0, 10, 10), name="Region*"),
        feature(square(0, 6, 4, 10), name="Ignore*"),
        feature(square(0, 0, 9, 20), name="Stroma"),
        feature(square(1, 1, 3, 3), kind="detection"),
        feature(square(5, 8, 7, 11), kind="detection"),  # two thirds in the region
        feature(square(5, 13, 7, 15), kind="detection"),
    )
    found = read_drawn_nuclei(path, (12, 20))
    assert found.labels.max() == 3 and (found.labels > 0).sum() == 14
    known = np.zeros((12, 20), bool)
    known[:10, :10], known[:4, 6:10], known[5:7, 8:11] = True, False, True
    np.testing.assert_array_equal(found.known, known)


def test_labels_written_and_read_again_overlap_by_99_percent(tmp_path, rng):
    plane = ndimage.gaussian_filter(rng.normal(size=(200, 240)), 5)
    seeds = label((ndimage.maximum_filter(plane, 13) == plane) & (plane > 0))
    labels = watershed(-plane, seeds, mask=plane > 0)
    for n in np.unique(labels)[1:]:  # only nuclei in one piece, without holes
        if label(labels == n).max() > 1 or (ndimage.binary_fill_holes(labels == n) != (labels == n)).any():
            labels[labels == n] = 0
    write_geojson(tmp_path / "a.geojson.gz", cell_polygons(labels))
    order = [n for n, _ in cell_polygons(labels)]
    found = np.array([0, *order])[read_drawn_nuclei(tmp_path / "a.geojson.gz", labels.shape).labels]
    ious = [((labels == n) & (found == n)).sum() / ((labels == n) | (found == n)).sum() for n in order]
    assert len(ious) > 50
    assert min(ious) >= 0.99


def test_cells_with_nuclei_come_back_as_their_nuclei(tmp_path):
    cells = np.zeros((20, 20), np.int32)
    cells[2:12, 3:15] = 7
    nucleus = np.zeros_like(cells)
    nucleus[4:8, 5:9] = 7
    outlines = dict(cell_polygons(nucleus))
    write_geojson(tmp_path / "a.geojson", cell_polygons(cells), object_type="cell", nuclei=outlines)
    (line,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert list(line) == ["type", "geometry", "properties", "nucleusGeometry"]
    np.testing.assert_array_equal(read_drawn_nuclei(tmp_path / "a.geojson", (20, 20)).labels, nucleus > 0)


@pytest.mark.parametrize("form", ["list", "single", "geometry", "gz", "zip"])
def test_other_forms_of_the_file(tmp_path, form, monkeypatch):
    monkeypatch.setattr(geojson_features, "_CHUNK", 16)  # values are cut off at the end of what is read
    one = feature(square(1, 1, 4, 5))
    path = tmp_path / {"gz": "a.geojson.gz", "zip": "a.zip"}.get(form, "a.geojson")
    value = {"list": [one], "single": one, "geometry": one["geometry"]}.get(form, {"features": [one], "type": "F"})
    if form == "gz":
        path.write_bytes(gzip.compress(json.dumps(value).encode()))
    elif form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", json.dumps(value))
    else:
        path.write_text(json.dumps(value))
    assert (read_drawn_nuclei(path, (6, 6)).labels > 0).sum() == 12


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"type": "FeatureCollection", "features": [{"type": "Fea', "cut short"),
        ('{"type": "FeatureCollection", "features": []}', "holds no outlines"),
        ("[1, 2]", "feature is expected"),
        ("hello", "not GeoJSON"),
        (json.dumps(feature([[1, 1], [2, None], [3, 3]])), "cannot be read"),
        (json.dumps(feature(square(50, 50, 60, 60))), "another image"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(UserError, match=message):
        read_drawn_nuclei(tmp_path / "a.geojson", (20, 20))
