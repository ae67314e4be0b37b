"""Sliding window: predict a field of any size in overlapping tiles, with test-time augmentation, and blend the tiles.

`predict_bands` is a generator: it keeps some rows of the field in memory and yields those that no later tile covers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import UserError
from ..models.names import HEADS
from .options import BATCH_SIZE, OVERLAP
from .rolling_rows import RollingRows

Predict = Callable[[np.ndarray], np.ndarray]  # tiles (b, C, t, t) in [0, 1] -> (b, t, t), or (b, 1 + maps, t, t)
_QUARTER_TURNS_AND_FLIP = {  # applied to a tile, and undone after its prediction
    "none": [(0, False)],
    "flips": [(turns, flip) for turns in (0, 2) for flip in (False, True)],
    "dihedral": [(turns, flip) for turns in range(4) for flip in (False, True)],
}
TTA = tuple(_QUARTER_TURNS_AND_FLIP)


class FieldPixels(Protocol):
    """Scaled pixels of a field, sliced as `pixels[:, y0:y1]`: an array (C, H, W) or a `ScaledField`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows of all channels."""


@dataclass(frozen=True)
class Band:
    """Finished rows of a field: mean and standard deviation of the probability over the members, (h, W)."""

    y0: int  # first row
    mean: np.ndarray
    sd: np.ndarray | None  # None if not requested
    maps: np.ndarray  # mean maps of the head, (maps, h, W); no maps without a head


def whole_planes(bands: Iterable[Band]) -> np.ndarray:
    """The probability and the maps of all bands of a field, (1 + maps, H, W)."""
    return np.concatenate([np.concatenate([b.mean[None], b.maps]) for b in bands], axis=1)


def window_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Starts of tiles along an axis: evenly spaced, the first tile starts at 0 and the last one ends at `length`."""
    if length <= tile:
        return [0]
    n = int(np.ceil((length - tile) / max(tile * (1 - overlap), 1))) + 1  # at least one pixel apart
    return [round(i * (length - tile) / (n - 1)) for i in range(n)]


def blend_weight(tile: int) -> np.ndarray:
    """Weight of the rows (or columns) of a tile when tiles are blended: a cosine, 1 in the middle and never 0."""
    return np.maximum(np.sin(np.pi * (np.arange(tile) + 0.5) / tile), 0.03).astype(np.float32)


def blend_norm(length: int, tile: int, overlap: float) -> np.ndarray:
    """Sum of the weights of all tiles along an axis; that of a pixel is the product of its row and column sums."""
    norm = np.zeros(max(length, tile), np.float32)
    for start in window_starts(length, tile, overlap):
        norm[start : start + tile] += blend_weight(tile)
    return norm


def window_batches(
    pixels: FieldPixels, tile: int, overlap: float, bs: int
) -> Iterator[tuple[list[tuple[int, int]], np.ndarray]]:
    """Yield batches of corners (y, x) and tiles (b, C, tile, tile) that cover `pixels` (C, H, W) from top to bottom.

    Every row of `pixels` is read once. Fields smaller than a tile are mirrored at their lower and right edge.
    """
    n_channels, height, width = pixels.shape
    rows = RollingRows((n_channels,), max(width, tile))
    corners: list[tuple[int, int]] = []
    tiles: list[np.ndarray] = []
    for y in window_starts(height, tile, overlap):
        rows.drop(y)
        rows.append(_mirrored(pixels[:, rows.bottom : y + tile], height, tile))
        for x in window_starts(width, tile, overlap):
            corners.append((y, x))
            tiles.append(rows[y : y + tile][..., x : x + tile].copy())
            if len(tiles) == bs:
                yield corners, np.stack(tiles)
                corners, tiles = [], []
    if tiles:
        yield corners, np.stack(tiles)


