"""What a killed process leaves, and two processes at one folder: the next command works, or says why it does not."""

import os
from pathlib import Path

import pytest

from dedl_fastai.bench.grid.grid_file import alone_in_grid
from dedl_fastai.bench.grid.run_spec import RunSpec
from dedl_fastai.bench.grid.worker import carry_out
from dedl_fastai.errors import UserError
from dedl_fastai.io.files import folder_written_whole, write_json, write_text
from dedl_fastai.io.locks import alone_at, alone_in, held
from dedl_fastai.predict.options import CellOptions
from dedl_fastai.predict.record import _NEEDED, read_records
from dedl_fastai.predict.result_folder import ResultFolder
from dedl_fastai.runs.lifecycle import start_run
from dedl_fastai.runs.options.seg import SegConfig

from ..cli.results import dedl

HALF = ".a.123-456.part.json"


def names_in(folder):
    return [p.name for p in folder.iterdir()]


def test_a_half_written_record_is_no_finished_field(tmp_path):
    write_json(tmp_path / "fields" / "a.json", dict.fromkeys(_NEEDED, 0) | {"field": "a", "image": "a.tif"})
    (tmp_path / "fields" / HALF).write_text('{"field": "b", "ima')
    assert [r["field"] for r in read_records(tmp_path)] == ["a"]


def test_a_command_removes_what_a_killed_one_left_half_written_and_nothing_else(tmp_path):
    (tmp_path / "fields").mkdir()
    left = [tmp_path / ".best.7-8.part.safetensors", tmp_path / "fields" / HALF, tmp_path / ".summary.7-8.part.csv"]
    kept = [tmp_path / ".hidden.part.json", tmp_path / "a.part.json", tmp_path / "fields" / "a.7-8.part.json"]
    for path in left + kept:
        path.write_text("x")
    with alone_in(tmp_path):
        assert not any(p.exists() for p in left) and all(p.exists() for p in kept)


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    second = alone_in(str(tmp_path / "other" / ".." / "out"))
    with alone_in(tmp_path / "out"), pytest.raises(UserError, match=r"another process writes into .*out"):
        second.__enter__()
    with alone_in(tmp_path / "out"):  # it is free again
        assert not (tmp_path / "out").exists()


def test_a_prediction_beside_another_one_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"never read")
    with alone_in(tmp_path / "out"):
        result = dedl("predict", "nuclei", tmp_path / "a.tif", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "choose another --out" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_lock_that_cannot_be_kept_is_warned_of(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "file"))
    with alone_in(tmp_path):
        assert "no lock can be kept" in caplog.text


@pytest.mark.parametrize("left", [[], ["manifest.json"], ["manifest.json", "splits.json", "model.json", HALF]])
def test_a_run_that_was_killed_before_it_counted_as_started_can_be_started_again(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("{}")
    _, folder = start_run("seg", SegConfig, {"data": str(tmp_path)}, out=str(tmp_path), resume=False)
    assert folder == tmp_path.resolve()
    with pytest.raises(UserError, match="leave `resume` out"):
        start_run("seg", SegConfig, {}, out=str(tmp_path), resume=True)


def test_a_folder_with_other_files_is_not_taken_for_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is in use: choose another"):
        start_run("seg", SegConfig, {"data": str(tmp_path)}, out=str(tmp_path), resume=False)
    with pytest.raises(UserError, match="no run to resume: choose another"):
        start_run("seg", SegConfig, {}, out=str(tmp_path), resume=True)


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append(names_in(tmp_path)), real(handle)))
    write_text(tmp_path / "cost.json", "{}")
    assert len(events) == 1 and "cost.json" not in events[0] and names_in(tmp_path) == ["cost.json"]


def test_a_folder_left_by_a_killed_process_of_the_same_number_is_no_obstacle(tmp_path):
    (tmp_path / f".demo.{os.getpid()}.part").mkdir()
    with folder_written_whole(tmp_path / "demo") as beside:
        (beside / "a.txt").write_text("x")
    assert (tmp_path / "demo" / "a.txt").read_text() == "x"


def test_a_run_of_a_grid_removes_what_a_killed_process_left_in_its_folder(tmp_path):
    run = RunSpec(folder=str(tmp_path), task="seg", label="a", metric="test.iou", options={}, seed=1)
    (tmp_path / "error.txt").write_text("it has failed\n")  # so that nothing is trained
    (tmp_path / HALF).write_text("{")
    assert carry_out(run)["state"] == "failed"
    assert sorted(names_in(tmp_path)) == ["error.txt", "run.lock"]


def test_the_folder_of_a_grid_is_cleaned_where_no_other_process_writes(tmp_path):
    (tmp_path / "report").mkdir()
    left = [tmp_path / ".grid.7-8.part.json", tmp_path / "report" / ".table1.7-8.part.md"]
    for path in left:
        path.write_text("x")
    with alone_in_grid(tmp_path):
        assert not any(path.exists() for path in left)


def test_one_process_works_on_a_field(tmp_path):
    lock = tmp_path / ".a.lock"
    with alone_at(lock, "a.tif"):
        with pytest.raises(UserError, match=r"a\.tif: another process works on it"), alone_at(lock, "a.tif", wait=0):
            pass
        assert lock.exists()
    assert not lock.exists()
    with alone_at(tmp_path / "no folder" / ".a.lock", "a.tif"):  # as on a disk without locks
        pass


def test_the_lock_of_a_finished_field_that_a_killed_process_left_is_removed_unless_it_is_held(tmp_path):
    out, about = tmp_path / "out", {"field": "a", "image": "a.tif", "settings": {}, "kinds": ["cells"]}
    write_json(out / "fields" / "a.json", dict.fromkeys(_NEEDED, 0) | about)
    folder, lock = ResultFolder(out, CellOptions(write="cells"), {}, {}), out / ".a.lock"
    for path in (out / "a_cells.csv", lock):
        path.touch()
    with held(lock):
        assert folder.unfinished({"a": Path("a.tif")}) == [] and lock.exists()
    assert folder.unfinished({"a": Path("a.tif")}) == [] and not lock.exists()
