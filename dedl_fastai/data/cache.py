"""Cache of decoded and scaled fields: memory-mapped files that all loader workers share."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import UserError
from ..io.fields.zarr_field import files_of_folder, is_zarr
from ..io.files import cache_root, existing_file, written_whole
from ..io.masks import IGNORED, files_of_mask, holds_ids, mask_shape, read_labels, read_mask
from .cohort import Cohort
from .pixels import channels_of_row, read_scaled
from .scaling import PercentileScaling

log = logging.getLogger(__name__)
T = TypeVar("T")

_VERSION = 1  # increase it when decoding or scaling changes, so that old entries are no longer used
_lock = threading.Lock()  # held while an entry is written (fields may share a file) or its header is read


@dataclass(frozen=True)
class CachedField:
    """Paths of a field's decoded pixels, float32 (C, H, W) in [0, 1], its mask, uint8 (H, W), and its nuclei.

    Where the truth is unknown, mask (int8 then) and nuclei are `IGNORED`. "" stands for what was not asked for, or does
    not exist.
    """

    field: str
    pixels: str
    mask: str
    shape: tuple[int, int]
    nuclei: str = ""  # int32 (H, W): ids; -1 where the mask does not tell nuclei apart

    def open_pixels(self) -> np.ndarray:
        """Return the memory-mapped pixels: slicing reads only the slice, and nothing stays in memory afterwards."""
        return np.load(self.pixels, mmap_mode="r")

    def open_mask(self) -> np.ndarray:
        """Return the memory-mapped mask."""
        return np.load(self.mask, mmap_mode="r")

    def open_nuclei(self) -> np.ndarray:
        """Return the memory-mapped ids of the nuclei."""
        return np.load(self.nuclei, mmap_mode="r")


def cache_folder() -> Path:
    """Return the folder of decoded fields: in the variable DEDL_CACHE, else in the user's cache folder."""
    return cache_root() / "fields"


def cache_cohort(
    cohort: Cohort,
    channels: Sequence[str],
    scaling: PercentileScaling,
    folder: str | Path | None = None,  # default: `cache_folder()`
    ids: bool = False,  # also the ids of the nuclei
) -> list[CachedField]:
    """Decode and scale the fields of the cohort that are not cached yet, and return all in table order.

    Unreadable files, and masks that differ in size from their image, are collected into one `UserError`.
    """
    cache = Path(folder) if folder else cache_folder()
    fields = for_each(lambda row: _cached_field(row, channels, scaling, cache), cohort.rows())
    if not ids:
        return fields
    nuclei = for_each(lambda row: cached_array(row.mask, ["nuclei"], cache, lambda: _nuclei(row.mask)), cohort.rows())
    return [replace(field, nuclei=str(path)) for field, (path, _) in zip(fields, nuclei, strict=True)]


def cache_file(
    path: str | Path, channels: Sequence[str], scaling: PercentileScaling, folder: str | Path | None = None
) -> CachedField:
    """An image file as a field without a mask, decoded and scaled unless it is cached."""
    folder = Path(folder) if folder else cache_folder()
    settings = [*channels, scaling.to_dict()]
    pixels, shape = cached_array(path, settings, folder, lambda: read_scaled(path, channels, scaling))
    return CachedField(Path(path).stem, str(pixels), "", shape)


def for_each(work: Callable[[Any], T], rows: Sequence) -> list[T]:
    """Return `work(row)` for every row, run in threads; `UserError`s are collected and raised as one."""

    def attempt(row: Any) -> T | UserError:
        try:
            return work(row)
        except UserError as e:
            return e

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # decoding releases the interpreter lock
        results = list(pool.map(attempt, rows))
    errors = sorted(str(r) for r in results if isinstance(r, UserError))
    if errors:
        more = [f"(and {len(errors) - 5} more; `dedl-fastai data check` lists all)"] if len(errors) > 5 else []
        raise UserError(*errors[:5], *more)
    return [r for r in results if not isinstance(r, UserError)]


def cached_array(
    path: str | Path,
    settings: list[Any],  # everything besides the file that `make` depends on
    folder: Path,
    make: Callable[[], np.ndarray],
) -> tuple[Path, tuple[int, int]]:
    """Return the cached .npy file of the array that `make` derives from a file, and its (H, W); write it if absent."""
    entry = folder / f"{_key(path, settings)}.npy"
    if not entry.exists():
        _save(entry, make())
    return entry, _shape(entry)


def _cached_field(row: Any, channels: Sequence[str], scaling: PercentileScaling, folder: Path) -> CachedField:
    channels = channels_of_row(row, channels)
    settings: list[Any] = [*channels, scaling.to_dict()]
    pixels, shape = cached_array(row.image, settings, folder, lambda: read_scaled(row.image, channels, scaling))
    if not row.mask:
        return CachedField(row.field, str(pixels), "", shape)
    mask = folder / f"{_key(row.mask, ['mask'])}.npy"
    if not mask.exists():
        check_same_size(row.image, shape, row.mask, mask_shape(row.mask))
        _save(mask, read_mask(row.mask))
    check_same_size(row.image, shape, row.mask, _shape(mask))
    return CachedField(row.field, str(pixels), str(mask), shape)


def _nuclei(path: str | Path) -> np.ndarray:
    """The ids of the nuclei in a mask file, int32 (H, W); -1 in the foreground of a mask without ids."""
    labels = read_labels(path)
    if holds_ids(path, labels) is not False:
        return labels
    return np.where(labels > 0, -1, np.where(labels == IGNORED, IGNORED, 0)).astype(np.int32)


def check_same_size(image: str, shape: tuple[int, int], mask: str, other: tuple[int, int]) -> None:
    """Raise a `UserError` if a mask differs in size from its image."""
    if tuple(shape) != tuple(other):
        raise UserError(
            f"{mask} is {other[0]} x {other[1]} pixels and its image {image} {shape[0]} x {shape[1]}: the sizes must "
            f"agree."
        )


def _key(path: str | Path, settings: list[Any]) -> str:
    """Name of a cache entry: it changes with the path, the sizes and times of its files, and with the settings."""
    files = files_of_folder(Path(path)) if is_zarr(Path(path)) else files_of_mask(path)
    stat, *more = (existing_file(p).stat() for p in files)
    facts = [_VERSION, str(Path(path).resolve()), stat.st_size, stat.st_mtime_ns, settings]
    identity = json.dumps([*facts, *([s.st_size, s.st_mtime_ns] for s in more)], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _shape(path: Path) -> tuple[int, int]:
    """(H, W) of an entry. numpy parses the header with `ast`, which is not thread-safe in Python up to 3.11.7."""
    with _lock:
        return np.load(path, mmap_mode="r").shape[-2:]


def _save(path: Path, array: np.ndarray) -> None:
    with _lock, written_whole(path) as tmp, tmp.open("wb") as f:
        np.save(f, array)
