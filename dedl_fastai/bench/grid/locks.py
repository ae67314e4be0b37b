"""`held`: a lock file that one process at a time holds; the kernel frees it when that dies, even by kill -9."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(path: str | Path, wait: float = 0) -> Iterator[bool]:
    """Yield True while this process holds the lock at `path`, False if another one has it after `wait` seconds.

    With `wait` -1 it waits until it is free. It is flock, which Linux passes on to the server for files on NFS:
    processes on several machines exclude each other. The empty file stays: removing it would let two processes hold
    two locks of one name.
    """
    lock = FileLock(path, timeout=wait)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
