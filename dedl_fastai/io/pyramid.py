"""Blocks of the coarser levels of an image, read region by region from the finest one: nearest pixels or means."""

from collections.abc import Callable

import numpy as np

_BAND_PIXELS = 1 << 22  # pixels that are read at a time for a tile of a coarse level

ReadRegion = Callable[[int, int, int, int, int], np.ndarray]  # (channel, y0, y1, x0, x1) -> (y1 - y0, x1 - x0)


def count_levels(edge: int, tile: int) -> int:
    """Return how often an image with this longer edge is halved until it fits a tile."""
    n = 0
    while -(-edge // 2**n) > tile:
        n += 1
    return n


def level_size(full: tuple[int, int], level: int) -> tuple[int, int]:
    """Return (h, w) of a level; 0 is the full size, and each level halves the one before."""
    return -(-full[0] // 2**level), -(-full[1] // 2**level)


def nearest_block(
    read: ReadRegion, channel: int, level: int, block: tuple[int, int, int, int], full: tuple[int, int]
) -> np.ndarray:
    """Return every 2**level-th pixel of the block (y0, y1, x0, x1) of a level, read in bands of at most a few tiles."""
    y0, y1, x0, x1 = block
    step = 2**level
    right = min(x1 * step, full[1])
    rows = max(1, _BAND_PIXELS // (right - x0 * step) // step)
    bands = []
    for top in range(y0, y1, rows):
        bottom = min(min(top + rows, y1) * step, full[0])
        bands.append(np.array(read(channel, top * step, bottom, x0 * step, right)[::step, ::step]))
    return np.concatenate(bands)


def mean_block(
    read: ReadRegion, channel: int, level: int, block: tuple[int, int, int, int], full: tuple[int, int]
) -> np.ndarray:
    """Return the block (y0, y1, x0, x1) of a level as means of 2 x 2 pixels of the finer level, read in quarters."""
    y0, y1, x0, x1 = block
    if level == 0:
        return np.asarray(read(channel, y0, y1, x0, x1), dtype=np.float32)
    height, width = (-(-n // 2 ** (level - 1)) for n in full)
    out = np.empty((y1 - y0, x1 - x0), np.float32)
    for top, bottom in _halves(y0, y1):
        for left, right in _halves(x0, x1):
            finer = (2 * top, min(2 * bottom, height), 2 * left, min(2 * right, width))
            pixels = mean_block(read, channel, level=level - 1, block=finer, full=full)
            out[top - y0 : bottom - y0, left - x0 : right - x0] = _halved(pixels)
    return out


def _halves(start: int, stop: int) -> list[tuple[int, int]]:
    middle = (start + stop) // 2
    return [(start, middle), (middle, stop)] if start < middle else [(start, stop)]


def _halved(a: np.ndarray) -> np.ndarray:
    if a.shape[0] % 2 or a.shape[1] % 2:
        a = np.pad(a, ((0, a.shape[0] % 2), (0, a.shape[1] % 2)), mode="edge")
    return (a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]) * np.float32(0.25)
