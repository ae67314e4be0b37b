"""`in_own_process`: call a function in a fresh process, so that its peak memory is its own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_own_process(function: Callable, *args: Any) -> Any:
    """What `function(*args)` returns in a new process; a process that dies raises `BrokenProcessPool`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()
