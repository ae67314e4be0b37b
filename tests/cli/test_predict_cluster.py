"""`dedl-fastai predict --scheduler`: workers that write the results, one of which is killed."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from ..bench.waiting import until
from .results import WRITE, contents, dedl

pytest.importorskip("distributed")

KINDS = f"{WRITE},probability,omezarr"


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """A folder of three fields and a truncated one, which is not a cohort."""
    folder = tmp_path_factory.mktemp("fields")
    for name, image in zip("acd", images, strict=True):
        shutil.copy(image, folder / f"{name}.tif")
    (folder / "b.tif").write_bytes(Path(images[0]).read_bytes()[:4000])
    return folder


def stop_in_the_middle(marker: str) -> None:
    """Let this worker stop in its first field, with a lock and half of the files."""
    from dedl_fastai.predict.measured import MeasuredField

    def save(self, found, facts):
        (self.folder / "half").touch()
        Path(marker).touch()
        time.sleep(1000)

    MeasuredField.save = save


def test_a_killed_worker_costs_its_field_again_and_all_bytes_are_those_of_one_process(
    run, folder, cluster, tmp_path, caplog
):
    given = ["predict", run, folder, "--rules", "tfh5", "--write", KINDS, "--out"]
    alone = dedl(*given, tmp_path / "alone")
    assert alone.exit_code == 1 and "b.tif" in alone.stderr
    marker, many = tmp_path / "marker", []
    dies = cluster.add_worker(stop_in_the_middle, str(marker))
    command = threading.Thread(target=lambda: many.append(dedl(*given, tmp_path / "many", *at(cluster))))
    command.start()
    until(marker.exists)
    cluster.add_worker()
    dies.kill()
    command.join(200)
    assert (many[0].exit_code, many[0].stdout) == (1, alone.stdout.replace("alone", "many"))
    assert left_out(many[0]) == left_out(alone) != []
    assert "is continued on another one" in caplog.text
    assert contents(tmp_path / "many") == contents(tmp_path / "alone")


def at(cluster) -> list[str]:
    return ["--scheduler", cluster.address]


def left_out(result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("left out:")]


def test_finished_fields_are_kept_and_given_gates_and_a_relative_folder_are_used(
    run, finished, images, cluster, tmp_path, monkeypatch
):
    cluster.add_worker()
    shutil.copytree(finished, tmp_path / "out")
    first, second = sorted((tmp_path / "out" / "fields").glob("*.json"))[:2]
    first.unlink()
    kept = second.stat().st_mtime_ns
    monkeypatch.chdir(tmp_path)
    result = dedl("predict", run, *images, "--rules", "tfh5", "--write", WRITE, "--out", "out", *at(cluster))
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "out") == contents(finished) and second.stat().st_mtime_ns == kept


def test_the_scale_is_chosen_on_a_worker(run, images, cluster, tmp_path):
    cluster.add_worker()
    given = ["predict", run, images[0], "--scale", "auto", "--write", "cells", "--out"]
    assert dedl(*given, tmp_path / "alone").exit_code == 0
    assert dedl(*given, tmp_path / "many", *at(cluster)).exit_code == 0
    assert contents(tmp_path / "many") == contents(tmp_path / "alone")
