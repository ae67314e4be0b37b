"""Writing of files whole or not at all, and checks of input files; the errors name the file, fault and remedy."""

import errno
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from ..errors import UserError

_TEMPORARY = re.compile(r"\..*\.\d+-\d+\.part(\..*)?", re.DOTALL)  # the names that `written_whole` gives


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block succeeds, remove it if it fails.

    A full disk becomes a `UserError` that names `path`; an existing file at `path` is then left unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{threading.get_ident()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        temporary.replace(path)
    except OSError as e:
        raise _write_error(path, e) from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; rename it to `path` if the block succeeds, remove it if it fails."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(".part", f".{path.name}.", path.parent))
    except OSError as e:
        raise _write_error(path, e) from e
    try:
        temporary.chmod(0o755)  # as other folders: `mkdtemp` makes private ones
        yield temporary
        temporary.replace(path)
    except OSError as e:
        if not path.is_dir():  # else another process has made the same folder meanwhile
            raise _write_error(path, e) from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_is_new(path: str | Path) -> None:
    """Raise a `UserError` if there is a file or folder at `path`: a folder is not replaced by another."""
    if Path(path).exists():
        raise UserError(f"{path} exists already: remove it, or choose another name.")


def _to_disk(path: Path) -> None:
    """Wait until the contents are on the disk: a renamed file could be empty after a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_temporary(path: Path) -> bool:
    """True for a file that `written_whole` has not renamed yet, or never will, because its process was killed."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_temporaries(folder: Path) -> None:
    """Remove the half-written files in a folder and in the folders in it; no other process may be writing there."""
    for path in [*folder.glob(".*.part*"), *folder.glob("*/.*.part*")]:
        if is_temporary(path):
            with suppress(OSError):
                path.unlink()


def cache_root() -> Path:
    """Return the folder of everything that is kept between commands: the variable DEDL_CACHE, else the user's cache."""
    return Path(os.environ.get("DEDL_CACHE") or platformdirs.user_cache_path("dedl_fastai"))


def _write_error(path: Path, e: OSError) -> OSError | UserError:
    reasons = {
        errno.ENOSPC: "the disk is full: free some space and run the same command again",
        errno.EDQUOT: "your disk quota is used up: free some space and run the same command again",
        errno.EACCES: "writing there is not permitted: choose another folder",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOTDIR: "a part of that path is a file, not a folder: choose another folder",
        errno.EEXIST: "a part of that path is a file, not a folder: choose another folder",
    }
    return UserError(f"{path} could not be written: {reasons[e.errno]}.") if e.errno in reasons else e


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with written_whole(path) as tmp:
        tmp.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")  # names that are not UTF-8


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the JSON value in `path`; raise a `UserError` if the file is missing or broken."""
    path = existing_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path} is not valid JSON ({e}): restore it or remove it.") from e


def read_json_object(path: str | Path, *needed: str) -> dict[str, Any]:
    """Return the JSON object in `path`; raise a `UserError` if it is none, or lacks a name that is needed."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a JSON {type(value).__name__} instead of an object: restore it or remove it.")
    missing = [name for name in needed if name not in value]
    if missing:
        raise UserError(f"{path} has no {missing[0]!r}: another program wrote or changed it. Restore it or remove it.")
    return value


def move_over(new: Path, target: Path) -> None:
    """Move a file or folder to `target`, in place of what is there."""
    if target.is_dir():  # a folder is not replaced by another
        shutil.rmtree(target)
    new.replace(target)


def existing_file(path: str | Path) -> Path:
    """Return `path` as a Path; raise a `UserError` if it is not a file or is empty."""
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder, but a file is needed.")
        if not path.exists():
            raise UserError(f"{path} does not exist.")
        if not path.is_file():
            raise UserError(f"{path} is a pipe or a device, but a file is needed.")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty (0 bytes): copy or export it again.")
        path.open("rb").close()
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}.") from e
    return path


def existing_dir(path: str | Path) -> Path:
    """Return `path` as a Path; raise a `UserError` if it is not a folder."""
    path = Path(path)
    try:
        if path.is_file():
            raise UserError(f"{path} is a file, but a folder is needed.")
        if not path.exists():
            raise UserError(f"{path} does not exist.")
        next(path.iterdir(), None)
    except OSError as e:
        raise UserError(f"{path} cannot be read: {e.strerror}.") from e
    return path
