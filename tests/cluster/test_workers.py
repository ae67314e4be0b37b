"""Tasks for workers: which workers are used, what happens when one dies, and what a worker says of itself."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from dedl_fastai.cluster import workers as workers_module
from dedl_fastai.cluster.on_worker import what_it_sees
from dedl_fastai.cluster.workers import Task, Workers, WorkersDiedError

pytest.importorskip("distributed")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(workers_module, "_POLL", 0)


class StubClient:
    """A client whose tasks are carried out at once in this process, or never end."""

    def __init__(self, answers: Any, ends: Callable[[], bool] = lambda: True):
        self.answers, self.submitted, self.ends = answers, [], ends

    def nthreads(self):
        return dict.fromkeys(self.answers() if callable(self.answers) else self.answers, 1)

    def run(self, function, *args, workers, on_error):
        return {w: function(*args) if callable(self.answers) else self.answers[w] for w in workers}

    def submit(self, function, *args, key, workers):
        self.submitted += workers
        if not self.ends():
            return SimpleNamespace(done=lambda: False, cancel=lambda: None)
        try:
            value = function(*args)
        except Exception as e:
            return SimpleNamespace(done=lambda: True, status="error", exception=lambda e=e: e)
        return SimpleNamespace(done=lambda: True, status="finished", result=lambda timeout: value)


def square(n: int) -> int:
    return n * n


def tasks(*numbers: int) -> list[Task]:
    return [Task(str(n), f"number {n}", square, (n,)) for n in numbers]


def carried_out(client, tmp_path, *numbers, keep_up=lambda: None):
    return {e.name: e for e in Workers(client, keep_up).carry_out(tasks(*numbers), tmp_path, [])}


def test_unusable_workers_are_left_out(tmp_path, caplog):
    answers = {"a": "does not see /data", "b": {"torch": "0.1"}, "c": ModuleNotFoundError("no dedl_fastai")}
    client = StubClient(answers)
    assert {n: e.value for n, e in carried_out(client, tmp_path, 2, 3).items()} == {"2": 4, "3": 9}
    assert client.submitted == ["b", "b"]
    assert "worker a is not used: it does not see /data" in caplog.text
    assert "worker c is not used: it cannot load this version of dedl-fastai" in caplog.text
    assert "worker b has other versions than this process: torch 0.1" in caplog.text


def test_it_is_logged_that_only_refused_workers_are_left(tmp_path, caplog):
    answers, looks = {"a": {}, "b": "does not see /data"}, iter(range(100))

    def ends():
        if client.submitted == ["a"]:
            del answers["a"]  # it dies of its first task
        return client.submitted != ["a"]

    def keep_up():
        assert next(looks, None) is not None, "it waits in silence"
        if "no worker that can be used: waiting for one" in caplog.text:
            answers["c"] = {}

    client = StubClient(answers, ends)
    assert carried_out(client, tmp_path, 2, keep_up=keep_up)["2"].value == 4
    assert client.submitted == ["a", "c"]
    assert caplog.text.count("waiting for one") == 1
    assert "the Dask worker a is gone: number 2 is continued on another one" in caplog.text


def test_an_error_ends_its_task_and_no_other(tmp_path):
    ended = carried_out(StubClient({"a": {}}), tmp_path, "no number", 3)
    assert isinstance(ended["no number"].error, TypeError) and ended["3"].value == 9


@pytest.mark.parametrize("progress", [0, 4])
def test_a_task_that_no_worker_survives_fails(tmp_path, progress):
    names, steps, done = iter(range(100)), iter(range(progress)), [0]

    class Lasting(Task):
        def progress(self):
            return done[0]

    def never():
        done[0] += next(steps, None) is not None
        return False

    client = StubClient(lambda: [f"worker-{next(names)}"], never)  # another one at every look
    (ended,) = Workers(client).carry_out([Lasting("2", "number 2", square, (2,))], tmp_path, [])
    assert isinstance(ended.error, WorkersDiedError) and "3 Dask workers died" in str(ended.error)
    assert len(client.submitted) == (progress + 2 if progress else 3)  # a death after progress is the first of three


def test_a_task_that_is_not_needed_is_not_sent(tmp_path):
    class Done(Task):
        def is_needed(self):
            return False

    client = StubClient({"a": {}})
    ended = list(Workers(client).carry_out([Done("2", "number 2", square, (2,)), *tasks(3)], tmp_path, []))
    assert [(e.name, e.value) for e in ended] == [("2", None), ("3", 9)] and client.submitted == ["a"]


def test_what_a_worker_sees(tmp_path):
    probe = tmp_path / "probe"
    assert what_it_sees(str(probe), [], []).startswith(f"does not see {tmp_path}: ")
    probe.touch()
    assert what_it_sees(str(probe), [str(tmp_path / "data")], []).startswith(f"does not see {tmp_path / 'data'}: ")
    versions = what_it_sees(str(probe), [str(tmp_path)], ["torch", "no-such-package"])
    assert versions == {"torch": importlib.metadata.version("torch"), "no-such-package": ""}
    assert list(tmp_path.iterdir()) == [probe]


def test_a_dask_worker_does_not_load_torch():
    modules = "dedl_fastai.cluster.on_worker, dedl_fastai.bench.grid.dask_workers"
    code = f"import sys, {modules}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]
