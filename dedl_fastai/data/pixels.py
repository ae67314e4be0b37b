"""What a model sees of a field: chosen channels, checked for holes, scaled to [0, 1], whole or a region at a time."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from .scaling import PercentileScaling, stretched

log = logging.getLogger(__name__)

WHOLE_PIXELS = 1 << 24  # a channel up to here (4096 x 4096) is read at once, and all its pixels are ranked
_BAND_ROWS = 512  # of a larger one are decoded at a time: a multiple of the usual tiles of a TIFF
_BLOCKS, _BLOCK = 16, 256  # a larger one is ranked by 16 x 16 blocks of 256 x 256 pixels


def parse_channels(text: str) -> list[str]:
    """ "DAPI" or "red,green,blue" as a list of names."""
    names = [n.strip() for n in text.split(",") if n.strip()]
    if not names:
        raise UserError("`channel` is empty: give a name such as DAPI, or several with commas between.")
    return names


def pick_channels(field: Field, channels: Sequence[str]) -> list[int]:
    """Indices of the channels in a field. A grey picture has one channel without a name: it is taken for any one."""
    if len(channels) == 1 and field.channels == ["grey"]:
        return [0]
    return [field.channel_index(c) for c in channels]


def read_scaled(path: str | Path, channels: Sequence[str], scaling: PercentileScaling) -> np.ndarray:
    """The channels of an image file as float32 (C, H, W) in [0, 1].

    Raises `UserError` if a channel is missing or holds NaN or infinite pixels; logs a constant one.
    """
    with open_field(path) as field:
        return ScaledField(field, channels, scaling)[:, :]


class ScaledField:
    """The channels of an open field, scaled to [0, 1]: `pixels[:, y0:y1]` are rows of it, float32 (C, h, W).

    What maps to 0 and 1 is found when it is made: from all pixels up to `WHOLE_PIXELS`, so that the result is that of
    `read_scaled`; of a larger field from 256 blocks of 256 x 256 in a regular grid, 17 million pixels. So
    the limits are those of a sample: good where tissue is much of the slide, coarser where it is a small part of it.
    Rows are decoded once if they are asked for from top to bottom: the last band of 512 is kept.
    """

    def __init__(self, field: Field, channels: Sequence[str], scaling: PercentileScaling):
        self.field, self.scaling = field, scaling
        self.picked = pick_channels(field, channels)
        self.shape = (len(self.picked), *field.shape)
        self._is_small = field.shape[0] * field.shape[1] <= WHOLE_PIXELS
        self._kept: dict[int, tuple[int, np.ndarray]] = {}  # of each channel the band decoded last
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
        holes = int(plane.size - np.isfinite(plane).sum())
        if holes:
            raise UserError(
                f"{self.field.path}: channel {self.field.channels[index]} has {holes} NaN or infinite pixels. Export "
                f"it again, or leave the field out (split 'ignore' in cohort.csv)."
            )
        return plane

    def _find_limits(self, index: int) -> tuple[float, float]:
        low, high = self.scaling.limits(self._band(index, 0) if self._is_small else self._sample(index))
        if high <= low and not self._is_small:  # what is not constant may lie between the blocks
            low, high = self._extremes(index)
        if high <= low:
            name = self.field.channels[index]
            log.warning("%s: channel %s is constant (%g everywhere)", self.field.path, name, low)
        return low, high

    def _sample(self, index: int) -> np.ndarray:
        """Pixels of blocks in a regular grid, each in a tile of the file (as tiles are a multiple of a block)."""
        ys, xs = (_block_starts(n) for n in self.field.shape)
        height, width = self.field.shape
        blocks = [self.field.read(index, y, min(y + _BLOCK, height), x, min(x + _BLOCK, width)) for y in ys for x in xs]
        return self._checked(np.concatenate([b.ravel() for b in blocks]), index)

    def _extremes(self, index: int) -> tuple[float, float]:
        bands = (self._band(index, n) for n in range(-(-self.field.shape[0] // self._band_rows)))
        lows, highs = zip(*((float(b.min()), float(b.max())) for b in bands), strict=True)
        return min(lows), max(highs)


def _block_starts(length: int) -> list[int]:
    """Where blocks start along an axis: evenly spaced multiples of their edge, all of them on a short axis."""
    n = -(-length // _BLOCK)
    picked = np.unique(((np.arange(_BLOCKS) + 0.5) * n / _BLOCKS).astype(int))
    return [int(k) * _BLOCK for k in picked]