def predict_bands(
    members: Sequence[Predict],
    pixels: FieldPixels,
    tile: int,
    overlap: float = OVERLAP,  # share of a tile's edge that the next tile also covers
    bs: int = BATCH_SIZE,
    tta: str = "none",  # flips: mean over 4 mirror images; dihedral: also over quarter turns, 8 in all
    spread: bool = False,  # also compute the standard deviation over the members
) -> Iterator[Band]:
    """Yield bands of finished rows from the top of the field to its bottom; all members predict each tile.

    A few tile heights of rows are in memory, whatever the height of the field. Raises `UserError` for an unknown `tta`.
    """
    if tta not in TTA:
        raise UserError(f"tta={tta!r} is unknown; it may be {', '.join(TTA)}.")
    _, height, width = pixels.shape
    separately = spread and len(members) > 1
    total: RollingRows | None = None  # (members, 1 + maps, rows, width)
    rows_norm, columns_norm = blend_norm(height, tile, overlap), blend_norm(width, tile, overlap)
    weight = np.outer(blend_weight(tile), blend_weight(tile))
    for corners, tiles in window_batches(pixels, tile, overlap, bs):
        top = corners[0][0]  # no later tile covers rows above it
        if total is not None and top > total.top:
            yield _band(total, rows_norm, columns_norm, y1=top, width=width, spread=spread)
        planes = np.stack([_predicted(member, tiles, tta) for member in members])  # (members, b, 1 + maps, t, t)
        planes = planes if separately else planes.mean(axis=0, keepdims=True)
        total = total or RollingRows((len(planes), planes.shape[2]), max(width, tile))
        total.extend(corners[-1][0] + tile)
        for i, (y, x) in enumerate(corners):
            total[y : y + tile][..., x : x + tile] += planes[:, i] * weight
    assert total is not None  # a field has at least one tile
    yield _band(total, rows_norm, columns_norm, y1=height, width=width, spread=spread)


def normalised(tiles: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standardise the channels of tiles (b, C, t, t) with `mean` and `std`, (C,), as float32."""
    shift, scale = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (mean, std))
    return (tiles - shift) / scale


def entropy_bits(probability: np.ndarray) -> np.ndarray:
    """Entropy of a probability in bits, float32: 0 at a probability of 0 or 1, and 1 at 0.5."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return (-p * np.log2(p) - (1 - p) * np.log2(1 - p)).astype(np.float32)


def _mirrored(rows: np.ndarray, height: int, tile: int) -> np.ndarray:
    """Rows of a field, mirrored at the edges of a field that is smaller than a tile."""
    padding = [(0, 0), (0, max(0, tile - height)), (0, max(0, tile - rows.shape[-1]))]
    return np.pad(rows, padding, mode="symmetric") if any(n for _, n in padding) else rows


def _predicted(member: Predict, tiles: np.ndarray, tta: str) -> np.ndarray:
    """The member's planes (b, 1 + maps, t, t): the mean over the transformed images of the tiles, transformed back."""
    total: np.ndarray = np.zeros((), np.float32)
    images = _QUARTER_TURNS_AND_FLIP[tta]
    for turns, flip in images:
        image = np.rot90(tiles[..., ::-1] if flip else tiles, turns, axes=(-2, -1))
        planes = member(np.ascontiguousarray(image))
        planes = planes if planes.ndim == 4 else planes[:, None]
        total = total + (_turned_back(planes, turns, flip) if turns or flip else planes)
    return total / np.float32(len(images))


def _turned_back(planes: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    """Planes (b, 1 + maps, t, t) of tiles that were flipped and then turned, as those of the tiles."""
    planes = np.rot90(planes, -turns, axes=(-2, -1))
    planes = planes[..., ::-1] if flip else planes
    if planes.shape[1] != 1 + HEADS["flow"]:
        return planes
    probability, y, x = planes[:, 0], planes[:, 1], planes[:, 2]
    for _ in range(turns):
        y, x = x, 1 - y
    return np.stack([probability, y, 1 - x if flip else x], axis=1)


def _band(
    total: RollingRows, rows_norm: np.ndarray, columns_norm: np.ndarray, y1: int, width: int, spread: bool
) -> Band:
    """Take the rows above `y1` out of the accumulator, and normalise them."""
    y0 = total.top
    members = total[y0:y1][..., :width] / rows_norm[y0:y1, None]
    members /= columns_norm[:width]
    np.minimum(members, 1, out=members)  # a weighted mean of ones may be rounded up
    total.drop(y1)
    sd = members[:, 0].std(axis=0) if spread else None
    mean = members[0] if len(members) == 1 else members.mean(axis=0)
    return Band(y0, mean[0], sd, mean[1:])
