"""`SegFacts`: what a segmentation model must know of its training data; measured on fields."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import UserError
from ..cache import CachedField
from ..scaling import PercentileScaling

log = logging.getLogger(__name__)

_SAME_SIZE = 1.25  # ratio of pixel sizes up to which a model is not disturbed
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

    def continuing(self, before: "SegFacts") -> "SegFacts":
        """Return the facts for a model that was trained with those `before`, which its weights are used to.

        Mean and deviation stay as measured here if the scaling is another one, since those before belong to theirs.
        Raises `UserError` for another number of channels, and logs a different pixel size.
        """
        if len(before.channels) != len(self.channels):
            raise UserError(f"the run sees {len(before.channels)} channels, not {len(self.channels)}: check `channel`.")
        size, size_before = self.pixel_size_um, before.pixel_size_um
        if size and size_before and not 1 / _SAME_SIZE < size / size_before < _SAME_SIZE:
            log.warning("the pixels of these fields are %g um, and those of the run %g um", size, size_before)
        normalised = before if self.scaling == before.scaling else self
        return replace(
            self,
            mean=normalised.mean,
            std=normalised.std,
            pixel_size_um=before.pixel_size_um,
            nucleus_px=before.nucleus_px if self.nucleus_px else None,
        )


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
