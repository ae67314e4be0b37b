"""Processes that start at once: forked from one that has imported the package, which takes seconds each time."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["dedl_fastai.all", "distributed"])  # those that are installed


class Forked:
    """`function(*args)` in a process with the environment, or another one; has what tests use of `Popen`."""

    def __init__(self, function: Callable[..., Any], *args: Any, env: Mapping[str, str] | None = None):
        self.folder = Path(tempfile.mkdtemp(prefix="dedl-forked-"))
        os.mkfifo(self.folder / "stdin")
        call = (str(Path.cwd()), dict(env or os.environ), str(self.folder), function, args)
        self._process = _SERVER.Process(target=_called, args=call)
        self._process.start()
        self.pid, self.args = self._process.pid, [function.__name__, *args]
        self.stdin = (self.folder / "stdin").open("w")  # waits for the process

    @property
    def returncode(self) -> int | None:
        """The exit code, -N if signal N ended it; None while it runs."""
        return self._process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, and return what the process wrote to stdout and to stderr."""
        self.wait(timeout)
        return (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text()


def forked_command(*args: object, env: Mapping[str, str] | None = None) -> Forked:
    """Start `dedl-fastai` with these arguments."""
    return Forked(_command, *map(str, args), env=env)


@contextmanager
def forked_workers() -> Iterator[None]:
    """Fork the processes that carry out the runs of a grid, on this machine or on the Dask worker that this is."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("local_jobs", "dask_workers"):
            patch.setattr(f"dedl_fastai.bench.grid.{module}.start_worker", _worker)
        yield


def _worker(run: Mapping[str, Any], log: Any, env: Mapping[str, str]) -> Forked:
    from dedl_fastai.bench.grid.worker import main

    process = Forked(main, env=env)
    process.stdin.write(json.dumps(run) + "\n")
    process.stdin.flush()
    return process


def _command(*args: str) -> None:
    from dedl_fastai.cli import main

    sys.argv = ["dedl-fastai", *args]
    main()


def _called(cwd: str, env: dict[str, str], folder: str, function: Callable[..., Any], args: tuple) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job, such as a suite, may ignore
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(os.open(f"{folder}/stdin", os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    function(*args)
