"""`loader_speed`: time of an epoch of tiles from the cache, from TIFFs decoded for each tile, and from .npy tiles."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from ...data.cache import CachedField, cache_cohort
from ...data.cohort import Cohort
from ...data.demo.cohort import FULL_SIZE, demo_cohort
from ...data.scaling import PercentileScaling
from ...data.tiles import Tile, cut, grid, tiles_of
from .process import in_own_process, peak_mb


def loader_speed(fields: int = 2, size: tuple[int, int] = FULL_SIZE, tile: int = 480, bs: int = 16) -> dict[str, Any]:
    """Time an epoch over synthetic component TIFFs (8 channels), without a model, for three ways to read them.

    "cache" is that of this package; "decode" reads every page of the TIFF for each tile; "npy" first writes each tile
    to a file and then reads the files. Peak resident memory of an epoch is measured in separate processes, for the
    fields once and four times.
    """
    with tempfile.TemporaryDirectory(prefix="dedl-bench-") as folder:
        cohort = demo_cohort(Path(folder) / "cohort", fields, min(fields, 7), size)
        prepare, cached = _timed(lambda: cache_cohort(cohort, ["DAPI"], PercentileScaling(), Path(folder) / "cache"))
        tiles = tiles_of(cached, tile)
        of_cache = _epoch(lambda t: (t.pixels(), t.mask()), tiles, bs)
        of_tiff = _epoch(lambda t: _decoded(cohort, cached, t), tiles, bs)
        prepare_npy, files = _timed(lambda: _write_tiles(cohort, tile, Path(folder) / "tiles"))
        of_npy = _epoch(lambda f: (np.load(f[0]), np.load(f[1])), files, bs)
        return {
            "tiles": len(tiles),
            "size": list(size),
            "seconds": {
                "cache": round(of_cache, 3),
                "cache_first": round(prepare, 3),
                "decode": round(of_tiff, 3),
                "npy": round(of_npy, 3),
                "npy_first": round(prepare_npy, 3),
            },
            "decode_over_cache": round(of_tiff / of_cache, 1),
            "npy_over_cache": round((prepare_npy + of_npy) / of_cache, 1),
            "peak_mb": {"fields": _peak_mb(tiles, bs), "four_times_the_fields": _peak_mb(tiles * 4, bs)},
        }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    value = work()
    return time.perf_counter() - started, value


def _epoch(read: Callable[[Any], tuple[np.ndarray, np.ndarray]], items: list[Any], bs: int) -> float:
    """Seconds to read all items in random order and to collate them into batches of tensors."""
    order = np.random.default_rng(0).permutation(len(items))
    started = time.perf_counter()
    for i in range(0, len(order), bs):
        pairs = [read(items[k]) for k in order[i : i + bs]]
        for arrays in zip(*pairs, strict=True):
            torch.from_numpy(np.stack(arrays))
    return time.perf_counter() - started


def _decoded(cohort: Cohort, cached: list[CachedField], tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Read a tile without a cache: decode the whole file with all channels; the tile is not scaled."""
    row = cohort.table.iloc[cached.index(tile.source)]
    pixels, mask = tifffile.imread(row.image)[:1], tifffile.imread(row["mask"]) > 0
    return (
        cut(pixels, tile.y, tile.x, size=tile.size, pad=tile.pad),
        cut(mask, tile.y, tile.x, size=tile.size, pad=tile.pad),
    )


def _write_tiles(cohort: Cohort, tile: int, folder: Path) -> list[tuple[Path, Path]]:
    folder.mkdir()
    files = []
    for i, image, truth in zip(cohort.table.index, cohort.table["image"], cohort.table["mask"], strict=True):
        pixels, mask = PercentileScaling()(tifffile.imread(image)[0])[None], tifffile.imread(truth) > 0
        for y, x in grid(mask.shape, tile):
            pair = folder / f"{i}_{y}_{x}.npy", folder / f"{i}_{y}_{x}_mask.npy"
            np.save(pair[0], cut(pixels, y, x, size=tile, pad="reflect"))
            np.save(pair[1], cut(mask, y, x, size=tile, pad="reflect"))
            files.append(pair)
    return files


def _peak_mb(tiles: list[Tile], bs: int) -> float:
    """Peak resident memory of a fresh process that reads an epoch, in MB."""
    return in_own_process(_read_all, tiles, bs)


def _read_all(tiles: list[Tile], bs: int) -> float:
    _epoch(lambda t: (t.pixels(), t.mask()), tiles, bs)
    return peak_mb()
