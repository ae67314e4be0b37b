"""Sliding window: a network's probability of a field of any size, row by row, from overlapping tiles blended smoothly.

`predict_bands` is a generator: it holds some rows of the field and yields those that no later tile touches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ..errors import UserError
from .engines.engine import make_engine
from .options import BATCH_SIZE, OVERLAP
from .rolling_rows import RollingRows

Predict = Callable[[np.ndarray], np.ndarray]  # tiles (b, C, t, t) in [0, 1] -> probability (b, t, t)
_QUARTER_TURNS_AND_FLIP = {  # of a tile, undone after the prediction
    "none": [(0, False)],
    "flips": [(turns, flip) for turns in (0, 2) for flip in (False, True)],
    "dihedral": [(turns, flip) for turns in range(4) for flip in (False, True)],
}
TTA = tuple(_QUARTER_TURNS_AND_FLIP)


class FieldPixels(Protocol):
    """A scaled field: an array (C, H, W), memory-mapped or not, or a `ScaledField`; sliced as `pixels[:, y0:y1]`."""

    shape: tuple[int, ...]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows of all channels."""


@dataclass(frozen=True)
class Band:
    """Finished rows of a field: mean probability over the members (h, W), its standard deviation, where they begin."""

    y0: int
    mean: np.ndarray
    sd: np.ndarray | None  # None where it was not asked for


def window_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles of edge `tile` start along an axis: evenly spaced, the first at 0, the last ends at `length`."""
    if length <= tile:
        return [0]
    n = int(np.ceil((length - tile) / max(tile * (1 - overlap), 1))) + 1  # no two at one pixel
    return [round(i * (length - tile) / (n - 1)) for i in range(n)]


def blend_weight(tile: int) -> np.ndarray:
    """Weight of a tile's rows, and of its columns, when tiles are added: 1 in the middle, a cosine, nowhere 0."""
    return np.maximum(np.sin(np.pi * (np.arange(tile) + 0.5) / tile), 0.03).astype(np.float32)


def blend_norm(length: int, tile: int, overlap: float) -> np.ndarray:
    """Sum of the weights of all tiles along an axis; a pixel's is the product of its row's and its column's."""
    norm = np.zeros(max(length, tile), np.float32)
    for start in window_starts(length, tile, overlap):
        norm[start : start + tile] += blend_weight(tile)
    return norm


def window_batches(
    pixels: FieldPixels, tile: int, overlap: float, bs: int
) -> Iterator[tuple[list[tuple[int, int]], np.ndarray]]:
    """Batches of ((y, x) of each tile, tiles (b, C, tile, tile)) that cover `pixels` (C, H, W), from top to bottom.

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
    overlap: float = OVERLAP,  # share of a tile's edge that its neighbour covers too
    bs: int = BATCH_SIZE,
    tta: str = "none",  # flips: mean over 4 mirror images, dihedral: and their quarter turns, 8 in all
    spread: bool = False,  # with the standard deviation over the members
) -> Iterator[Band]:
    """Bands of finished rows from the top of the field to its bottom; each tile goes through all members at once.

    Memory: some tiles' height of the field's rows, whatever its height. Raises `UserError` for an unknown `tta`.
    """
    if tta not in TTA:
        raise UserError(f"tta={tta!r} is unknown; it may be {', '.join(TTA)}.")
    _, height, width = pixels.shape
    separately = spread and len(members) > 1
    total = RollingRows((len(members) if separately else 1,), max(width, tile))
    rows_norm, columns_norm = blend_norm(height, tile, overlap), blend_norm(width, tile, overlap)
    weight = np.outer(blend_weight(tile), blend_weight(tile))
    for corners, tiles in window_batches(pixels, tile, overlap, bs):
        top = corners[0][0]  # no tile to come reaches above it
        if top > total.top:
            yield _band(total, rows_norm, columns_norm, top, width, spread)
        found = np.stack([_predicted(member, tiles, tta) for member in members])
        found = found if separately else found.mean(axis=0, keepdims=True)
        total.extend(corners[-1][0] + tile)
        for i, (y, x) in enumerate(corners):
            total[y : y + tile][..., x : x + tile] += found[:, i] * weight
    yield _band(total, rows_norm, columns_norm, height, width, spread)


def predict_probability(
    model: nn.Module,  # in eval mode
    pixels: FieldPixels,  # (C, H, W) scaled to [0, 1]
    mean: np.ndarray,  # (C,)
    std: np.ndarray,  # (C,)
    tile: int,
    overlap: float = OVERLAP,
    bs: int = BATCH_SIZE,
    device: torch.device | str = "cpu",
    tta: str = "none",
) -> np.ndarray:
    """Probability of the foreground as float32 (H, W), in memory: `predict_bands` of one PyTorch model."""
    engine = make_engine("torch", model, pixels.shape[0], tile, device)
    bands = predict_bands([lambda tiles: engine(normalised(tiles, mean, std))], pixels, tile, overlap, bs, tta)
    return np.concatenate([band.mean for band in bands])


def normalised(tiles: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Tiles (b, C, t, t) less the mean and over the standard deviation of their channels, float32."""
    shift, scale = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (mean, std))
    return (tiles - shift) / scale


def entropy_bits(probability: np.ndarray) -> np.ndarray:
    """Entropy of a probability in bits, float32: 0 where it is 0 or 1, 1 where it is 0.5."""
    p = np.clip(probability, 1e-7, 1 - 1e-7)
    return (-p * np.log2(p) - (1 - p) * np.log2(1 - p)).astype(np.float32)


def _mirrored(rows: np.ndarray, height: int, tile: int) -> np.ndarray:
    """Rows of a field, mirrored where the field ends before a tile does."""
    grown = [(0, 0), (0, max(0, tile - height)), (0, max(0, tile - rows.shape[-1]))]
    return np.pad(rows, grown, mode="symmetric") if any(n for _, n in grown) else rows


def _predicted(member: Predict, tiles: np.ndarray, tta: str) -> np.ndarray:
    """The member's probability, mean over the images of the tiles, each turned back."""
    total = 0.0
    images = _QUARTER_TURNS_AND_FLIP[tta]
    for turns, flip in images:
        image = np.rot90(tiles[..., ::-1] if flip else tiles, turns, axes=(-2, -1))
        found = np.rot90(member(np.ascontiguousarray(image)), -turns, axes=(-2, -1))
        total = total + (found[..., ::-1] if flip else found)
    return total / np.float32(len(images))


def _band(
    total: RollingRows, rows_norm: np.ndarray, columns_norm: np.ndarray, y1: int, width: int, spread: bool
) -> Band:
    """The rows above `y1`, which the accumulator lets go of."""
    y0 = total.top
    members = total[y0:y1][..., :width] / rows_norm[y0:y1, None]
    members /= columns_norm[:width]
    total.drop(y1)
    sd = members.std(axis=0) if spread else None
    return Band(y0, members[0] if len(members) == 1 else members.mean(axis=0), sd)
