"""`stamp_of` and `stamp_of_open`: whether another process has written a file since it was read."""

import os
from pathlib import Path
from typing import IO, Any

Stamp = tuple[int, int] | None


def stamp_of(path: Path) -> Stamp:
    """Time and size of a file; None if there is none."""
    try:
        return _stamp(path.stat())
    except FileNotFoundError:
        return None


def stamp_of_open(file: IO[Any]) -> Stamp:
    """Time and size of an open file, also after another one has taken its place."""
    return _stamp(os.fstat(file.fileno()))


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size
