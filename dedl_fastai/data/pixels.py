"""Pixels of a field as input of a model: selected channels, checked for NaN, scaled to [0, 1], whole or by rows."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from .scaling import PercentileScaling, stretched

log = logging.getLogger(__name__)

WHOLE_PIXELS = 1 << 24  # channels up to this size (4096 x 4096) are read at once, and percentiles are of all pixels
_BAND_ROWS = 512  # rows of a larger channel that are decoded at a time: a multiple of the usual tile size of a TIFF
_BLOCKS, _BLOCK = 16, 256  # percentiles of a larger channel are of 16 x 16 blocks of 256 x 256 pixels


def parse_channels(text: str) -> list[str]:
    """Return the names in a text such as "DAPI" or "red,green,blue" as a list."""
    names = [n.strip() for n in text.split(",") if n.strip()]
    if not names:
        raise UserError("`channel` is empty: give a name such as DAPI, or several names separated by commas.")
    return names


def pick_channels(field: Field, channels: Sequence[str]) -> list[int]:
    """Return the indices of the channels in a field. The only channel of a grey picture matches any name."""
    if len(channels) == 1 and field.channels == ["grey"]:
        return [0]
    return [field.channel_index(c) for c in channels]


def channels_of_row(row: Any, channels: Sequence[str]) -> Sequence[str]:
    """Return what these channels are called in the file of a cohort's row: its column `channel` says so, if it is set.

    Raises `UserError` if the column names more or fewer channels.
    """
    if not getattr(row, "channel", ""):
        return channels
    own = parse_channels(row.channel)
    if channels and len(own) != len(channels):
        raise UserError(
            f"{row.image}: its column `channel` names {len(own)} channels ({row.channel}), and {len(channels)} are "
            f"read ({', '.join(channels)}): give as many, in the same order."
        )
    return own


def read_scaled(path: str | Path, channels: Sequence[str], scaling: PercentileScaling) -> np.ndarray:
    """Read channels of an image file as float32 (C, H, W) in [0, 1].

    Raises `UserError` if a channel is missing or has NaN or infinite pixels. A constant channel is logged.
    """
    with open_field(path) as field:
        return ScaledField(field, channels, scaling)[:, :]


def pixel_sizes(images: Iterable[str | Path]) -> list[float | None]:
    """Return the pixel size in um of each image file, None where it is unknown; only headers are read."""
    sizes = []
    for image in images:
        with open_field(image) as field:
            sizes.append(field.pixel_size_um)
    return sizes


def common_pixel_size(sizes: Sequence[float | None]) -> float | None:
    """Return the median of the pixel sizes; None unless all are known."""
    known = [size for size in sizes if size]
    return float(np.median(known)) if known and len(known) == len(sizes) else None


class ScaledField:
    """Channels of an open field, scaled to [0, 1]: `pixels[:, y0:y1]` gives rows as float32 (C, h, W).

    The intensities that map to 0 and 1 are determined at construction. For fields up to `WHOLE_PIXELS` they are
    percentiles of all pixels. For larger fields they are percentiles of a sample, 256 blocks of 256 x 256 in a regular
    grid (17 million pixels): accurate if tissue covers much of the slide, less so if it covers a small part.
    Rows are decoded once if they are read from top to bottom, because the last band of 512 rows is kept.
    """

    def __init__(self, field: Field, channels: Sequence[str], scaling: PercentileScaling):
        self.field, self.scaling = field, scaling
        self.picked = pick_channels(field, channels)
        self.shape = (len(self.picked), *field.shape)
        self._is_small = field.shape[0] * field.shape[1] <= WHOLE_PIXELS
        self._kept: dict[int, tuple[int, np.ndarray]] = {}  # channel -> number and pixels of its last decoded band
        self._limits = {i: self._find_limits(i) for i in self.picked}

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        channels, rows = key
        y0, y1, _ = rows.indices(self.field.shape[0])
        planes = [stretched(self._rows(i, y0, y1), self._limits[i]) for i in self.picked[channels]]
        return np.stack(planes)

    def _rows(self, index: int, y0: int, y1: int) -> np.ndarray:
        step = self._band_rows
        bands = [self._band(index, n)[max(0, y0 - n * step) : y1 - n * step] for n in range(y0 // step, -(-y1 // step))]
        return np.concatenate(bands) if len(bands) > 1 else bands[0]

    @property
    def _band_rows(self) -> int:
        return self.field.shape[0] if self._is_small else _BAND_ROWS

    def _band(self, index: int, n: int) -> np.ndarray:
        if index not in self._kept or self._kept[index][0] != n:
            y0, y1 = n * self._band_rows, min((n + 1) * self._band_rows, self.field.shape[0])
            self._kept[index] = n, self._checked(self.field.read(index, y0, y1), index)
        return self._kept[index][1]

    def _checked(self, plane: np.ndarray, index: int) -> np.ndarray:
        n_holes = int(plane.size - np.isfinite(plane).sum())
        if n_holes:
            raise UserError(
                f"{self.field.path}: channel {self.field.channel_name(index)} has {n_holes} NaN or infinite pixels. "
                f"Export it again, or leave the field out (split 'ignore' in cohort.csv)."
            )
        return plane

    def _find_limits(self, index: int) -> tuple[float, float]:
        low, high = self.scaling.limits(self._band(index, 0) if self._is_small else self._sample(index))
        if high <= low and not self._is_small:  # pixels outside the sampled blocks may differ
            low, high = self._extremes(index)
        if high <= low:
            name = self.field.channel_name(index)
            log.warning("%s: channel %s is constant (%g everywhere)", self.field.path, name, low)
        return low, high

    def _sample(self, index: int) -> np.ndarray:
        """Pixels of blocks in a regular grid; each is within one tile of the file, whose edge is a multiple of it."""
        ys, xs = (_block_starts(n) for n in self.field.shape)
        height, width = self.field.shape
        blocks = [
            self.field.read(index, y0=y, y1=min(y + _BLOCK, height), x0=x, x1=min(x + _BLOCK, width))
            for y in ys
            for x in xs
        ]
        return self._checked(np.concatenate([b.ravel() for b in blocks]), index)

    def _extremes(self, index: int) -> tuple[float, float]:
        bands = (self._band(index, n) for n in range(-(-self.field.shape[0] // self._band_rows)))
        lows, highs = zip(*((float(b.min()), float(b.max())) for b in bands), strict=True)
        return min(lows), max(highs)


def _block_starts(length: int) -> list[int]:
    """Starts of the blocks along an axis: evenly spaced multiples of the block's edge, all of them on a short axis."""
    n = -(-length // _BLOCK)
    picked = np.unique(((np.arange(_BLOCKS) + 0.5) * n / _BLOCKS).astype(int))
    return [int(k) * _BLOCK for k in picked]
