"""Segmentation DataBlock and `DataLoaders` of a cohort: tiles of fields and their nucleus masks."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastai.data.block import TransformBlock
from fastai.data.core import DataLoaders, TfmdDL
from fastai.data.transforms import FuncSplitter, Normalize
from fastai.torch_core import set_seed

from ...errors import UserError
from ...io.masks import mask_shape
from ..cache import cache_cohort, cache_file
from ..cohort import Cohort
from ..loaders import FieldDataBlock
from ..options import FOREGROUND, PAD, SAMPLES, SEED, UNIFORM
from ..pixels import common_pixel_size, pixel_sizes
from ..scaling import PercentileScaling
from ..subsets import cycled
from ..tiles import Tile, grid, is_blank, is_unknown, tiles_of
from .augment import TileAugment
from .facts import CLASSES, SegFacts, seg_facts
from .foreground import ForegroundDL
from .tensors import TensorField, TensorInstances, TensorNuclei

log = logging.getLogger(__name__)


def FieldBlock(normalize: Normalize | None = None) -> TransformBlock:  # noqa: N802 (fastai's blocks read like classes)
    """A `TransformBlock` of field tiles, float32 and already scaled; `normalize` is applied to batches."""
    return TransformBlock(type_tfms=TensorField.create, batch_tfms=[normalize] if normalize else None)


def NucleiBlock() -> TransformBlock:  # noqa: N802
    """A `TransformBlock` of nucleus masks."""
    return TransformBlock(type_tfms=TensorNuclei.create)


def InstancesBlock() -> TransformBlock:  # noqa: N802
    """A `TransformBlock` of the ids of nuclei."""
    return TransformBlock(type_tfms=TensorInstances.create)


def is_valid(tile: Tile) -> bool:
    """Return whether the tile is for validation; for `FuncSplitter`."""
    return tile.split == "valid"


def seg_block(
    cohort: Cohort,  # with splits (`split_cohort`); the facts are measured on its training fields
    tile: int = 480,  # edge in pixels
    channels: Sequence[str] = ("DAPI",),
    augment: Sequence[Callable] | None = None,  # batch transforms; default: the paper's, `TileAugment()`
    scaling: PercentileScaling | None = None,  # default: that of the run before, else `PercentileScaling()`
    pad: str = PAD,  # beyond the field: "zero" as in the paper, or "reflect", its mirror image
    skip_blank: bool = False,  # leave out training tiles without a nucleus
    min_tiles: int = 0,  # training tiles of an epoch at least: fewer are shown several times
    sample: str = UNIFORM,  # every training tile once an epoch, or "foreground": see `ForegroundDL`
    ids: bool = False,  # targets are ids of nuclei instead of masks, as heads need them
    cache: str | Path | None = None,  # folder of decoded fields
    before: SegFacts | None = None,  # of a run that is continued: its normalisation and pixel size stay
    **arguments: Any,
) -> FieldDataBlock:
    """Return the `DataBlock` of tiles of a cohort and their nucleus masks; `block.known["facts"]` are its `SegFacts`.

    `block.dataloaders(cohort, bs=16)` gives the loaders, `block.summary(cohort)` explains every step. `arguments` are
    those of `DataBlock`, and replace ours: `blocks`, `splitter`, `getters`, `get_items`, ...
    Raises `UserError` for cohorts without masks or training fields, and for unreadable files.
    """
    if sample not in SAMPLES:
        raise UserError(f"sample={sample!r} is unknown; it may be {' or '.join(SAMPLES)}.")
    scaling = scaling or (before.scaling if before else PercentileScaling())
    training = _needed(cohort.with_masks(), "train")
    fields = cache_cohort(training, channels, scaling, cache, ids=ids)
    pixel_size = common_pixel_size(pixel_sizes(training.table.image))
    facts = seg_facts(fields, channels, scaling, tile, pixel_size_um=pixel_size)
    facts = facts.continuing(before) if before else facts
    normalize = Normalize.from_stats(list(facts.mean), list(facts.std), cuda=False)
    transforms = [TileAugment()] if augment is None else list(augment)
    margin = max((getattr(t, "margin", 0) for t in transforms), default=0)
    ours: dict[str, Any] = {
        "blocks": (FieldBlock(normalize), InstancesBlock() if ids else NucleiBlock()),
        "get_items": partial(
            tiles_of_cohort,
            facts=facts,
            pad=pad,
            skip_blank=skip_blank,
            min_tiles=min_tiles,
            ids=ids,
            cache=cache,
            margin=margin,
        ),
        "splitter": FuncSplitter(is_valid),
        "batch_tfms": transforms,
        "dl_type": ForegroundDL if sample == FOREGROUND else TfmdDL,
    }
    known = {"facts": facts, "c": len(CLASSES), "vocab": list(CLASSES)}
    items_of = partial(tiles_of_image, facts=facts, pad=pad, cache=cache)
    return FieldDataBlock(items_of=items_of, known=known, **{**ours, **arguments})


def seg_dataloaders(
    cohort: Cohort,
    tile: int = 480,
    bs: int = 16,  # tiles per batch
    workers: int = 0,  # loader processes
    seed: int | None = SEED,  # seeds every generator before the loaders are built; None: does not
    device: torch.device | str | None = None,
    **arguments: Any,
) -> DataLoaders:
    """Return `DataLoaders` of (TensorField, TensorNuclei) tiles; `dls.facts` are their `SegFacts`.

    `arguments` are those of `seg_block`. Fields are decoded once into a shared memory-mapped cache, scaled by
    percentiles and normalised with the statistics of the training fields. Validation tiles are not augmented. Raises
    `UserError` for cohorts without masks, training fields or validation fields, and for unreadable files.
    """
    if seed is not None:
        set_seed(seed, reproducible=True)
    block = seg_block(cohort, tile, **arguments)
    return block.dataloaders(cohort, bs=bs, num_workers=workers, device=device, persistent_workers=False)


def tiles_of_cohort(
    cohort: Cohort,
    facts: SegFacts,
    pad: str = PAD,
    skip_blank: bool = False,
    min_tiles: int = 0,  # training tiles at least: fewer are repeated
    ids: bool = False,
    cache: str | Path | None = None,
    margin: int = 0,  # pixels around the training tiles, for the augmentation
) -> list[Tile]:
    """Return the tiles of the training and validation fields of a cohort, as items of the `DataBlock`.

    Tiles in which the truth is unknown everywhere are left out.
    """
    cohort = cohort.with_masks()
    tiles: list[Tile] = []
    for split in ("train", "valid"):
        fields = cache_cohort(_needed(cohort, split), facts.channels, facts.scaling, cache, ids=ids)
        found = tiles_of(fields, facts.tile, pad=pad, split=split, margin=margin if split == "train" else 0)
        tiles += [tile for tile in found if not is_unknown(tile)]
    tiles = _without_blank(tiles, skip_blank)
    training = [t for t in tiles if not is_valid(t)]
    as_with_all = round(len(training) * _repeats(cohort, facts.tile))
    each = -(-min_tiles // max(len(training), 1))  # times that each is shown at least
    return [*cycled(training, max(as_with_all, each * len(training))), *filter(is_valid, tiles)]


def tiles_of_image(path: str | Path, facts: SegFacts, pad: str = PAD, cache: str | Path | None = None) -> list[Tile]:
    """The tiles of an image file, row by row, as items to predict."""
    return tiles_of([cache_file(path, facts.channels, facts.scaling, cache)], facts.tile, pad, "test")


def _repeats(cohort: Cohort, tile: int) -> float:
    """How often an epoch shows each training tile on average, so that some fields make an epoch as long as all do."""
    if not cohort.left_out:
        return 1
    n = {row.field: len(list(grid(mask_shape(row.mask), tile))) for row in cohort.rows()}
    kept = sum(n[name] for name in cohort.part("train").table.field)
    return 1 + sum(n[name] for name in cohort.left_out & n.keys()) / kept


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
