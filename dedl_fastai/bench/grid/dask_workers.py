"""What happens on a Dask worker: a look at whether it can carry out the runs of a grid, and the process of a run.

A Dask worker loads this module: it needs nothing but the standard library, since Dask restarts a worker whose own
memory grows, and a run has a process of its own.
"""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_STOPPED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # as at the end of a SLURM job: the run can go on
_EXITS = (0, 1, 75)  # of a process that wrote how its run ended, or found it taken: bench.worker
_WHOLE_WORKER = threading.Lock()


def what_it_sees(probe: str, data: Sequence[str], packages: Sequence[str]) -> str | dict[str, str]:
    """What is wrong, as a half-sentence, or the versions of the packages.

    The worker has to see the data and `probe`, a file in the grid's folder, and to write beside that.
    """
    folder = Path(probe).parent
    missing = [p for p in data if not Path(p).exists()] if Path(probe).exists() else [folder]
    if missing:
        return f"does not see {missing[0]}: grid and data have to lie on a file system that all workers share"
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        return f"cannot write into {folder}: {e}"
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
    command = [sys.executable, "-m", "dedl_fastai.bench.grid.worker"]
    with _WHOLE_WORKER, (Path(run["folder"]) / "log.txt").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            text=True,
            env={**os.environ, "MPLBACKEND": "Agg", **threads},
            start_new_session=True,  # Ctrl-C is for the worker
        )
        process.stdin.write(json.dumps(run) + "\n")
        process.stdin.flush()
        code = process.wait()
    if code not in _EXITS and -code not in _STOPPED:
        raise subprocess.CalledProcessError(code, command)
