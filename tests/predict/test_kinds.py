"""The files that `predict` writes for a field: images, tables, outlines, overlay, record and report."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from PIL import Image

from dedl_fastai.cells.measure import measure_cells
from dedl_fastai.cells.phenotyping import add_phenotypes
from dedl_fastai.data.classification.tensors import ClassSet
from dedl_fastai.errors import UserError
from dedl_fastai.inference.classifier import Classifier
from dedl_fastai.inference.field_cells import FieldCells
from dedl_fastai.inference.scale import Scale
from dedl_fastai.io import open_field, write_ome_tiff
from dedl_fastai.phenotypes.rules import Rules
from dedl_fastai.predict import classes
from dedl_fastai.predict.kinds import KINDS, Result, check_size, parse_kinds
from dedl_fastai.predict.overlay import NO_RULES, class_colors, draw_overlay
from dedl_fastai.predict.record import field_record, summary_table, write_record
from dedl_fastai.predict.report import write_report

RULES = Rules.parse("dim = A- \n<bright> & = A+")


class Sliced:
    """A plane that can only be sliced, by at most 2048 rows and columns and a margin."""

    def __init__(self, plane):
        self.plane, self.shape, self.dtype = plane, plane.shape, plane.dtype

    def __getitem__(self, key):
        part = self.plane[key]
        assert max(part.shape) <= 2048 + 128
        return part


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A field of 2400 x 2200 pixels of 0.5 um, wider than a region; channel A is bright on its right half."""
    rng = np.random.default_rng(0)
    dapi = rng.random((2400, 2200), np.float32) * 0.1
    for y, x in centres():
        dapi[y : y + 12, x : x + 12] += 1
    a = np.zeros_like(dapi)
    a[:, 1100:] = 5
    path = tmp_path_factory.mktemp("field") / "f.ome.tif"
    write_ome_tiff(path, np.stack([dapi, a]), ["DAPI", "A"], 0.5, origin_um=(100.0, 200.0))
    with open_field(path) as opened:
        yield opened


def centres():
    return [(y, x) for y in range(0, 2400, 100) for x in range(44, 2200, 100)]  # one column crosses 2048


@pytest.fixture(scope="module")
def found(field):
    labels = np.zeros(field.shape, np.int32)
    for i, (y, x) in enumerate(centres(), start=1):
        labels[y : y + 12, x : x + 12] = i
    p = np.where(labels, 0.75, 0.25).astype(np.float32)
    cells = measure_cells(labels, field, probability=p)
    cells = add_phenotypes({"f": cells}, RULES, {"A": 1})["f"]
    return FieldCells(
        field,
        labels=Sliced(labels),
        cells=cells,
        threshold=0.5,
        scale=Scale(),
        field_uncertainty=0.811278,
        probability=Sliced(p),
        uncertainty=Sliced(p),
    )


@pytest.fixture(scope="module")
def result(found):
    return Result(found)


def test_images_are_written_from_slices_with_their_type_and_position(result, found, tmp_path):
    types = {"mask": "uint8", "labels": "uint32", "probability": "float32", "uncertainty": "float32"}
    for kind, dtype in types.items():
        KINDS[kind].write(tmp_path / f"{kind}.ome.tif", result)
        with open_field(tmp_path / f"{kind}.ome.tif") as written:
            assert written.pixel_size_um == pytest.approx(0.5) and written.origin_um == (100, 200)
        assert tifffile.imread(tmp_path / f"{kind}.ome.tif").dtype == dtype
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.ome.tif"), found.labels.plane)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "mask.ome.tif") > 0, found.labels.plane > 0)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "probability.ome.tif"), found.probability.plane)


def test_geojson_of_a_field_wider_than_a_region_holds_each_cell_once(result, found, tmp_path):
    KINDS["geojson"].write(tmp_path / "f.geojson", result)
    features = json.loads((tmp_path / "f.geojson").read_text(encoding="utf-8"))["features"]
    assert sorted(int(f["properties"]["name"]) for f in features) == found.cells.label.tolist()
    colors = class_colors(["dim", "<bright> &"])
    for feature in features:
        x = np.array(feature["geometry"]["coordinates"][0]).mean(axis=0)[0]
        name = "<bright> &" if x > 1100 else "dim"
        assert feature["properties"]["classification"]["name"] == name
        assert tuple(feature["properties"]["classification"]["color"]) == colors[name]
        assert feature["properties"]["measurements"]["Nucleus A mean"] == (5 if x > 1100 else 0)


