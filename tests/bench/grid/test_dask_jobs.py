"""Runs on a Dask cluster of processes: a worker that is killed, unusable workers, SLURM jobs that end."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.grid.dask_clusters import dask_jobs, slurm_jobs
from dedl_fastai.bench.grid.dask_jobs import DaskJobs
from dedl_fastai.bench.grid.dask_workers import carry_on_worker, what_it_sees
from dedl_fastai.bench.grid.execution import run_grid
from dedl_fastai.bench.grid.plan import Request, plan_grid
from dedl_fastai.bench.grid.run_spec import RunSpec, is_locked, notes
from dedl_fastai.bench.grid.worker import carry_out
from dedl_fastai.cli import app
from dedl_fastai.errors import UserError

from ...options import as_flags
from ..synthetic import PAIR, TINY, one_by_one
from ..waiting import until

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

ENDLESS = 100000  # epochs


def planned(data, folder, epochs=1, seeds=(1,)):
    return plan_grid(Request(PAIR, {**TINY, "data": str(data), "epochs": epochs}, seeds), folder)


def is_under_way(run: RunSpec) -> bool:
    """Whether the run has finished an epoch and is not done."""
    return (run.path / "resume.pt").exists() and notes(run.path)[-1] == "start"


def starter_of(run: RunSpec) -> int:
    """The process that started the process of the run."""
    import psutil

    return psutil.Process(int((run.path / "starts.log").read_text().split()[1].rpartition(":")[2])).ppid()


class Cluster:
    """`dask scheduler` and `dask worker` as processes."""

    def __init__(self, folder: Path):
        self.file, self.processes = folder / "scheduler.json", []
        self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
        self.address = until(self._address)

    def _address(self) -> str | None:
        """The scheduler's address; None until its file is complete (it is not written in one step)."""
        try:
            return json.loads(self.file.read_text())["address"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def add_worker(self) -> None:
        self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")

    def _start(self, what: str, *options: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(self.file), *options]
        process = subprocess.Popen(command, cwd=self.file.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory):
    with ExitStack() as stack:
        processes = Cluster(tmp_path_factory.mktemp("dask"))
        stack.callback(processes.close)
        yield processes


def test_a_grid_waits_for_workers_and_survives_the_death_of_one(tiny_folder, tmp_path, cluster, caplog):
    caplog.set_level("INFO", "dedl_fastai")
    runs = planned(tiny_folder, tmp_path / "dask", 6)
    outcomes, killed = [], []

    def carry_out_grid():
        with dask_jobs(cluster.address) as executor:
            outcomes.extend(run_grid(runs, executor, wait=0.5))

    grid = threading.Thread(target=carry_out_grid)
    grid.start()
    until(lambda: "waiting for one" in caplog.text)
    cluster.add_worker()
    cluster.add_worker()
    until(lambda: killed.extend(r for r in runs if is_under_way(r)) or killed)
    os.kill(starter_of(killed[0]), signal.SIGKILL)
    grid.join(200)
    expected = run_grid(planned(tiny_folder, tmp_path / "here", 6), one_by_one)
    assert [(o["run"], o["value"]) for o in outcomes] == [(o["run"], o["value"]) for o in expected]
    started = {run.path.name: notes(run.path) for run in runs}
    assert started.pop(killed[0].path.name) == ["start", "start", "done"]
    assert list(started.values()) == [["start", "done"]]
    assert f"is gone: {killed[0].label} is continued on another one" in caplog.text
    assert "continuing after epoch" in killed[0].log.read_text()


def test_workers_that_do_not_see_the_data_are_named(tiny_folder, tmp_path, cluster):
    cluster.add_worker()
    run = planned(tiny_folder, tmp_path)[0]
    elsewhere = replace(run, options={**run.options, "data": str(tmp_path / "not-there")})
    with dask_jobs(cluster.address) as executor:
        with pytest.raises(UserError, match=r"worker tcp://127.0.0.1:\d+ does not see .*not-there"):
            list(executor([elsewhere]))
        cluster.processes[0].kill()
        with pytest.raises(UserError, match="scheduler is gone"):
            list(executor([run]))
    assert not (tmp_path / "runs" / run.path.name).exists()


class StubClient:
    """A client whose tasks are carried out at once in this process, or never end."""

    def __init__(self, answers, submit):
        self.answers, self.submitted, self._submit = answers, [], submit

    def nthreads(self):
        return dict.fromkeys(self.answers() if callable(self.answers) else self.answers, 1)

    def run(self, function, *args, workers, on_error):
        return {w: function(*args) if callable(self.answers) else self.answers[w] for w in workers}

    def submit(self, function, run, key, workers):
        self.submitted += workers
        return self._submit(RunSpec(**run))


def test_unusable_workers_are_left_out(tiny_folder, tmp_path, caplog):
    def at_once(run):
        carry_out(run)
        return SimpleNamespace(done=lambda: True, status="finished")

    answers = {"a": "does not see /data", "b": {"torch": "0.1"}, "c": ModuleNotFoundError("no dedl_fastai")}
    client = StubClient(answers, at_once)
    assert [o["state"] for o in DaskJobs(client)(planned(tiny_folder, tmp_path))] == ["done", "done"]
    assert client.submitted == ["b", "b"]
    assert "worker a is not used: it does not see /data" in caplog.text
    assert "worker c is not used: it cannot load this version of dedl-fastai" in caplog.text
    assert "worker b has other versions than this process: torch 0.1" in caplog.text


def test_it_is_logged_that_only_refused_workers_are_left(tiny_folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("dedl_fastai.bench.grid.dask_jobs._POLL", 0)
    answers, looks = {"a": {}, "b": "does not see /data"}, iter(range(100))

    def submit(run):
        if client.submitted == ["a"]:
            del answers["a"]  # it dies of its first run
            return SimpleNamespace(done=lambda: False, cancel=lambda: None)
        carry_out(run)
        return SimpleNamespace(done=lambda: True, status="finished")

    def keep_up():
        assert next(looks, None) is not None, "it waits in silence"
        if "no worker that can be used: waiting for one" in caplog.text:
            answers["c"] = {}

    client = StubClient(answers, submit)
    assert [o["state"] for o in DaskJobs(client, keep_up)(planned(tiny_folder, tmp_path)[:1])] == ["done"]
    assert client.submitted == ["a", "c"]
    assert caplog.text.count("waiting for one") == 1


def test_a_task_that_raises_fails_its_run(tiny_folder, tmp_path):
    error = SimpleNamespace(done=lambda: True, status="error", exception=lambda: OSError("disk full"))
    client = StubClient({"a": {}}, lambda run: error)
    (result,) = DaskJobs(client)(planned(tiny_folder, tmp_path)[:1])
    assert result["state"] == "failed" and result["error"] == "OSError: disk full"


def test_a_run_that_no_worker_survives_fails(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dedl_fastai.bench.grid.dask_jobs._POLL", 0)
    (run, *_), names, epochs = planned(tiny_folder, tmp_path), iter(range(100)), iter(range(1, 5))

    def never_ends(run):
        if epoch := next(epochs, None):
            (run.path / "resume.pt").touch()
            os.utime(run.path / "resume.pt", (epoch, epoch))
        return SimpleNamespace(done=lambda: False, cancel=lambda: None)

    client = StubClient(lambda: [f"worker-{next(names)}"], never_ends)  # another one at every check
    (result,) = DaskJobs(client)([run])
    assert result["state"] == "failed" and "3 Dask workers died during the run" in result["error"]
    assert len(client.submitted) == 4 + 2  # a death after progress is the first of three


def test_what_a_worker_sees(tmp_path):
    probe = tmp_path / "probe"
    assert what_it_sees(str(probe), [], []).startswith(f"does not see {tmp_path}: ")
    probe.touch()
    assert what_it_sees(str(probe), [str(tmp_path / "data")], []).startswith(f"does not see {tmp_path / 'data'}: ")
    versions = what_it_sees(str(probe), [str(tmp_path)], ["torch", "no-such-package"])
    assert versions == {"torch": importlib.metadata.version("torch"), "no-such-package": ""}
    assert list(tmp_path.iterdir()) == [probe]


def test_a_dask_worker_does_not_load_torch():
    code = "import sys, dedl_fastai.bench.grid.dask_workers; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


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


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for sbatch and scancel that run jobs as processes; the value is the file of their process ids."""
    pytest.importorskip("dask_jobqueue")  # imported first, as it sets defaults
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(f"""#!/bin/bash
        if [ "$1" = --test-only ]; then
            ! grep -q "SBATCH -p nowhere" "$2" || {{ echo "invalid partition" >&2; exit 1; }}
            exit 0
        fi
        job=$(mktemp -p {tools})
        cp "$1" "$job"
        setsid bash "$job" >"$job.log" 2>&1 &
        echo $! >>{tools}/jobs
        echo "Submitted batch job $!"
    """)
    (tools / "scancel").write_text('#!/bin/bash\nkill -9 -- "-$1"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    about = {
        "cores": 1,
        "processes": 1,
        "memory": "2GB",
        "local-directory": str(tmp_path),
        "scheduler-options.dashboard_address": ":0",
    }
    about = {f"jobqueue.slurm.{k}": v for k, v in {**about, "scheduler-options.host": "127.0.0.1"}.items()}
    with dask.config.set({**about, "distributed.deploy.lost-worker-timeout": "1s"}):
        yield tools / "jobs"


def test_slurm_jobs_that_end_are_submitted_again(tiny_folder, tmp_path, slurm):
    runs, killed = planned(tiny_folder, tmp_path, 3)[:1], []

    def end_the_job():
        until(lambda: is_under_way(runs[0]))
        killed.append(int(slurm.read_text()))
        os.killpg(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=end_the_job)
    killer.start()
    with slurm_jobs(1) as executor:
        assert [o["state"] for o in run_grid(runs, executor)] == ["done"]
    killer.join()
    assert notes(runs[0].path) == ["start", "start", "done"]
    jobs = [int(n) for n in slurm.read_text().split()]
    assert len(jobs) == 2 and jobs[0] == killed[0]
    until(lambda: not Path(f"/proc/{jobs[1]}").exists(), 20)  # cancelled with the grid


def test_a_stopped_grid_leaves_its_runs_on_the_workers(tiny_folder, tmp_path, cluster, caplog):
    cluster.add_worker()
    run = planned(tiny_folder, tmp_path, ENDLESS)[0]

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    threading.Thread(target=lambda: (until(lambda: is_under_way(run)), os.kill(os.getpid(), signal.SIGALRM))).start()
    try:
        with pytest.raises(KeyboardInterrupt), dask_jobs(cluster.address) as executor:
            run_grid([run], executor)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "1 runs continue on their workers until they end" in caplog.text and is_locked(run.path)
    cluster.close()
    until(lambda: not is_locked(run.path), 20)


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
def test_an_executor_that_cannot_start_is_a_user_error(tiny_folder, tmp_path, monkeypatch, flags, reason):
    monkeypatch.setattr("dedl_fastai.bench.grid.dask_clusters._CONNECT", 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    options = as_flags({**TINY, "data": tiny_folder, "out": tmp_path / "grid", "seeds": 1, "rows": "resnet18"})
    result = CliRunner().invoke(app, ["bench", "run", "table2", *options, *flags])
    assert result.exit_code == 2 and reason in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("setting", "reason"),
    [({"cores": None}, r"jobqueue\.yaml"), ({"queue": "nowhere"}, "SLURM refuses the job: invalid partition")],
)
def test_a_job_that_slurm_cannot_run_is_a_user_error(slurm, setting, reason):
    settings = {f"jobqueue.slurm.{k}": v for k, v in setting.items()}
    with dask.config.set(settings), pytest.raises(UserError, match=reason), slurm_jobs(1):
        pass
    assert not slurm.exists()
