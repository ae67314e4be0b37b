"""Fields decoded and scaled once, as memory-mapped files that all loader workers share."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import platformdirs

from ..errors import UserError
from ..io.files import existing_file, written_whole
from ..io.masks import mask_shape, read_mask
from .cohort import Cohort
from .pixels import read_scaled
from .scaling import PercentileScaling

log = logging.getLogger(__name__)
T = TypeVar("T")

_VERSION = 1  # of what is cached; a change of the decoding or scaling code makes old entries unused
_one_at_a_time = threading.Lock()  # held while an entry is written (fields may share a file) or its header is read


@dataclass(frozen=True)
class CachedField:
    """Paths of a field's decoded pixels, (C, H, W) float32 in [0, 1], and mask, (H, W) uint8 ("" if it has none)."""

    field: str
    pixels: str
    mask: str
    shape: tuple[int, int]

    def open_pixels(self) -> np.ndarray:
        """The pixels, memory-mapped: slicing reads just the slice, and nothing stays in memory afterwards."""
        return np.load(self.pixels, mmap_mode="r")

    def open_mask(self) -> np.ndarray:
        """The mask, memory-mapped."""
        return np.load(self.mask, mmap_mode="r")


def cache_folder() -> Path:
    """Where decoded fields lie: the variable DEDL_CACHE, else the user's cache folder."""
    return Path(os.environ.get("DEDL_CACHE") or platformdirs.user_cache_path("dedl_fastai")) / "fields"


def cache_cohort(
    cohort: Cohort,
    channels: Sequence[str],
    scaling: PercentileScaling,
    folder: str | Path | None = None,  # default: `cache_folder()`
) -> list[CachedField]:
    """Decode and scale every field of the cohort that is not cached yet; in table order.

    Files that cannot be read, and masks of another size than their image, are collected into one `UserError`.
    """
    folder = Path(folder) if folder else cache_folder()
    return for_each(lambda row: _cached_field(row, channels, scaling, folder), list(cohort.table.itertuples()))


def cache_file(
    path: str | Path, channels: Sequence[str], scaling: PercentileScaling, folder: str | Path | None = None
) -> CachedField:
    """An image file as a field without a mask, decoded and scaled unless it is cached."""
    folder = Path(folder) if folder else cache_folder()
    settings = [*channels, scaling.to_dict()]
    pixels, shape = cached_array(path, settings, folder, lambda: read_scaled(path, channels, scaling))
    return CachedField(Path(path).stem, str(pixels), "", shape)


def for_each(work: Callable[[Any], T], rows: Sequence) -> list[T]:
    """`work(row)` for every row, several at a time; the files that do not read are collected into one `UserError`."""
    errors: list[str] = []

    def attempt(row) -> T | None:
        try:
            return work(row)
        except UserError as e:
            errors.append(str(e))
            return None

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # decoding releases the interpreter lock
        results = list(pool.map(attempt, rows))
    if errors:
        more = f"\n(and {len(errors) - 5} more; `dedl-fastai data check` lists all)" if len(errors) > 5 else ""
        raise UserError("\n".join(sorted(errors)[:5]) + more)
    return results


def cached_array(
    path: str | Path,
    settings: list,  # all that decides what `make` makes of the file
    folder: Path,
    make: Callable[[], np.ndarray],
) -> tuple[Path, tuple[int, int]]:
    """The .npy file of what is made of a file, made unless it is there, and its (H, W)."""
    entry = folder / f"{_key(path, settings)}.npy"
    if not entry.exists():
        _save(entry, make())
    return entry, _shape(entry)


def _cached_field(row, channels: Sequence[str], scaling: PercentileScaling, folder: Path) -> CachedField:
    settings = [*channels, scaling.to_dict()]
    pixels, shape = cached_array(row.image, settings, folder, lambda: read_scaled(row.image, channels, scaling))
    if not row.mask:
        return CachedField(row.field, str(pixels), "", shape)
    mask = folder / f"{_key(row.mask, ['mask'])}.npy"
    if not mask.exists():
        check_same_size(row.image, shape, row.mask, mask_shape(row.mask))
        _save(mask, read_mask(row.mask))
    check_same_size(row.image, shape, row.mask, _shape(mask))
    return CachedField(row.field, str(pixels), str(mask), shape)


def check_same_size(image: str, shape: tuple[int, int], mask: str, other: tuple[int, int]) -> None:
    """Raise a `UserError` if a mask has another size than its image."""
    if tuple(shape) != tuple(other):
        raise UserError(
            f"{mask} is {other[0]} x {other[1]} pixels and its image {image} {shape[0]} x {shape[1]}: they must agree."
        )


def _key(path: str | Path, settings: list) -> str:
    """Name of a cache entry: it changes with the file's place, size and time, and with what is made of it."""
    stat = existing_file(path).stat()
    identity = json.dumps(
        [_VERSION, str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns, settings], sort_keys=True
    )
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _shape(path: Path) -> tuple[int, int]:
    """(H, W) of an entry. numpy parses the header with `ast`, in which Python up to 3.11.7 fails in threads."""
    with _one_at_a_time:
        return np.load(path, mmap_mode="r").shape[-2:]


def _save(path: Path, array: np.ndarray) -> None:
    with _one_at_a_time, written_whole(path) as tmp, tmp.open("wb") as f:
        np.save(f, array)
