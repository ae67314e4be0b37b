"""`dedl-fastai predict` with a segmentation: its files and their agreement, kept results, options, the report."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
import tifffile

from dedl_fastai.io import open_field
from dedl_fastai.io.corrections import Action
from dedl_fastai.predict import field_predictor
from dedl_fastai.predict.corrections import append
from dedl_fastai.predict.inputs import field_name

from .results import WRITE, contents, dedl


def test_every_field_has_its_files_and_a_row_in_the_summary(finished, images):
    names = {field_name(i) for i in images}
    endings = ("_mask.ome.tif", "_labels.ome.tif", "_cells.csv", ".geojson", "_overlay.png", "_neighbours.csv")
    assert {p.name for p in finished.iterdir()} == {
        *(n + e for n in names for e in endings),
        "gates.json",
        "summary.csv",
        "report.html",
        "fields",
    }
    assert list(pd.read_csv(finished / "summary.csv").image) == sorted(images)


def test_mask_labels_table_and_polygons_agree(finished, images):
    for image in images:
        name = field_name(image)
        mask, labels = (tifffile.imread(finished / f"{name}_{kind}.ome.tif") for kind in ("mask", "labels"))
        cells = pd.read_csv(finished / f"{name}_cells.csv")
        features = json.loads((finished / f"{name}.geojson").read_text())["features"]
        assert ((labels > 0) == (mask > 0)).all()
        assert (
            set(cells.label) == set(np.unique(labels[labels > 0])) == {int(f["properties"]["name"]) for f in features}
        )
        for feature in features:
            row = cells[cells.label == int(feature["properties"]["name"])].iloc[0]
            assert feature["properties"]["measurements"]["area_um2"] == pytest.approx(row.area_um2, rel=1e-5)
            classification = feature["properties"].get("classification", {"name": None})
            assert classification["name"] == (None if pd.isna(row.phenotype) else row.phenotype)
            assert classification["name"] is None or len(classification["color"]) == 3


def test_the_summary_counts_the_rows_of_the_tables(finished, images):
    summary = pd.read_csv(finished / "summary.csv").set_index("field")
    for image in images:
        row, cells = summary.loc[field_name(image)], pd.read_csv(finished / f"{field_name(image)}_cells.csv")
        with open_field(image) as field:
            mm2 = field.shape[0] * field.shape[1] * field.pixel_size_um**2 / 1e6
        assert row["cells"] == len(cells) > 0
        assert row["area_mm2"] == pytest.approx(mm2, rel=1e-3)
        assert row["per_mm2"] == pytest.approx(len(cells) / mm2, rel=1e-3)
        for phenotype in ("b", "tfh", "other"):
            assert row[f"cells {phenotype}"] == (cells.phenotype == phenotype).sum()


def test_ome_tiffs_have_size_pixel_size_position_and_channel_name(finished, images):
    with open_field(images[0]) as source, open_field(finished / f"{field_name(images[0])}_labels.ome.tif") as written:
        assert written.shape == source.shape
        assert written.pixel_size_um == pytest.approx(source.pixel_size_um, rel=1e-4)
        assert written.origin_um == pytest.approx(source.origin_um, abs=0.01)
        assert written.channels == ["nucleus id"]
    with tifffile.TiffFile(finished / f"{field_name(images[0])}_mask.ome.tif") as tif:
        assert tif.is_ome and 'Name="nuclei"' in tif.ome_metadata
        assert set(np.unique(tif.asarray())) == {0, 255}


def test_existing_results_are_kept_unless_overwrite(run, results, images):
    flags = ["--out", results, "--rules", "tfh5", "--write", WRITE]
    file = results / f"{field_name(images[0])}_cells.csv"
    before = contents(results), file.stat().st_mtime_ns
    assert dedl("predict", run, *images, *flags).exit_code == 0
    assert (contents(results), file.stat().st_mtime_ns) == before
    assert dedl("predict", run, images[0], *flags, "--overwrite").exit_code == 0
    assert file.stat().st_mtime_ns > before[1]
    assert contents(results) == before[0]


def test_a_missing_kind_of_file_is_added_and_the_others_stay(run, results, images):
    name = field_name(images[0])
    before = (results / f"{name}_cells.csv").stat().st_mtime_ns
    (results / f"{name}.geojson").unlink()
    flags = ["--out", results, "--rules", "tfh5", "--write", "cells,geojson,uncertainty"]
    assert dedl("predict", run, images[0], *flags).exit_code == 0
    assert (results / f"{name}.geojson").exists() and (results / f"{name}_uncertainty.ome.tif").exists()
    assert (results / f"{name}_cells.csv").stat().st_mtime_ns == before


def test_a_file_that_overwrite_did_not_write_is_not_current(run, images, tmp_path):
    flags = ["predict", run, images[0], "--out", tmp_path]
    labels = tmp_path / f"{field_name(images[0])}_labels.ome.tif"
    assert dedl(*flags, "--write", "labels,cells", "--min-area", 0).exit_code == 0
    assert dedl(*flags, "--write", "cells", "--min-area", 20, "--overwrite").exit_code == 0
    cells = next(tmp_path.glob("*_cells.csv"))
    before = cells.stat().st_mtime_ns
    assert dedl(*flags, "--write", "labels,cells", "--min-area", 20).exit_code == 0
    assert set(np.unique(tifffile.imread(labels))) - {0} == set(pd.read_csv(cells).label)
    assert cells.stat().st_mtime_ns == before  # it already has this smallest area


def test_files_without_a_record_are_written_again(run, results, images):
    name = field_name(images[0])
    (results / "fields" / f"{name}.json").unlink()
    for ending in ("_labels.ome.tif", "_cells.csv"):
        (results / f"{name}{ending}").write_bytes(b"of another time")
    flags = ["predict", run, images[0], "--out", results, "--rules", "tfh5", "--write"]
    assert dedl(*flags, "cells").exit_code == 0
    assert dedl(*flags, "labels,cells").exit_code == 0
    labels = tifffile.imread(results / f"{name}_labels.ome.tif")
    assert len(pd.read_csv(results / f"{name}_cells.csv")) == labels.max() > 0


def test_the_radius_of_kept_neighbours_is_remembered(run, images, tmp_path):
    flags = ["predict", run, images[0], "--out", tmp_path, "--rules", "tfh5", "--write"]
    assert dedl(*flags, "neighbours", "--radius", 20).exit_code == 0
    assert dedl(*flags, "cells").exit_code == 0
    result = dedl(*flags, "neighbours", "--radius", 40)
    assert result.exit_code == 2 and "radius" in result.stderr
    assert dedl(*flags, "neighbours", "--radius", 20).exit_code == 0
    assert dedl(*flags, "cells", "--overwrite").exit_code == 0  # the record no longer lists the neighbours
    assert dedl(*flags, "neighbours", "--radius", 40).exit_code == 0


@pytest.mark.parametrize("flags", [[], ["--rules", "tfh5", "--ring", "3"], ["--rules", "vanburen3"]])
def test_results_of_other_options_are_neither_kept_nor_mixed(run, results, images, flags):
    result = dedl("predict", run, images[0], "--out", results, *flags)
    assert result.exit_code == 2 and "--overwrite" in result.stderr


def test_two_runs_are_an_ensemble_with_an_uncertainty_map(run, images, tmp_path):
    result = dedl("predict", run, run, images[0], "--out", tmp_path, "--write", "probability,uncertainty")
    assert result.exit_code == 0, result.output
    name = field_name(images[0])
    p, entropy = (tifffile.imread(tmp_path / f"{name}_{k}.ome.tif") for k in ("probability", "uncertainty"))
    np.testing.assert_allclose(entropy, -p * np.log2(p) - (1 - p) * np.log2(1 - p), atol=1e-3)
    uncertainty = pd.read_csv(tmp_path / "summary.csv").uncertainty[0]
    assert uncertainty == pytest.approx(entropy.mean(), abs=1e-4)


def test_augmentation_and_overlap_change_the_probability_and_batch_size_does_not(run, images, tmp_path):
    planes = {}
    for flags in ("", "--tta flips", "--overlap 0.5", "--bs 1"):
        out = tmp_path / (flags or "plain")
        assert dedl("predict", run, images[0], "--out", out, "--write", "probability", *flags.split()).exit_code == 0
        planes[flags] = tifffile.imread(next(out.glob("*_probability.ome.tif")))
    assert np.abs(planes[""] - planes["--tta flips"]).max() > 1e-4
    assert np.abs(planes[""] - planes["--overlap 0.5"]).max() > 1e-4
    np.testing.assert_allclose(planes[""], planes["--bs 1"], atol=1e-5)


def test_cells_below_the_smallest_area_are_dropped(run, images, tmp_path):
    sizes = {}
    for min_area in (10, 20):
        out = tmp_path / str(min_area)
        assert dedl("predict", run, images[0], "--out", out, "--write", "cells", "--min-area", min_area).exit_code == 0
        sizes[min_area] = pd.read_csv(next(out.glob("*_cells.csv"))).area_um2
    assert sizes[20].min() >= 20 > sizes[10].min() >= 10


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--write", "movie"], "--write"),
        (["--rules", "none.txt"], "none.txt"),
        (["--write", "cells,neighbours"], "--rules"),
        (["--thresholds", "CD19"], "CD19=1.2"),
        (["--engine", "abacus"], "--engine"),
        (["--amp", "fp8"], "--amp"),
        (["--tta", "spin"], "--tta"),
        (["--overlap", "1"], "--overlap"),
        (["--bs", "0"], "--bs"),
        (["--ring", "-2"], "--ring"),
        (["--radius", "0"], "--radius"),
        (["--part-by", "luck"], "luck"),
    ],
)
def test_wrong_options_exit_with_2_before_any_field(run, images, tmp_path, flags, says):
    result = dedl("predict", run, images[0], "--out", tmp_path / "out", *flags)
    assert result.exit_code == 2 and says in result.stderr
    assert not list(tmp_path.rglob("*.csv"))


def test_a_missing_extra_is_named_before_any_field(run, images, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "roifile", None)
    result = dedl("predict", run, images[0], "--out", tmp_path / "out", "--write", "mask,rois")
    assert result.exit_code == 2 and "dedl-fastai[imagej]" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_marker_that_the_field_lacks_is_named_before_it_is_predicted(run, images, tmp_path, monkeypatch):
    rules = tmp_path / "rules.txt"
    rules.write_text("x = CD99+")
    monkeypatch.setattr(field_predictor, "predict_field", lambda *a, **k: pytest.fail("was predicted"))
    result = dedl("predict", run, images[0], "--out", tmp_path / "out", "--rules", rules)
    assert result.exit_code == 1 and "CD99" in result.stderr


def test_the_report_is_one_file_with_every_field(finished, images):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert all(page.count(field_name(i)) >= 2 for i in images)
    assert page.count("data:image/jpeg;base64,") == len(images)
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert "CD19+ CD4-" in page and "mixture over" in page


def test_a_missing_run_or_input_is_named(run, images):
    assert "run folder" in dedl("predict", images[0]).stderr
    assert "image or folder" in dedl("predict", run).stderr


def test_the_given_pixel_size_is_used_if_the_file_has_none(run, images, tmp_path):
    with open_field(images[0]) as field:
        plain, own = tmp_path / "plain.tif", field.pixel_size_um
        tifffile.imwrite(plain, field.read("DAPI"))
    for image, size in ((plain, 2 * own), (images[0], own)):
        out = tmp_path / f"out{size:.3f}"
        result = dedl("predict", run, image, "--out", out, "--write", "cells", "--pixel-size", 2 * own)
        assert result.exit_code == 0, result.output
        cells = pd.read_csv(next(out.glob("*_cells.csv")))
        np.testing.assert_allclose(cells.area_um2, cells.area_px * size**2, rtol=1e-6)
    assert dedl("predict", run, plain, "--out", tmp_path / "no", "--pixel-size", -1).exit_code == 2


def test_suggest_ranks_the_finished_fields_in_summary_and_report(run, images, results):
    done = dedl("predict", run, *images, "--out", results, "--rules", "tfh5", "--write", WRITE, "--suggest", 2)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(results / "summary.csv").set_index("field")
    ranked = table.look_at.dropna().sort_values()
    assert ranked.tolist() == [1, 2] and ranked.index[0] == (table.uncertainty * doubts(results)).idxmax()
    assert "Look at next" in (results / "report.html").read_text(encoding="utf-8")
    regions = pd.read_csv(results / "regions.csv")
    assert len(regions) == 2 and set(regions.field) <= set(table.index)
    for region in regions.itertuples():
        cells = pd.read_csv(results / f"{region.field}_cells.csv")
        inside = cells.x_px.between(region.x0 - 0.5, region.x1 - 0.5) & cells.y_px.between(
            region.y0 - 0.5, region.y1 - 0.5
        )
        assert inside.sum() == region.cells
    done = dedl("predict", run, *images, "--out", results, "--rules", "tfh5", "--write", WRITE)
    assert done.exit_code == 0 and "Look at next" not in (results / "report.html").read_text(encoding="utf-8")
    assert not (results / "regions.csv").exists()


def test_regions_are_suggested_where_every_field_has_a_checked_part(run, images, results):
    for record in (results / "fields").glob("*.json"):
        append(results, record.stem, Action("check", points=((0, 0), (9, 0), (9, 9), (0, 9))), after=0)
    done = dedl("predict", run, *images, "--out", results, "--rules", "tfh5", "--write", WRITE, "--suggest", 2)
    assert done.exit_code == 0, done.output
    regions = pd.read_csv(results / "regions.csv")
    assert len(regions) == 2 and "look_at" not in pd.read_csv(results / "summary.csv").dropna(axis="columns")
    assert f"Regions:</p><ol><li>{regions.field[0]}" in (results / "report.html").read_text(encoding="utf-8")


def doubts(results):
    return pd.Series({p.stem: json.loads(p.read_text())["doubt"] for p in (results / "fields").glob("*.json")})
