"""`dedl-fastai predict` and its inputs: damaged files, interruptions, folders, names, cohorts."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import tifffile
import zarr

from dedl_fastai.io import open_field
from dedl_fastai.io.corrections import Action
from dedl_fastai.predict import field_predictor
from dedl_fastai.predict.inputs import field_name
from dedl_fastai.predict.kinds import FileKind

from .results import WRITE, contents, dedl


def test_a_killed_prediction_that_is_run_again_ends_with_the_same_files(run, finished, images, tmp_path, monkeypatch):
    real = field_predictor.KINDS["overlay"].write
    calls = []

    def killed(path, result):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt  # in the middle of the second field's files
        real(path, result)

    flags = ["predict", run, *images, "--out", tmp_path / "out", "--rules", "tfh5", "--write", WRITE]
    with monkeypatch.context() as patch:
        patch.setitem(field_predictor.KINDS, "overlay", FileKind("_overlay.png", killed))
        assert dedl(*flags).exit_code != 0
    assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 1
    half = tmp_path / "out" / f".{field_name(images[1])}.part"  # what SIGKILL leaves
    assert (half / "measured.json").is_file()  # with types missing: the field is not predicted again
    shutil.rmtree(half)
    half.mkdir()
    (half / "canvas").write_bytes(b"half")
    assert dedl(*flags).exit_code == 0
    assert contents(tmp_path / "out") == contents(finished)


def test_fields_that_were_measured_are_not_predicted_again(run, finished, images, tmp_path, monkeypatch):
    flags = ["predict", run, *images, "--out", tmp_path / "out", "--rules", "tfh5", "--write", WRITE]
    with monkeypatch.context() as patch:
        raise_for(patch, images[2], KeyboardInterrupt())
        assert dedl(*flags).exit_code != 0
    assert not (tmp_path / "out" / "gates.json").exists()  # the cut-offs need all fields
    raise_for(monkeypatch, images[0], AssertionError("was predicted again"))
    assert dedl(*flags).exit_code == 0
    assert contents(tmp_path / "out") == contents(finished)


def test_fields_side_by_side_give_the_same_bytes(run, finished, images, tmp_path):
    given = ["predict", run, *images, "--rules", "tfh5", "--write", WRITE]
    assert dedl(*given, "--out", tmp_path / "out", "--jobs", 2).exit_code == 0
    assert contents(tmp_path / "out") == contents(finished)


def test_a_truncated_file_is_left_out_with_a_line_and_exit_code_1(run, copies, tmp_path):
    result = dedl("predict", run, copies, "--out", tmp_path / "out", "--write", "cells")
    assert result.exit_code == 1
    assert [("f5b.tif" in line) for line in result.stderr.splitlines() if line.startswith("left out:")] == [True]
    assert len(list((tmp_path / "out").glob("*_cells.csv"))) == 10
    assert list(pd.read_csv(tmp_path / "out" / "summary.csv").field) == [f"f{i}" for i in range(10)]
    assert "f5b.tif" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


class EngineError(Exception):
    """Stands for the errors of ONNX Runtime and OpenVINO, which are not RuntimeErrors either."""


def raise_for(monkeypatch, image: str, error: BaseException) -> None:
    """Make the prediction of this image raise the error."""
    real = field_predictor.predict_field

    def fails(ensemble, field, **how):
        if str(field.path) == image:
            raise error
        return real(ensemble, field, **how)

    monkeypatch.setattr(field_predictor, "predict_field", fails)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "memory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory\nat 0x1"), "RuntimeError: DefaultCPUAllocator"),
        (EngineError("Non-zero status code"), "EngineError: Non-zero status code"),
    ],
)
def test_a_failure_of_one_field_does_not_stop_the_others(run, images, tmp_path, monkeypatch, error, says):
    raise_for(monkeypatch, images[0], error)
    result = dedl("predict", run, *images, "--out", tmp_path, "--write", "cells")
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("left out:")]
    assert len(lines) == 1 and images[0] in lines[0] and says in lines[0] and "0x1" not in result.stderr
    assert Path(images[0]).name in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(list(tmp_path.glob("*_cells.csv"))) == len(images) - 1


def test_a_stopped_prediction_leaves_a_report_of_the_finished_fields(run, images, tmp_path, monkeypatch):
    raise_for(monkeypatch, images[1], KeyboardInterrupt())
    assert dedl("predict", run, *images, "--out", tmp_path, "--write", "cells").exit_code != 0
    assert field_name(images[0]) in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_full_disk_stops_the_prediction_and_keeps_finished_fields(run, images, tmp_path, monkeypatch):
    raise_for(monkeypatch, images[1], OSError(28, "No space left on device"))
    result = dedl("predict", run, *images, "--out", tmp_path, "--write", "cells")
    assert result.exit_code == 2 and "No space left" in result.stderr
    assert [p.name for p in tmp_path.glob("*_cells.csv")] == [f"{field_name(images[0])}_cells.csv"]
    assert len(pd.read_csv(tmp_path / "summary.csv")) == 1
    assert not list(tmp_path.glob(".*"))  # no partly written files


def test_two_images_of_one_name_are_refused_before_anything_is_predicted(run, images, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(images[0], tmp_path / folder / "x.tif")
    result = dedl("predict", run, tmp_path / "a" / "x.tif", tmp_path / "b" / "x.tif", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "'x'" in result.stderr
    assert not (tmp_path / "out").exists()
    assert dedl("predict", run, tmp_path / "a" / "x.tif", "--out", tmp_path / "out", "--write", "cells").exit_code == 0
    later = dedl("predict", run, tmp_path / "b" / "x.tif", "--out", tmp_path / "out", "--write", "cells")
    assert later.exit_code == 2 and "--out" in later.stderr


def test_results_next_to_the_images_are_not_predicted(run, images, tmp_path):
    shutil.copy(images[0], tmp_path / "x.tif")
    flags = ["predict", run, tmp_path, "--out", tmp_path, "--write", "mask,cells,overlay"]
    assert dedl(*flags).exit_code == 0
    before = contents(tmp_path)
    assert dedl(*flags).exit_code == 0
    assert contents(tmp_path) == before


def test_corrections_next_to_the_images_neither_hide_images_nor_are_overwritten(run, images, tmp_path):
    for name, image in zip(("x", "y"), images, strict=False):
        shutil.copy(image, tmp_path / f"{name}.tif")
    flags = ["predict", run, tmp_path / "x.tif", "--out", tmp_path, "--write", "labels"]
    assert dedl(*flags).exit_code == 0
    (tmp_path / "corrections").mkdir()
    (tmp_path / "corrections" / "x.jsonl").write_text(f"{Action('check', revision=1).line}\n")
    assert dedl("predict", run, tmp_path, "--out", tmp_path, "--write", "labels").exit_code == 0
    assert (tmp_path / "y_labels.ome.tif").is_file()
    again = dedl(*flags, "--overwrite")
    assert again.exit_code == 2 and "x.jsonl has corrections" in again.stderr


def test_zarr_folders_in_a_folder_are_images(run, images, tmp_path):
    mixed, alone = tmp_path / "mixed", tmp_path / "alone"
    with open_field(images[0]) as field:
        plane = field.read("DAPI")
    for folder in (mixed, alone):
        folder.mkdir()
        array = zarr.open_array(str(folder / "s.ome.zarr"), mode="w", shape=plane.shape, chunks=(64, 64), dtype="f4")
        array[...] = plane
    tifffile.imwrite(mixed / "t.tif", plane)
    for folder, fields in ((mixed, ["s", "t"]), (alone, ["s"])):
        out = tmp_path / f"of_{folder.name}"
        result = dedl("predict", run, folder, "--out", out, "--write", "cells")
        assert result.exit_code == 0, result.output
        assert list(pd.read_csv(out / "summary.csv").field) == fields


def test_an_image_that_a_cohort_lists_but_does_not_have_is_left_out(run, images, tmp_path):
    folder = tmp_path / "cohort"
    folder.mkdir()
    shutil.copy(images[0], folder / "a.tif")
    (folder / "cohort.csv").write_text("image,mask\na.tif,no_mask.tif\nlost.tif,\n")
    for _ in range(2):  # also when all existing fields are finished
        result = dedl("predict", run, folder, "--out", tmp_path / "out", "--write", "cells")
        assert result.exit_code == 1
        assert "left out:" in result.stderr and "lost.tif" in result.stderr and "no_mask" not in result.stderr
        assert "lost.tif" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert list(pd.read_csv(tmp_path / "out" / "summary.csv").field) == ["a"]


def test_nuclei_in_place_of_a_run_is_the_model_that_comes_with_the_package(images, tmp_path):
    result = dedl("predict", "nuclei", images[0], "--out", tmp_path / "out", "--write", "cells,labels")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(next((tmp_path / "out").glob("*_cells.csv")))) > 5
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "nuclei (best, " in report
    result = dedl("predict", "nuclei", "--out", tmp_path / "none")
    assert result.exit_code == 2 and "predict nuclei INPUT" in result.stderr
