"""The part of a grid that runs on a Dask worker: the process of each run.

It imports the standard library alone: Dask restarts a worker whose own memory grows, so that runs have processes of
their own.
"""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from ...cluster.on_worker import WHOLE_WORKER, n_threads
from .worker_process import start_worker

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_STOPPED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # as at the end of a SLURM job: the run can be continued
_EXITS = (0, 1, 75)  # of a process that wrote how its run ended, or found the run locked: `worker.main`


def carry_on_worker(run: dict[str, Any]) -> None:
    """Carry out a run in a process with as many threads as the worker has; other runs sent to the worker wait.

    Raises `CalledProcessError` if the process crashes. If the worker is killed, the process ends too: its stdin closes.
    """
    threads = dict.fromkeys(_THREADS, str(n_threads()))
    with WHOLE_WORKER, (Path(run["folder"]) / "log.txt").open("a", encoding="utf-8") as log:
        process = start_worker(run, log, {**os.environ, "MPLBACKEND": "Agg", **threads})
        code = process.wait()
    if code not in _EXITS and -code not in _STOPPED:
        raise subprocess.CalledProcessError(code, process.args)
