"""`SegFacts`: what a segmentation model must know of its training data; measured on fields."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..cache import CachedField
from ..scaling import PercentileScaling

CLASSES = ("background", "nucleus")


@dataclass(frozen=True)
class SegFacts:
    """Properties of the training data that a segmentation model needs; kept in `dls.facts` and model.json."""

    channels: tuple[str, ...]
    scaling: PercentileScaling
    mean: tuple[float, ...]  # per channel over the training fields, after scaling
    std: tuple[float, ...]
    tile: int
    foreground: float  # share of nucleus pixels in the known part of the training masks
    classes: tuple[str, ...] = CLASSES
    pixel_size_um: float | None = None  # of the training fields, if all of them tell it
    nucleus_px: float | None = None  # median diameter of the training nuclei, where masks hold ids
    of_fields: bool = True  # False: measured on any loaders, so that `scaling` is not known and no file can be read

    @property
    def class_weights(self) -> tuple[float, float]:
        """Inverse class frequencies that sum to 1: the paper's "dark/light pixel normalisation" (.1479, .8521)."""
        share = min(max(self.foreground, 1e-3), 1 - 1e-3)
        return share, 1 - share


def seg_facts(
    fields: Sequence[CachedField],
    channels: Sequence[str],
    scaling: PercentileScaling,
    tile: int,
    pixel_size_um: float | None = None,
) -> SegFacts:
    """Compute mean, standard deviation and foreground share of the training fields, one field in memory at a time."""
    n = n_known = foreground = 0
    areas: list[np.ndarray] = []
    total = np.zeros(len(channels))
    squares = np.zeros(len(channels))
    for field in fields:
        pixels = field.open_pixels()
        n += pixels[0].size
        total += pixels.sum(axis=(1, 2), dtype=np.float64)
        squares += np.array([np.vdot(c, c) for c in pixels.reshape(len(channels), -1)], dtype=np.float64)
        mask = np.asarray(field.open_mask())
        n_known += int((mask >= 0).sum())
        foreground += int((mask > 0).sum())
        if field.nuclei:
            counts = np.bincount(np.maximum(field.open_nuclei(), 0).ravel())[1:]
            areas.append(counts[counts > 0])
    n_nuclei = sum(map(len, areas))
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 1e-8))
    return SegFacts(
        channels=tuple(channels),
        scaling=scaling,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        tile=tile,
        foreground=foreground / max(n_known, 1),
        pixel_size_um=pixel_size_um,
        nucleus_px=round(float(np.sqrt(4 / np.pi * np.median(np.concatenate(areas)))), 2) if n_nuclei else None,
    )
