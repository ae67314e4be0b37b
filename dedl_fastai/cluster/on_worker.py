"""What runs on a Dask worker whatever its tasks are: a check of the worker. Imports the standard library alone."""

import gc
import importlib.metadata
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

WHOLE_WORKER = threading.Lock()  # held by a task: each has all threads and the memory of the worker
KEPT: dict[str, Any] = {}  # what tasks leave in memory for the next one


def forget() -> None:
    """Release what tasks have left in memory, that of the GPU included."""
    KEPT.clear()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def n_threads() -> int:
    """Return the number of threads of the worker that this is; Dask gives each library one, for tasks side by side."""
    from distributed import get_worker

    return get_worker().state.nthreads


def what_it_sees(probe: str, needs: Sequence[str], packages: Sequence[str]) -> str | dict[str, str]:
    """Check a worker: return its versions of the packages, or a half-sentence that says what is wrong.

    The worker must be able to read `probe`, a file in the folder of the results, and the files and folders that the
    tasks need, and to write to the folder of the results.
    """
    folder = Path(probe).parent
    missing = [p for p in needs if not Path(p).exists()] if Path(probe).exists() else [folder]
    if missing:
        return f"does not see {missing[0]}: data and results must be on a file system that all workers share"
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        return f"cannot write to {folder}: {e}"
    versions = dict.fromkeys(packages, "")
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
