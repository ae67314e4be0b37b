"""Square tiles of a field: 12 of 480 px or 48 of 256 px for the paper's 1408 x 1876, padded right and bottom."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import UserError
from ..io.masks import IGNORED
from .cache import CachedField
from .options import PAD

PADS: dict[str, Literal["symmetric", "constant"]] = {"reflect": "symmetric", "zero": "constant"}  # ours -> numpy's


@dataclass(frozen=True)
class Tile:
    """One square of a cached field, an item of the segmentation DataBlock; it may start above or left of the field."""

    source: CachedField
    y: int
    x: int
    size: int
    pad: str = PAD  # beyond the field's edge: "zero" as in the paper, or "reflect", its mirror image
    split: str = "train"

    def __repr__(self) -> str:
        return f"Tile({self.source.field}, y={self.y}, x={self.x}: {self.size} px, {self.split})"

    @property
    def inside(self) -> tuple[int, int]:
        """Height and width of the part within the field; the rest is padding."""
        height, width = self.source.shape
        return min(self.size, height - self.y), min(self.size, width - self.x)

    def pixels(self) -> np.ndarray:
        """Return the pixels as float32 (C, size, size) in [0, 1]."""
        return cut(self.source.open_pixels(), self.y, self.x, size=self.size, pad=self.pad)

    def mask(self) -> np.ndarray:
        """Return the mask as integers (size, size): 0 and 1, and `IGNORED` where it is unknown."""
        return cut(self.source.open_mask(), self.y, self.x, size=self.size, pad=self.pad)

    def nuclei(self) -> np.ndarray:
        """Return the ids of the nuclei as int32 (size, size); -1 for a nucleus without an id, `IGNORED` if unknown."""
        return cut(self.source.open_nuclei(), self.y, self.x, size=self.size, pad=self.pad)


def grid(shape: tuple[int, int], size: int) -> Iterator[tuple[int, int]]:
    """Yield the upper left corners (y, x) of the tiles that cover a field of `shape`, row by row, without overlap."""
    for y in range(0, shape[0], size):
        for x in range(0, shape[1], size):
            yield y, x


def cut(array: np.ndarray, y: int, x: int, size: int, pad: str) -> np.ndarray:
    """Return a copy of `array[..., y:y+size, x:x+size]`, padded on the sides where the square leaves the array."""
    part = np.array(array[..., max(y, 0) : y + size, max(x, 0) : x + size])
    height, width = array.shape[-2:]
    missing = [(max(-start, 0), max(start + size - length, 0)) for start, length in ((y, height), (x, width))]
    if not any(sum(missing, ())):
        return part
    return np.pad(part, [(0, 0)] * (part.ndim - 2) + missing, mode=PADS[pad])


def tiles_of(
    fields: list[CachedField],
    size: int,
    pad: str = PAD,
    split: str = "train",
    margin: int = 0,  # pixels around each tile that are read with it
) -> list[Tile]:
    """Return all tiles of the fields, field by field."""
    if pad not in PADS:
        raise UserError(f"pad={pad!r} is unknown; it may be {' or '.join(PADS)}.")
    corners = [(f, y - margin, x - margin) for f in fields for y, x in grid(f.shape, size)]
    return [Tile(f, y, x, size=size + 2 * margin, pad=pad, split=split) for f, y, x in corners]


def is_blank(tile: Tile) -> bool:
    """Return whether the tile has no nucleus pixel."""
    return not (tile.mask() > 0).any()


def is_unknown(tile: Tile) -> bool:
    """Return whether the truth is unknown in the whole tile."""
    return bool((tile.mask() == IGNORED).all())
