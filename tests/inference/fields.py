"""Synthetic fields with nuclei, and a model that predicts nuclei in bright pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dedl_fastai.inference.engines.engine import make_engine
from dedl_fastai.inference.ensemble import Ensemble
from dedl_fastai.inference.segmenter import Segmenter
from dedl_fastai.inference.window import FieldPixels, normalised, predict_bands
from dedl_fastai.io.ome_tiff import write_ome_tiff
from dedl_fastai.training.run_folder import RunFolder

CARD = {
    "network": {"arch": "none", "encoder": "bright"},
    "channels": ["DAPI"],
    "scaling": {"kind": "percentile", "low": 0, "high": 100},
    "mean": [0.5],
    "std": [1.0],
    "tile": 64,
    "foreground": 0.1,
    "classes": ["background", "nucleus"],
    "threshold": 0.5,
}


class Bright(nn.Module):
    """Predicts nuclei where the (standardised) first channel is above 0."""

    def __init__(self, steepness: float = 10.0):
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(steepness))

    def forward(self, x):
        return torch.stack([torch.zeros_like(x[:, 0]), self.steepness * x[:, 0]], dim=1)


def bright_ensemble(*steepness: float, **changes) -> Ensemble:
    """An ensemble of `Bright` models, one for each steepness."""
    cpu, run = torch.device("cpu"), RunFolder(Path("none"))
    return Ensemble([Segmenter(Bright(s), {**CARD, **changes}, run, cpu) for s in steepness or (10.0,)])


def blended_probability(
    model: nn.Module,
    pixels: FieldPixels,  # (C, H, W) in [0, 1]
    tile: int,
    mean: Sequence[float] | np.ndarray = (0.0,),
    std: Sequence[float] | np.ndarray = (1.0,),
    **options: Any,  # of `predict_bands`
) -> np.ndarray:
    """Probability of the foreground (H, W): `predict_bands` of one PyTorch model, in memory."""
    engine = make_engine("torch", model, n_channels=pixels.shape[0], tile=tile)
    bands = predict_bands([lambda tiles: engine(normalised(tiles, mean, std))], pixels, tile, **options)
    return np.concatenate([band.mean for band in bands])


def disc(plane: np.ndarray, y: float, x: float, radius: float, value: float = 1.0) -> None:
    """Draw a disc, clipped to the plane."""
    y0, y1 = max(0, int(y - radius) - 1), min(plane.shape[0], int(y + radius) + 2)
    x0, x1 = max(0, int(x - radius) - 1), min(plane.shape[1], int(x + radius) + 2)
    yy, xx = np.mgrid[y0:y1, x0:x1]
    inside = (yy - y) ** 2 + (xx - x) ** 2 <= radius**2
    plane[y0:y1, x0:x1][inside] = value


def nuclei_plane(shape: tuple[int, int], seed: int = 0, share: float = 1.0, spots: tuple = ()) -> np.ndarray:
    """A plane of 0.1 with single and touching nuclei, some with a small hole, and further nuclei at `spots` (y, x)."""
    rng = np.random.default_rng(seed)
    plane = np.full(shape, 0.1, np.float32)
    for _ in range(int(share * shape[0] * shape[1] / 900)):
        y, x, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(3, 9)
        disc(plane, y, x, radius, value=rng.uniform(0.6, 0.9))
        if rng.random() < 0.2:
            disc(plane, y, x, radius=1, value=0.1)
    for y, x in spots:
        disc(plane, y, x, radius=7, value=1.0)
    return plane


def write_field(path: Path, planes: np.ndarray, pixel_size_um: float = 0.5) -> Path:
    """Planes (C, H, W) as an OME-TIFF with channels DAPI, CD4, ..."""
    names = ["DAPI", "CD4", "CD8"][: len(planes)]
    write_ome_tiff(path, planes.astype(np.float32), names, pixel_size_um, origin_um=(1000.0, 2000.0), pyramid=False)
    return path
