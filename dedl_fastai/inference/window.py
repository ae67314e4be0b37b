"""Sliding window: a network's probability map of a field of any size, from overlapping tiles blended smoothly."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


def window_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles of edge `tile` start along an axis: evenly spaced, the first at 0, the last ends at `length`."""
    if length <= tile:
        return [0]
    n = int(np.ceil((length - tile) / (tile * (1 - overlap)))) + 1
    return [round(i * (length - tile) / (n - 1)) for i in range(n)]


def blend_weight(tile: int) -> np.ndarray:
    """Weight of a tile's pixels when tiles are added: 1 in the middle, falling as a cosine, nowhere 0."""
    ramp = np.sin(np.pi * (np.arange(tile) + 0.5) / tile).astype(np.float32)
    return np.maximum(np.outer(ramp, ramp), 1e-3)


def window_batches(
    pixels: np.ndarray, tile: int, overlap: float, bs: int
) -> Iterator[tuple[list[tuple[int, int]], np.ndarray]]:
    """Batches of ((y, x) of each tile, tiles (b, C, tile, tile)) that cover `pixels` (C, H, W), H and W >= tile."""
    height, width = pixels.shape[-2:]
    corners = [(y, x) for y in window_starts(height, tile, overlap) for x in window_starts(width, tile, overlap)]
    for i in range(0, len(corners), bs):
        part = corners[i : i + bs]
        yield part, np.stack([pixels[:, y : y + tile, x : x + tile] for y, x in part])


@torch.inference_mode()
def predict_probability(
    model: nn.Module,  # in eval mode
    pixels: np.ndarray,  # (C, H, W) scaled to [0, 1], memory-mapped or not
    mean: np.ndarray,  # (C,)
    std: np.ndarray,  # (C,)
    tile: int,
    overlap: float = 0.25,  # share of a tile's edge that its neighbour covers too
    bs: int = 8,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Probability of the foreground as float32 (H, W).

    Fields smaller than a tile are mirrored at their lower and right edge, and the result cut back.
    """
    height, width = pixels.shape[-2:]
    grown = [(0, 0), (0, max(0, tile - height)), (0, max(0, tile - width))]
    field = np.pad(pixels, grown, mode="symmetric") if height < tile or width < tile else pixels
    total = np.zeros(field.shape[-2:], dtype=np.float32)
    norm = np.zeros_like(total)
    weight = blend_weight(tile)
    shift, scale = (np.asarray(v, dtype=np.float32)[:, None, None] for v in (mean, std))
    for corners, tiles in window_batches(field, tile, overlap, bs):
        x = torch.from_numpy((tiles - shift) / scale).to(device)
        p = 1 - model(x).float().softmax(dim=1)[:, 0]
        for (y, left), one in zip(corners, p.cpu().numpy(), strict=True):
            total[y : y + tile, left : left + tile] += one * weight
            norm[y : y + tile, left : left + tile] += weight
    return (total / norm)[:height, :width]
