"""The part of a grid that runs on a Dask worker: a check of the worker, and the process of each run.

It imports the standard library alone: Dask restarts a worker whose own memory grows, so that runs have processes of
their own.
"""

import importlib.metadata
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .worker_process import start_worker

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_STOPPED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # as at the end of a SLURM job: the run can be continued
_EXITS = (0, 1, 75)  # of a process that wrote how its run ended, or found the run locked: `worker.main`
_WHOLE_WORKER = threading.Lock()


def what_it_sees(probe: str, data: Sequence[str], packages: Sequence[str]) -> str | dict[str, str]:
    """Check a worker: return its versions of the packages, or a half-sentence that says what is wrong.

    The worker must be able to read the data and `probe`, a file in the grid's folder, and to write to that folder.
    """
    folder = Path(probe).parent
    missing = [p for p in data if not Path(p).exists()] if Path(probe).exists() else [folder]
    if missing:
        return f"does not see {missing[0]}: grid and data must be on a file system that all workers share"
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        return f"cannot write to {folder}: {e}"
    versions = dict.fromkeys(packages, "")
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def carry_on_worker(run: dict[str, Any]) -> None:
    """Carry out a run in a process with as many threads as the worker has; other runs sent to the worker wait.

    Raises `CalledProcessError` if the process crashes. If the worker is killed, the process ends too: its stdin closes.
    """
    from distributed import get_worker

    # Dask sets these to 1 for tasks that share its process.
    threads = dict.fromkeys(_THREADS, str(get_worker().state.nthreads))
    with _WHOLE_WORKER, (Path(run["folder"]) / "log.txt").open("a", encoding="utf-8") as log:
        process = start_worker(run, log, {**os.environ, "MPLBACKEND": "Agg", **threads})
        code = process.wait()
    if code not in _EXITS and -code not in _STOPPED:
        raise subprocess.CalledProcessError(code, process.args)
