"""A Dask cluster whose scheduler and workers are processes that start at once, and can be killed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..bench.waiting import until
from ..forked import Forked, forked_workers

LOCAL = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")


class Cluster:
    """`dask scheduler` and `dask worker`."""

    def __init__(self, folder: Path, *options: str):
        self.file, self.options = folder / "scheduler.json", options
        self.scheduler = Forked(_dask, "scheduler", str(self.file), "--port", "0", *LOCAL, *options)
        self.workers: list[Forked] = []
        self.address = until(self._address)

    def _address(self) -> str | None:
        """The scheduler's address; None until its file is complete (it is not written in one step)."""
        try:
            return json.loads(self.file.read_text())["address"]
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def add_worker(self, before: Callable[..., Any] | None = None, *args: str) -> Forked:
        """Start a worker, which calls `before(*args)` first."""
        options = ("--nthreads", "1", "--no-nanny", *LOCAL, *self.options)
        self.workers.append(Forked(_worker, str(self.file), options, before, args))
        return self.workers[-1]

    def kill_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers = []

    def close(self) -> None:
        self.kill_workers()
        self.scheduler.kill()
        self.scheduler.wait()


@contextmanager
def running_cluster(folder: Path, *options: str) -> Iterator[Cluster]:
    cluster = Cluster(folder, *options)
    try:
        yield cluster
    finally:
        cluster.close()


def _dask(what: str, file: str, *options: str) -> None:
    from importlib import import_module

    main = import_module(f"distributed.cli.dask_{what}").main
    main(["--scheduler-file", file, *options])


def _worker(file: str, options: tuple[str, ...], before: Callable[..., Any] | None, args: tuple[str, ...]) -> None:
    if before:
        before(*args)
    with forked_workers():
        _dask("worker", file, *options)
