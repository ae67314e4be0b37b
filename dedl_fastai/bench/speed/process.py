"""`in_own_process`: call a function in a fresh process, to measure its peak memory with `peak_mb`."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def in_own_process(function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(*args)`, called in a new process; raises `BrokenProcessPool` if the process dies."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage begins with the memory of the process that started this one
        kb = float(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
    else:
        kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return round(kb / 1024, 1)