def test_parquet_equals_csv(result, tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    KINDS["cells"].write(tmp_path / "f.csv", result)
    KINDS["parquet"].write(tmp_path / "f.parquet", result)
    parquet, csv = pd.read_parquet(tmp_path / "f.parquet"), pd.read_csv(tmp_path / "f.csv")
    assert len(csv) == len(centres())
    pd.testing.assert_frame_equal(
        parquet.astype({"phenotype": str}), csv.astype({"phenotype": str}), check_dtype=False, rtol=1e-12
    )


def test_neighbours_have_one_row_per_pair_of_phenotypes(found, tmp_path):
    KINDS["neighbours"].write(tmp_path / "n.csv", Result(found, radius_um=55))
    table = pd.read_csv(tmp_path / "n.csv").set_index(["from", "to"])
    assert len(table) == 4
    assert (
        table.observed[("dim", "dim")] > 3.5 > 0.2 > table.observed[("dim", "<bright> &")]
    )  # separate halves of the field
    assert table.z[("dim", "dim")] > 5


def test_the_overlay_is_reduced_and_has_the_phenotype_colours_at_the_cells(result, found):
    picture = np.asarray(result.overlay)
    step = 2  # 2400 pixels in at most 2000
    assert picture.shape[1] == 1100 and 1200 < picture.shape[0] <= 1300  # with the legend below
    colors = class_colors(["dim", "<bright> &"])
    for y, x in centres()[22:66]:
        rim = picture[y // step, x // step + 2]
        assert tuple(rim) == colors["<bright> &" if x >= 1100 else "dim"]
    assert len(np.unique(picture[15:45, 40:, :].reshape(-1, 3), axis=0)) > 30  # DAPI in grey between the cells
    assert (picture[15:45].max(axis=-1) == picture[15:45].min(axis=-1)).mean() > 0.9


def test_the_overlay_of_a_small_field_is_enlarged_and_needs_no_rules(tmp_path):
    labels = np.zeros((100, 200), np.int32)
    labels[20:50, 30:60] = 7
    write_ome_tiff(tmp_path / "s.ome.tif", labels.astype(np.float32), ["DAPI"])
    with open_field(tmp_path / "s.ome.tif") as field:
        picture = draw_overlay(field, 0, labels, pd.DataFrame({"label": [7]}), {})
    assert picture.width == 1000
    shown = np.asarray(picture)
    assert tuple(shown[20 * 5, 40 * 5]) == NO_RULES and tuple(shown[35 * 5, 45 * 5]) != NO_RULES


def test_colours_differ_for_any_number_of_classes():
    colors = class_colors([f"c{i}" for i in range(14)] + ["other"])
    assert len(colors) == len(set(colors.values())) == 15
    assert class_colors(["b", "other"])["b"] == class_colors(["b", "tfh", "other"])["b"]


def test_all_means_the_kinds_that_can_be_written():
    assert "neighbours" in parse_kinds("all", has_types=True)
    assert set(KINDS) - set(parse_kinds("all", has_types=False)) >= {"neighbours"}
    every = parse_kinds("all", has_types=True)
    assert parse_kinds("all,geojson.gz,mask", has_types=True) == [*every, "geojson.gz"]
    assert parse_kinds(" mask, mask,labels", has_types=False) == ["mask", "labels"]


def test_a_slide_too_large_for_imagej_rois_is_refused_for_rois_only():
    check_size(["geojson"], "s.tif", (100, 40000))
    with pytest.raises(UserError, match="ImageJ"):
        check_size(["rois"], "s.tif", (100, 40000))


HOSTILE = '<script>alert("x")</script> $a$ & http://x.org'


@pytest.fixture(scope="module")
def hostile_records(result, tmp_path_factory):
    """A folder, and records of two fields; names and settings need escaping."""
    out = tmp_path_factory.mktemp("report")
    settings = {"runs": [HOSTILE], "rules": ["<bright> & = A+"]}
    made = {"engine": "torch"}
    record = field_record("f", out / HOSTILE, result, settings=settings, made=made, kinds=["cells"])
    write_record(out, record, result)
    return out, [record, record | {"field": HOSTILE.replace("/", "")}]


def test_the_report_escapes_names_and_loads_nothing(hostile_records, drawn):
    out, records = hostile_records
    write_report(out, records, [f"{HOSTILE} does not read"])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;bright&gt; &amp;" in page
    attributes = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            attributes.extend((tag, k, v) for k, v in attrs)

    Tags().feed(page)
    sources = [v for _, k, v in attributes if k in ("src", "href")]
    assert sources and all(v.startswith("data:image/") for v in sources)
    assert "url(" not in page and "@import" not in page


def test_the_report_has_counts_settings_and_failures(hostile_records):
    out, records = hostile_records
    write_report(out, records, ["bad.tif is damaged."])
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"2 fields, {2 * len(centres())} nuclei" in page
    assert "bad.tif is damaged." in page and "1 left out" in page
    assert "given" in page  # the source of the thresholds
    bars = [float(w) for w in re.findall(r"<i style=\"width: ([\d.]+)%", page)]
    assert sum(bars) == pytest.approx(200, abs=0.1)  # both fields have the most cells: both bars are full


def test_a_report_without_fields_is_written(tmp_path):
    write_report(tmp_path, [], ["a.tif is damaged."])
    assert "No field could be read" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_record_has_counts_and_areas_and_a_thumbnail(hostile_records, found):
    out, (record, _) = hostile_records
    assert record["cells"] == len(centres()) == sum(record["areas"]["counts"])
    assert record["areas"]["counts"][int(144 * 0.25 // 5)] == len(centres())  # 12 x 12 pixels of 0.5 um, steps of 5 um2
    assert record["phenotypes"]["dim"]["cells"] == int((found.cells.phenotype == "dim").sum())
    assert Image.open(out / "fields" / "f.jpg").width == 640


def test_summary_of_fields_with_and_without_phenotypes_has_whole_numbers(hostile_records):
    _, (record, _) = hostile_records
    table = summary_table([record, record | {"field": "g", "phenotypes": {}}])
    assert table["cells dim"].tolist()[0] == record["phenotypes"]["dim"]["cells"]
    assert pd.isna(table["cells dim"].iloc[1])
    assert "." not in table[["cells", "cells dim"]].to_csv(index=False)


class OneClass(Classifier):
    """A classifier without a network: one class, present in every field except those that raise."""

    classes, thresholds = ["b"], np.array([0.5])

    def __init__(self, raises):
        self.raises = raises

    def predict(self, path):
        if Path(path).name in self.raises:
            raise self.raises[Path(path).name]
        return ClassSet(["b"], {"b": 0.75}), torch.ones(1), torch.tensor([0.75])


def test_a_field_that_fails_has_no_row_in_predictions_csv(tmp_path, monkeypatch):
    for name in "abcd":
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    errors = {"a.png": RuntimeError("can't allocate memory\nmore"), "b.png": MemoryError(), "c.png": UserError("c.png")}
    monkeypatch.setattr(classes.ClassifierEnsemble, "load", lambda *args: OneClass(errors))
    failed = classes.predict_classes(["run"], [tmp_path], tmp_path / "out")
    assert failed[0].endswith("a.png: RuntimeError: can't allocate memory") and "memory" in failed[1]
    assert failed[2] == "c.png" and len(failed) == 3
    assert [Path(i).name for i in pd.read_csv(tmp_path / "out" / "predictions.csv").image] == ["d.png"]


def test_an_image_that_labels_csv_lists_but_the_folder_lacks_is_reported(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "a.png")
    Image.new("L", (8, 8)).save(tmp_path / "images" / "b.png")  # without labels, but still predicted
    (tmp_path / "labels.csv").write_text("image,labels\na.png,b\nlost.png,b\n")
    monkeypatch.setattr(classes.ClassifierEnsemble, "load", lambda *args: OneClass({}))
    failed = classes.predict_classes(["run"], [tmp_path], tmp_path / "out")
    assert len(failed) == 1 and failed[0].startswith("lost.png")
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 2
