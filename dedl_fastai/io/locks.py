"""Locks for one process at a time; the kernel frees them when the process dies, even by kill -9."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from .files import cache_root, remove_temporaries

log = logging.getLogger(__name__)


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


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Keep other commands from writing into a folder, and remove what killed ones left half-written in it.

    The lock is in the cache, because the folder need not exist yet. Raises `UserError` if another process has it.
    """
    path = Path(folder).expanduser().resolve()
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    with ExitStack() as stack:
        try:
            locks = cache_root() / "locks"
            locks.mkdir(parents=True, exist_ok=True)
            is_ours = stack.enter_context(held(locks / f"{name}.lock"))
        except OSError as e:
            log.warning("no lock can be kept in the cache (%s): start no second command for %s", e, path)
            yield
            return
        if not is_ours:
            raise UserError(f"another process writes into {path}: wait until it has ended, or choose another `out`.")
        remove_temporaries(path)
        yield


@contextmanager
def alone_at(lock: Path, what: str, wait: float = 30) -> Iterator[None]:
    """Keep other processes from working on `what` during the block, on all machines that share the disk of `lock`.

    The file is removed at the end. Another process gets `wait` seconds to end, such as one whose worker has just been
    killed; then a `UserError` is raised. A disk without locks keeps nobody away.
    """
    with ExitStack() as stack:
        try:
            is_ours = stack.enter_context(held(lock, wait))
        except OSError as e:
            log.debug("no lock can be kept at %s: %s", lock, e)
            yield
            return
        if not is_ours:
            raise UserError(f"{what}: another process works on it: repeat the command when it has ended.")
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()


def remove_if_free(lock: Path) -> None:
    """Remove the file of a lock of `alone_at` that a killed process has left; one that a process holds stays."""
    if not lock.exists():
        return
    with suppress(OSError), held(lock) as is_ours:
        if is_ours:
            lock.unlink()
