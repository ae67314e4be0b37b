"""Waiting for another process."""

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], timeout: float = 120) -> None:
    """Return once the condition holds; fail after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)
