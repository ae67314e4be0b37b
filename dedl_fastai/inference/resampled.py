"""Fields that are magnified or reduced for the network, and their predictions back in the field's own pixels.

Rows are resampled as they are needed, so that a slide is never in memory as a whole.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from .rolling_rows import RollingRows
from .window import Band, FieldPixels


def bands_at_scale(
    bands_of: Callable[[FieldPixels], Iterable[Band]], pixels: FieldPixels, scale: float = 1.0
) -> Iterator[Band]:
    """Yield the bands that a model predicts of a field magnified by `scale`, in the pixels of the field itself."""
    if scale == 1:
        yield from bands_of(pixels)
    else:
        magnified = ResampledPixels(pixels, scale)
        yield from _in_own_pixels(bands_of(magnified), from_shape=magnified.shape[1:], to_shape=pixels.shape[1:])


class ResampledPixels:
    """Scaled pixels (C, H, W) of a field, magnified by a factor; rows are computed when they are sliced."""

    def __init__(self, pixels: FieldPixels, factor: float):
        channels, *shape = pixels.shape
        height, width = (max(1, round(length * factor)) for length in shape)
        self.pixels, self.shape = pixels, (channels, height, width)
        self._rows, self._columns = resampling(shape[0], height), resampling(shape[1], width)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows of all channels, as `pixels[:, y0:y1]`."""
        rows = self._rows[key[1]]
        y0, y1 = rows.indices.min(), rows.indices.max() + 1
        part = self.pixels[:, y0:y1]
        return np.stack([_resampled(plane, rows[:, y0:y1], self._columns) for plane in part])


def resampling(n_from: int, n_to: int) -> csr_array:
    """Weights (n_to, n_from) that resample a row of pixels: linear, and averaging where the result is coarser.

    As Pillow's bilinear resizing: the weights of a pixel fall linearly to 0 at the distance of a pixel of the coarser
    of both rows.
    """
    step = n_from / n_to
    width = max(step, 1.0)
    centres = (np.arange(n_to) + 0.5) * step - 0.5
    nearby = np.floor(centres - width)[:, None].astype(np.int64) + np.arange(int(2 * np.ceil(width)) + 2)
    weights = np.maximum(0, 1 - np.abs(nearby - centres[:, None]) / width)
    weights[(nearby < 0) | (nearby >= n_from)] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    row, column = np.nonzero(weights)
    return csr_array((weights[row, column].astype(np.float32), (row, nearby[row, column])), shape=(n_to, n_from))


def _resampled(plane: np.ndarray, rows: csr_array, columns: csr_array) -> np.ndarray:
    return np.ascontiguousarray((columns @ (rows @ plane).T).T, dtype=np.float32)


def _in_own_pixels(bands: Iterable[Band], from_shape: tuple[int, ...], to_shape: tuple[int, ...]) -> Iterator[Band]:
    """Resample the planes of bands; a row is yielded as soon as the rows that it is computed from are there."""
    rows, columns = (resampling(n_from, n_to) for n_from, n_to in zip(from_shape, to_shape, strict=True))
    first, last = rows.indices[rows.indptr[:-1]], rows.indices[rows.indptr[1:] - 1]
    waiting: RollingRows | None = None
    y0 = 0
    for band in bands:
        planes = np.concatenate([p for p in (band.mean[None], band.maps, _plane(band.sd)) if p is not None])
        waiting = waiting or RollingRows((len(planes),), from_shape[1])
        waiting.append(planes)
        y1 = int(np.searchsorted(last, waiting.bottom))
        if y1 > y0:
            top = waiting.top
            weights = rows[y0:y1][:, top : waiting.bottom]
            done = np.stack([_resampled(p, weights, columns) for p in waiting[top : waiting.bottom]])
            n_maps = len(band.maps)
            yield Band(y0, done[0], done[-1] if band.sd is not None else None, done[1 : 1 + n_maps])
            y0 = y1
            if y0 < to_shape[0]:
                waiting.drop(int(first[y0]))


def _plane(sd: np.ndarray | None) -> np.ndarray | None:
    return None if sd is None else sd[None]
