"""`SegFacts`: what a segmentation model must know of its training data; measured on fields, or on any loaders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fastai.data.core import DataLoaders
from fastai.data.transforms import Normalize
from fastai.torch_core import no_random

from ...errors import UserError
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
    foreground: float  # share of nucleus pixels in the training masks
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
    n = foreground = 0
    areas: list[np.ndarray] = []
    total = np.zeros(len(channels))
    squares = np.zeros(len(channels))
    for field in fields:
        pixels = field.open_pixels()
        n += pixels[0].size
        total += pixels.sum(axis=(1, 2), dtype=np.float64)
        squares += np.array([np.vdot(c, c) for c in pixels.reshape(len(channels), -1)], dtype=np.float64)
        foreground += int(field.open_mask().sum(dtype=np.int64))
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
        foreground=foreground / n,
        pixel_size_um=pixel_size_um,
        nucleus_px=round(float(np.sqrt(4 / np.pi * np.median(np.concatenate(areas)))), 2) if n_nuclei else None,
    )


def facts_of_loaders(dls: DataLoaders) -> SegFacts:
    """Measure the facts of any `DataLoaders` of images (B, C, H, W) and masks (B, H, W), in one pass over the tiles.

    How the pixels of a file become those of a batch is not known (`of_fields` is False). Raises `UserError` for
    batches of other shapes.
    """
    n = foreground = highest = 0
    shape: tuple[int, ...] = ()
    with no_random():
        for x, y in dls.train.new(shuffle=False, drop_last=False):
            if x.ndim != 4 or y.shape != (x.shape[0], *x.shape[2:]):
                raise UserError(
                    f"a batch has images {tuple(x.shape)} and masks {tuple(y.shape)}: images (B, C, H, W) and masks "
                    f"(B, H, W) are needed."
                )
            shape = tuple(x.shape)
            n += y.numel()
            foreground += int((y > 0).sum())
            highest = max(highest, int(y.max()))
    mean, std = _normalisation(dls, shape[1])
    names = _vocab(dls) or _class_names(highest)
    return SegFacts(
        channels=tuple(str(i) for i in range(shape[1])),
        scaling=PercentileScaling(),
        mean=mean,
        std=std,
        tile=shape[-1],
        foreground=foreground / n,
        classes=tuple(str(name) for name in names),
        of_fields=False,
    )


def _normalisation(dls: DataLoaders, n_channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the batches' `Normalize`; 0 and 1 without one."""
    for transform in dls.train.after_batch.fs:
        if isinstance(transform, Normalize):
            mean, std = (torch.as_tensor(v).flatten().tolist() for v in (transform.mean, transform.std))
            return tuple(mean), tuple(std)
    return (0.0,) * n_channels, (1.0,) * n_channels


def _vocab(dls: DataLoaders) -> Sequence[str]:
    """The names of the classes, which fastai's `MaskBlock` keeps in a transform of the items."""
    return getattr(dls, "vocab", None) or getattr(dls.train.after_item, "vocab", None) or ()


def _class_names(highest: int) -> Sequence[str]:
    return CLASSES if highest < len(CLASSES) else [str(i) for i in range(highest + 1)]
