"""Runs in processes on this machine: crashes, interruptions, threads and memory."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from dedl_fastai.bench.grid import local_jobs as jobs_module
from dedl_fastai.bench.grid import machine
from dedl_fastai.bench.grid.execution import run_grid
from dedl_fastai.bench.grid.local_jobs import LocalJobs, jobs_that_fit
from dedl_fastai.bench.grid.machine import available_mb, cores, estimated_mb, measured_peaks, worker_environment
from dedl_fastai.bench.grid.plan import Request, plan_grid
from dedl_fastai.bench.grid.run_spec import is_locked, notes, run_lock, run_state
from dedl_fastai.io.locks import held

from ...forked import forked_workers
from ..synthetic import PAIR, TINY
from ..waiting import until

ENDLESS = 100000  # epochs


def planned(data, folder, epochs=1, **options):
    return plan_grid(Request(PAIR, {**TINY, "data": str(data), "epochs": epochs, **options}, (1,)), folder)


def start(run, **how) -> subprocess.Popen:
    command = [sys.executable, "-m", "dedl_fastai.bench.grid.worker"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **how)
    process.stdin.write(json.dumps(run.to_dict()) + "\n")
    process.stdin.flush()
    return process


def pid_of(run) -> int:
    return int((run.path / "starts.log").read_text().split()[1].rpartition(":")[2])


def test_a_process_that_dies_fails_its_run_and_the_others_continue(tiny_folder, tmp_path):
    endless, short = planned(tiny_folder, tmp_path, ENDLESS)[0], planned(tiny_folder, tmp_path)[1]
    ended = {}
    with forked_workers():
        for result in LocalJobs(2)([endless, short]):
            ended[result["run"]] = result
            if result["run"] == short.path.name:
                until(lambda: notes(endless.path) == ["start"])
                os.kill(pid_of(endless), signal.SIGKILL)
    assert ended[short.path.name]["state"] == "done" and notes(short.path) == ["start", "done"]
    assert (
        ended[endless.path.name]["state"] == "failed"
        and "signal 9 (out of memory?)" in ended[endless.path.name]["error"]
    )
    cost = json.loads((short.path / "cost.json").read_text())
    assert cost["peak_mb"] > 100 and cost["train_seconds"] > 0


def test_an_interrupted_grid_ends_its_processes_and_can_be_continued(tiny_folder, tmp_path):
    run = planned(tiny_folder, tmp_path, ENDLESS)[0]
    results = LocalJobs()([run])

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            next(results)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert run_state(run.path) != "failed" and not is_locked(run.path)


def test_a_worker_ends_with_the_process_that_started_it(tiny_folder, tmp_path):
    run = planned(tiny_folder, tmp_path, ENDLESS)[0]
    worker = start(run)
    until(lambda: notes(run.path) == ["start"])
    assert is_locked(run.path) and worker.poll() is None
    worker.stdin.close()  # as when the process that started it is killed
    assert worker.wait(30) != 0 and not is_locked(run.path)


def test_a_run_with_loader_processes_ends(tiny_folder, tmp_path):
    """The thread that watches stdin must not hold a lock that a forked process needs to close its stdin."""
    run = planned(tiny_folder, tmp_path, workers=1)[0]
    worker = start(run, start_new_session=True)
    try:
        assert worker.wait(100) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)  # its loader processes too
        worker.stdin.close()
    assert notes(run.path) == ["start", "done"]


def test_a_run_that_another_process_has_locked_is_waited_for(tiny_folder, tmp_path):
    run = planned(tiny_folder, tmp_path)[0]
    run.path.mkdir(parents=True)
    with held(run_lock(run.path)) as is_ours:
        assert is_ours
        assert [r["state"] for r in LocalJobs()([run])] == ["locked"]
        calls = []

        def executor(runs):
            calls.append(len(runs))
            yield {"run": run.path.name, "state": "locked" if len(calls) < 3 else "failed", "error": "none"}

        run_grid([run], executor, wait=0.01)
    assert calls == [1, 1, 1]


def test_threads_are_divided_and_gpus_assigned_in_turn(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert worker_environment(0, cores(), False)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in worker_environment(0, 1, False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    dealt = [worker_environment(slot, 3, True)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert dealt == ["2", "5", "2"]
    assert worker_environment(1, 3, False)["CUDA_VISIBLE_DEVICES"] == "2,5"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"max": "8589934592", "current": "7516192768", "stat": "anon 1\nfile 9\ninactive_file 5368709120\n"}, 6144),
        ({"max": "8589934592", "current": "7516192768"}, 1024),
        ({"max": "max", "current": "7516192768", "stat": "inactive_file 5368709120\n"}, 16384),
        ({}, 16384),
    ],
)
def test_file_cache_of_a_container_is_free_memory(tmp_path, monkeypatch, files, free):
    (tmp_path / "meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable: 16777216 kB\n")
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert available_mb() == free


def test_jobs_are_lowered_to_the_memory(tiny_folder, tmp_path, monkeypatch, caplog):
    runs = planned(tiny_folder, tmp_path)
    guess, is_measured = estimated_mb(runs[0], [])
    assert not is_measured and guess > 500
    monkeypatch.setattr(jobs_module, "available_mb", lambda: 2.5 * guess)
    assert jobs_that_fit(8, runs) == 2 and "coarse estimate" in caplog.text
    runs[0].path.mkdir(parents=True)
    (runs[0].path / "run.json").write_text(json.dumps(runs[0].to_dict()))
    (runs[0].path / "cost.json").write_text('{"peak_mb": 5000}')
    assert estimated_mb(runs[1], measured_peaks(tmp_path / "runs")) == (5000, True)
    assert jobs_that_fit(8, runs) == 1 and "5000 MB (measured)" in caplog.text
