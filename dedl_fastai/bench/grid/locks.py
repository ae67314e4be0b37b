"""`held`: a lock file for one process at a time; the kernel frees it when the process dies, even by kill -9."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(path: str | Path, wait: float = 0) -> Iterator[bool]:
    """Yield True while this process holds the lock at `path`, False if another one still has it after `wait` seconds.

    `wait=-1` waits until the lock is free. The lock is flock, which Linux forwards to the server for files on NFS, so
    that processes on several machines exclude each other. The empty file stays: if it were removed, two processes
    could hold two locks of the same name.
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
