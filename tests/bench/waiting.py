"""Waiting for another process."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], timeout: float = 120) -> T:
    """Return the condition's value once it is true; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)
    return value
