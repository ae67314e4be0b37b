"""Training on two processes, as torchrun and `seg --nproc` start them, gives the results of one process.

Most processes are forked with torchrun's environment, since a start takes seconds; the last test starts real ones.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg
from dedl_fastai.training.processes.group import on_this_machine

from ...conftest import ROOT
from ...forked import Forked, forked_command
from ...options import TINY, tiny_flags
from .toy_run import ROWS_OF_APP, main, train_augmented, train_plain

pytest.importorskip("accelerate", reason="several processes need accelerate")
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")

APP = {"app": "gelu", "app_width": 64}


def environments() -> list[dict[str, str]]:
    """The environments of two processes, as torchrun sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"} for rank in "01"]
    return [os.environ | meeting | names for names in ranks]


def ended(running: list[Forked]) -> list[tuple[str, str]]:
    """What the processes wrote to stdout and to stderr, once all have ended without an error."""
    written = [process.communicate(240) for process in running]
    assert [process.returncode for process in running] == [0, 0], written
    return written


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def both(tiny_folder, tmp_path_factory) -> list[dict]:
    """Results of the trainings in toy_run on two processes."""
    folder = tmp_path_factory.mktemp("both")
    here = on_this_machine(str(folder))  # as `seg --nproc`
    ended([Forked(main, str(tiny_folder), str(folder), env=names | here) for names in environments()])
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_take_the_steps_of_one(both, tiny_folder, tmp_path):
    one, two = train_plain(str(tiny_folder), tmp_path), both[0]["plain"]
    assert one["tiles"] == two["tiles"] == (36, 9)  # 9 is odd: the shares differ
    for name in one["weights"]:
        torch.testing.assert_close(two["weights"][name], one["weights"][name], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(two["rows"], one["rows"], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)  # train_loss, valid_loss, iou, iou_tuned


def test_no_other_machine_reaches_the_processes(both):
    assert [process["listens to"] for process in both] == [["127.0.0.1"]] * 2


def test_batch_norm_and_augmentation_are_those_of_one_process(both, tiny_folder, tmp_path):
    one, two = train_augmented(str(tiny_folder), tmp_path), both[0]["augmented"]
    for ours, theirs in zip(two["rows"], one["rows"], strict=True):
        assert ours == pytest.approx(theirs, abs=5e-3)  # rounding grows; other random draws differ 10 times as much


def test_app_sees_the_rows_that_one_process_draws(both, tiny_folder, tmp_path):
    one, two = train_augmented(str(tiny_folder), tmp_path, **ROWS_OF_APP), both[0]["rows of app"]
    for ours, theirs in zip(two["rows"], one["rows"], strict=True):
        assert ours[:2] == pytest.approx(theirs[:2], abs=1e-4)  # losses
        assert ours[2:] == pytest.approx(theirs[2:], abs=1e-3)  # scores of masks, in which a pixel counts 1e-4
    assert two["app"] == pytest.approx(one["app"], rel=1e-3)


def test_both_processes_end_with_the_same_model_and_autoencoder(both):
    first, second = both
    for training in ("plain", "augmented", "rows of app", "whole", "resumed"):
        assert same(first[training]["weights"], second[training]["weights"]), training
    assert first["plain"]["rows"] == second["plain"]["rows"]
    assert same(first["whole"]["autoencoder"], second["whole"]["autoencoder"])


def test_resumed_on_two_processes_equals_uninterrupted(both):
    for process in both:
        assert same(process["whole"]["weights"], process["resumed"]["weights"])
        assert same(process["whole"]["autoencoder"], process["resumed"]["autoencoder"])


def test_torchrun_writes_one_run_folder_close_to_that_of_one_process(tiny_folder, tmp_path):
    flags = tiny_flags(tiny_folder, tmp_path / "two", **APP)
    (out, log), (other_out, other_log) = ended([forked_command(*flags, env=names) for names in environments()])
    assert out.count("run folder:") == 1 and log.count("epoch 1/4") == 1
    assert other_out == "" and "epoch" not in other_log
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    one = train_seg(SegConfig.resolve({**TINY, **APP, "data": str(tiny_folder)}), tmp_path / "one")
    names = {p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*")}
    assert {p.relative_to(tmp_path / "two") for p in (tmp_path / "two").rglob("*")} == names
    assert json.loads((tmp_path / "two" / "manifest.json").read_text())["processes"] == 2
    assert json.loads((tmp_path / "one" / "manifest.json").read_text())["processes"] == 1
    assert two["test"]["iou"] == pytest.approx(one["test"]["iou"], abs=0.05)


def test_a_failure_of_all_processes_is_reported_once(tiny_folder, tmp_path):
    flags = [*tiny_flags(tiny_folder, tmp_path / "run", bs=9), "--nproc", "2"]
    command = [sys.executable, "-m", "dedl_fastai.cli", *flags]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 2
    assert result.stderr == "error: --bs 9 is shared by 2 processes: a multiple of 2 is needed.\n"
    assert result.stdout == ""
    assert not Path(tmp_path / "run").exists()
