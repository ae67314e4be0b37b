"""`facts_of_loaders`: the facts of a model's training data, measured on any loaders of images and masks."""

from collections.abc import Sequence

import torch
from fastai.data.core import DataLoaders
from fastai.data.transforms import Normalize
from fastai.torch_core import no_random

from ...errors import UserError
from ..scaling import PercentileScaling
from .facts import CLASSES, SegFacts


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
            n += int((y >= 0).sum())
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
        foreground=foreground / max(n, 1),
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
