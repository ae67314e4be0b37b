"""Segmentation DataBlock and `DataLoaders` of a cohort: tiles of fields and their nucleus masks."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import FuncSplitter, Normalize
from fastai.torch_core import set_seed

from ...errors import UserError
from ..cache import CachedField, cache_cohort, cache_file
from ..cohort import Cohort
from ..loaders import FieldDataLoaders
from ..scaling import PercentileScaling
from ..tiles import Tile, is_blank, tiles_of
from .augment import TileAugment
from .tensors import TensorField, TensorNuclei

log = logging.getLogger(__name__)

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

    @property
    def class_weights(self) -> tuple[float, float]:
        """Inverse class frequencies that sum to 1: the paper's "dark/light pixel normalisation" (.1479, .8521)."""
        share = min(max(self.foreground, 1e-3), 1 - 1e-3)
        return share, 1 - share


def FieldBlock(normalize: Normalize | None = None) -> TransformBlock:  # noqa: N802 (fastai's blocks read like classes)
    """A `TransformBlock` of field tiles, float32 and already scaled; `normalize` is applied to batches."""
    return TransformBlock(type_tfms=TensorField.create, batch_tfms=[normalize] if normalize else None)


def NucleiBlock() -> TransformBlock:  # noqa: N802
    """A `TransformBlock` of nucleus masks."""
    return TransformBlock(type_tfms=TensorNuclei.create)


def is_valid(tile: Tile) -> bool:
    """Return whether the tile is for validation; for `FuncSplitter`."""
    return tile.split == "valid"


def seg_dataloaders(
    cohort: Cohort,  # with splits (`split_cohort`); fields of "train" and "valid" are used
    tile: int = 480,  # edge in pixels
    bs: int = 16,  # tiles per batch
    channels: Sequence[str] = ("DAPI",),
    augment: Sequence[Callable] | None = None,  # batch transforms; default: the paper's, `TileAugment()`
    scaling: PercentileScaling | None = None,
    pad: str = "reflect",  # beyond the field: its mirror image, or "zero" as in the paper
    skip_blank: bool = False,  # leave out training tiles without a nucleus
    workers: int = 0,  # loader processes
    seed: int | None = None,  # seeds every generator before the loaders are built
    cache: str | Path | None = None,  # folder of decoded fields
    device: torch.device | str | None = None,
) -> DataLoaders:
    """Return `DataLoaders` of (TensorField, TensorNuclei) tiles; `dls.facts` are their `SegFacts`.

    Fields are decoded once into a shared memory-mapped cache, scaled by percentiles and normalised with the statistics
    of the training fields. Validation tiles are not augmented. Raises `UserError` for cohorts without masks, training
    fields or validation fields, and for unreadable files.
    """
    cohort = cohort.with_masks()
    scaling = scaling or PercentileScaling()
    if seed is not None:
        set_seed(seed, reproducible=True)
    parts = {s: cache_cohort(_needed(cohort, s), channels, scaling, cache) for s in ("train", "valid")}
    facts = seg_facts(parts["train"], channels, scaling, tile)
    tiles = [t for s, fields in parts.items() for t in tiles_of(fields, tile, pad, s)]
    tiles = _without_blank(tiles, skip_blank)
    n_train = sum(not is_valid(t) for t in tiles)
    block = DataBlock(
        blocks=(FieldBlock(Normalize.from_stats(list(facts.mean), list(facts.std), cuda=False)), NucleiBlock()),
        splitter=FuncSplitter(is_valid),
        batch_tfms=[TileAugment()] if augment is None else list(augment),
    )
    dls = block.dataloaders(
        tiles,
        bs=bs,
        num_workers=workers,
        device=device,
        drop_last=n_train > bs and n_train % bs == 1,  # batch norm statistics of a single small tile are noise
        persistent_workers=False,
    )
    items_of = partial(tiles_of_image, facts=facts, pad=pad, cache=cache)
    return FieldDataLoaders.of(dls, items_of, facts=facts, cohort=cohort, c=len(CLASSES), vocab=list(CLASSES))


def tiles_of_image(
    path: str | Path, facts: SegFacts, pad: str = "reflect", cache: str | Path | None = None
) -> list[Tile]:
    """The tiles of an image file, row by row, as items to predict."""
    return tiles_of([cache_file(path, facts.channels, facts.scaling, cache)], facts.tile, pad, "test")


def _needed(cohort: Cohort, split: str) -> Cohort:
    part = cohort.part(split)
    if not len(part):
        raise UserError(
            f"{cohort.root} has no {split} fields with masks: split the cohort (`split_cohort`) or check the masks."
        )
    return part


def _without_blank(tiles: list[Tile], skip: bool) -> list[Tile]:
    blank = {id(t) for t in tiles if not is_valid(t) and is_blank(t)}
    n_train = sum(not is_valid(t) for t in tiles)
    log.info(
        "%d training tiles (%d without a nucleus%s), %d validation tiles",
        n_train,
        len(blank),
        ", left out" if skip and blank else "",
        len(tiles) - n_train,
    )
    if not skip:
        return tiles
    if len(blank) == n_train:
        raise UserError("no training tile contains a nucleus: check the masks (`dedl-fastai data check`).")
    return [t for t in tiles if id(t) not in blank]


def seg_facts(
    fields: Sequence[CachedField], channels: Sequence[str], scaling: PercentileScaling, tile: int
) -> SegFacts:
    """Compute mean, standard deviation and foreground share of the training fields, one field in memory at a time."""
    n = foreground = 0
    total = np.zeros(len(channels))
    squares = np.zeros(len(channels))
    for field in fields:
        pixels = field.open_pixels()
        n += pixels[0].size
        total += pixels.sum(axis=(1, 2), dtype=np.float64)
        squares += np.array([np.vdot(c, c) for c in pixels.reshape(len(channels), -1)], dtype=np.float64)
        foreground += int(field.open_mask().sum(dtype=np.int64))
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 1e-8))
    return SegFacts(
        channels=tuple(channels),
        scaling=scaling,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        tile=tile,
        foreground=foreground / n,
    )
