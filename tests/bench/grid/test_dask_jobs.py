"""Runs on a Dask cluster of processes: a worker that is killed, a lost scheduler, and how runs end."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.grid.dask_jobs import DaskJobs
from dedl_fastai.bench.grid.dask_workers import carry_on_worker
from dedl_fastai.bench.grid.execution import run_grid
from dedl_fastai.bench.grid.plan import Request, plan_grid
from dedl_fastai.bench.grid.run_spec import RunSpec, is_locked, notes
from dedl_fastai.cli import app
from dedl_fastai.cluster.clusters import dask_workers
from dedl_fastai.cluster.workers import Ended, WorkersDiedError
from dedl_fastai.errors import UserError

from ...cluster.processes import running_cluster
from ...options import as_flags
from ..synthetic import PAIR, TINY, one_by_one
from ..waiting import until

distributed = pytest.importorskip("distributed")

ENDLESS = 100000  # epochs


def planned(data, folder, epochs=1, seeds=(1,)):
    return plan_grid(Request(PAIR, {**TINY, "data": str(data), "epochs": epochs}, seeds), folder)


def is_under_way(run: RunSpec) -> bool:
    """Whether the run has finished an epoch and is not done."""
    return (run.path / "resume.pt").exists() and notes(run.path)[-1] == "start"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("dask")) as processes:
        yield processes


@pytest.fixture
def without_workers(cluster):
    """The cluster, whose workers of other tests have ended."""
    cluster.kill_workers()
    return cluster


def kill_worker_of(run: RunSpec, jobs: DaskJobs) -> None:
    """Kill the Dask worker at whose process the run is."""
    (address,) = [a for a, sent in jobs.workers.at_work.items() if sent.task.name == run.path.name]
    os.kill(jobs.workers.client.run(os.getpid, workers=[address])[address], signal.SIGKILL)


def test_a_grid_waits_for_workers_and_survives_the_death_of_one(tiny_folder, tmp_path, without_workers, caplog):
    caplog.set_level("INFO", "dedl_fastai")
    runs = planned(tiny_folder, tmp_path / "dask", 3)
    outcomes, killed, jobs = [], [], []

    def carry_out_grid():
        with dask_workers(without_workers.address) as workers:
            jobs.append(DaskJobs(workers))
            outcomes.extend(run_grid(runs, jobs[0], wait=0.5))

    grid = threading.Thread(target=carry_out_grid)
    grid.start()
    until(lambda: "waiting for one" in caplog.text)
    without_workers.add_worker()
    without_workers.add_worker()
    until(lambda: killed.extend(r for r in runs if is_under_way(r)) or killed)
    kill_worker_of(killed[0], jobs[0])
    grid.join(200)
    alone = [r for r in planned(tiny_folder, tmp_path / "here", 3) if r.path.name == killed[0].path.name]
    (expected,) = run_grid(alone, one_by_one)
    assert [o["state"] for o in outcomes] == ["done", "done"]
    assert expected["value"] in [o["value"] for o in outcomes if o["run"] == expected["run"]]
    started = {run.path.name: notes(run.path) for run in runs}
    assert started.pop(killed[0].path.name) == ["start", "start", "done"]
    assert list(started.values()) == [["start", "done"]]
    assert f"is gone: {killed[0].label} is continued on another one" in caplog.text
    assert "continuing after epoch" in killed[0].log.read_text()


def test_a_stopped_grid_leaves_its_runs_on_the_workers(tiny_folder, tmp_path, without_workers, caplog):
    without_workers.add_worker()
    run = planned(tiny_folder, tmp_path, ENDLESS)[0]

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    threading.Thread(target=lambda: (until(lambda: is_under_way(run)), os.kill(os.getpid(), signal.SIGALRM))).start()
    try:
        with pytest.raises(KeyboardInterrupt), dask_workers(without_workers.address) as workers:
            run_grid([run], DaskJobs(workers))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert f"1 tasks continue on their workers until they end: {run.label}" in caplog.text and is_locked(run.path)
    without_workers.kill_workers()
    until(lambda: not is_locked(run.path), 20)


def test_workers_that_do_not_see_the_data_are_named_and_a_lost_scheduler_is_said(tiny_folder, tmp_path, cluster):
    cluster.add_worker()
    run = planned(tiny_folder, tmp_path)[0]
    elsewhere = replace(run, options={**run.options, "data": str(tmp_path / "not-there")})
    with dask_workers(cluster.address) as workers:
        with pytest.raises(UserError, match=r"worker tcp://127.0.0.1:\d+ does not see .*not-there"):
            list(DaskJobs(workers)([elsewhere]))
        cluster.scheduler.kill()  # for good: this is the last test with the cluster
        with pytest.raises(UserError, match="scheduler is gone"):
            list(DaskJobs(workers)([run]))
    assert not (tmp_path / "runs" / run.path.name).exists()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("disk full"), "OSError: disk full"),
        (WorkersDiedError("3 Dask workers died of it"), "3 Dask workers died of it"),
    ],
)
def test_a_task_that_fails_fails_its_run(tiny_folder, tmp_path, error, says):
    def carry_out(tasks, folder, needs):
        for task in tasks:
            assert task.is_needed()
            yield Ended(task.name, error=error)

    (result,) = DaskJobs(SimpleNamespace(carry_out=carry_out))(planned(tiny_folder, tmp_path)[:1])
    assert result["state"] == "failed" and result["error"] == says


@pytest.mark.parametrize(("end", "fails"), [("exit 1", False), ("kill -TERM $$", False), ("kill -KILL $$", True)])
def test_the_process_of_a_run_has_all_threads_and_its_crash_raises(tmp_path, monkeypatch, end, fails):
    script = tmp_path / "python"
    script.write_text(f'#!/bin/bash\nread run\necho "$run" $OMP_NUM_THREADS $MKL_NUM_THREADS\n{end}\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(state=SimpleNamespace(nthreads=3)))
    with pytest.raises(subprocess.CalledProcessError, match="SIGKILL") if fails else nullcontext():
        carry_on_worker({"folder": str(tmp_path)})
    assert (tmp_path / "log.txt").read_text() == f'{{"folder": "{tmp_path}"}} 3 3\n'


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1"),
        (["--scheduler", "nowhere"], "no Dask scheduler answers at nowhere"),
        (["--dask-slurm", "2"], "there is no sbatch"),
        (["--dask-slurm", "2", "--scheduler", "tcp://127.0.0.1:1"], "give one of them"),
        (["--scheduler", "tcp://127.0.0.1:1", "--jobs", "2"], "give one of them"),
    ],
)
@pytest.mark.parametrize("command", ["bench", "predict"])
def test_a_cluster_that_cannot_be_used_is_a_user_error(tiny_folder, tmp_path, monkeypatch, flags, reason, command):
    monkeypatch.setattr("dedl_fastai.cluster.clusters._CONNECT", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    out, image = tmp_path / "out", next(Path(tiny_folder).rglob("*.tif"))
    options = as_flags({**TINY, "data": tiny_folder, "out": out, "seeds": 1, "rows": "resnet18"})
    words = {"bench": ["bench", "run", "table2", *options], "predict": ["predict", "nuclei", image, "--out", out]}
    result = CliRunner().invoke(app, [*map(str, words[command]), *flags])
    assert result.exit_code == 2 and reason in " ".join(result.output.split())
