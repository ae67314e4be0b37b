"""Classification DataBlock and `DataLoaders` of a cohort: pictures of fields or tiles and their classes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.data.block import TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import FuncSplitter, Normalize
from fastai.torch_core import set_seed
from fastai.vision.core import imagenet_stats

from ...errors import UserError
from ...phenotypes.gates.fit import Cuts
from ...phenotypes.rules import Rules
from ..cohort import Cohort
from ..loaders import FieldDataBlock
from ..options import SEED
from ..scaling import PercentileScaling
from ..subsets import cycled
from .augment import PictureAugment
from .inputs import resolve_channels
from .items import ClfFacts, ClfItem, clf_items, items_of_image, label_cohort, labels_for
from .labels import Labels
from .tensors import ClassTargets, TensorPicture

log = logging.getLogger(__name__)

Stats = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation of each plane
STATS = ("train", "imagenet")


def PictureBlock(normalize: Normalize | None = None) -> TransformBlock:  # noqa: N802 (fastai's blocks read like classes)
    """A `TransformBlock` of pictures, float32 in [0, 1]; `normalize` is applied to batches."""
    return TransformBlock(type_tfms=TensorPicture.create, batch_tfms=[normalize] if normalize else None)


def ClassesBlock(vocab: Sequence[str]) -> TransformBlock:  # noqa: N802
    """fastai's encoded `MultiCategoryBlock` for these classes, which keeps probabilities when it decodes."""
    return TransformBlock(type_tfms=ClassTargets(vocab=list(vocab)))


def is_valid(item: ClfItem) -> bool:
    """Return whether the item is for validation; for `FuncSplitter`."""
    return item.split == "valid"


def target_of(item: ClfItem) -> list:  # fasttransform casts to this type, and cannot cast to list[float]
    """Return 1 or 0 for each class; the `get_y` of the DataBlock."""
    return list(item.target)


def clf_block(
    cohort: Cohort,  # with splits (`split_cohort`) and labels or cell tables; measured on its training items
    input: str = "thumbnail",  # thumbnail, autofluorescence, composite or markers
    size: int = 384,  # edge of a picture in pixels
    channels: Sequence[str] = (),  # of composite and markers (default: all) or the autofluorescence
    rules: str | Path | Rules = "tfh5",  # phenotype rules, for cell tables without phenotypes
    min_cells: int = 1,  # number of cells from which a class is present
    tile: int = 0,  # edge of the tiles in pixels of the field; 0: items are whole fields
    augment: Sequence[Callable] | None = None,  # batch transforms; default: the paper's, `PictureAugment()`
    stats: str | Stats = "train",  # normalise with the training pictures' statistics, "imagenet"'s, or these
    scaling: PercentileScaling | None = None,
    cache: str | Path | None = None,  # folder of decoded pictures
    thresholds: str | Mapping[str, Cuts] | None = None,  # marker -> intensity above which a cell is positive
    **arguments: Any,
) -> FieldDataBlock:
    """Return the `DataBlock` of pictures of a cohort and their classes; `block.known["facts"]` are its `ClfFacts`.

    `block.dataloaders(cohort, bs=16)` gives the loaders, `block.summary(cohort)` explains every step. `arguments` are
    those of `DataBlock`, and replace ours: `blocks`, `splitter`, `getters` or `get_y`, ... Tiles of a cohort with one
    patient are split by place. Raises `UserError` for cohorts without labels or training fields, and for
    unreadable files.
    """
    if isinstance(stats, str) and stats not in STATS:
        raise UserError(f"stats={stats!r} is unknown; it may be {' or '.join(STATS)}.")
    labels = label_cohort(cohort, rules, min_cells=min_cells, tile=tile, thresholds=thresholds)
    facts = _facts(labels, input, channels, scaling=scaling or PercentileScaling(), size=size, tile=tile)
    facts = _with_statistics(facts, clf_items(cohort, facts, split="train", cache=cache, labels=labels), stats)
    labels = _with_warnings(labels, facts)
    normalize = Normalize.from_stats(list(facts.mean), list(facts.std), cuda=False)
    is_color = facts.input in ("thumbnail", "composite")  # the planes of three markers are not colours
    ours: dict[str, Any] = {
        "blocks": (PictureBlock(normalize), ClassesBlock(facts.vocab)),
        "get_items": lambda source: items_of_cohort(source, facts, cache, labels if source is cohort else None),
        "splitter": FuncSplitter(is_valid),
        "batch_tfms": [PictureAugment(color=is_color)] if augment is None else list(augment),
    }
    if "getters" not in arguments:
        ours["get_y"] = target_of
    vocab = list(facts.vocab)
    known = {"facts": facts, "labels": labels, "c": len(vocab), "vocab": vocab}
    return FieldDataBlock(
        items_of=partial(items_of_image, facts=facts, cache=cache), known=known, **{**ours, **arguments}
    )


def clf_dataloaders(
    cohort: Cohort,
    input: str = "thumbnail",
    size: int = 384,
    bs: int = 16,  # pictures per batch
    workers: int = 0,  # loader processes
    seed: int | None = SEED,  # seeds every generator before the loaders are built; None: does not
    device: torch.device | str | None = None,
    **arguments: Any,
) -> DataLoaders:
    """Return `DataLoaders` of (TensorPicture, TensorMultiCategory); `dls.facts` are their `ClfFacts`.

    `arguments` are those of `clf_block`. Pictures are decoded once into a shared memory-mapped cache. Validation
    pictures are not augmented. `dls.labels` are the labels of all fields (or tiles) with their warnings. Raises
    `UserError` for cohorts without labels, training fields or validation fields, and for unreadable files.
    """
    if seed is not None:
        set_seed(seed, reproducible=True)
    block = clf_block(cohort, input, size, **arguments)
    return block.dataloaders(cohort, bs=bs, num_workers=workers, device=device, persistent_workers=False)


def items_of_cohort(
    cohort: Cohort, facts: ClfFacts, cache: str | Path | None = None, labels: Labels | None = None
) -> list[ClfItem]:
    """Return the training and validation items of a cohort, as items of the `DataBlock`."""
    labels = labels or labels_for(cohort, facts)
    training, validation = (clf_items(cohort, facts, s, cache=cache, labels=labels) for s in ("train", "valid"))
    return [*cycled(training, round(len(training) * cohort.repeats)), *validation]


def _facts(
    labels: Labels, input: str, channels: Sequence[str], *, scaling: PercentileScaling, size: int, tile: int
) -> ClfFacts:
    """`ClfFacts` without statistics, before pictures are read; the channels are those of the first training field."""
    training = labels.cohort.part("train").table
    if training.empty:
        raise UserError(f"{labels.cohort.root} has no labelled train fields: split the cohort (`split_cohort`).")
    return ClfFacts(
        input=input,
        channels=resolve_channels(training.image.iloc[0], input, channels),
        scaling=scaling,
        size=size,
        tile=tile,
        vocab=tuple(labels.vocab),
        min_cells=labels.min_cells,
        rules_text=labels.rules_text,
        how=labels.how,
        thresholds=labels.thresholds,
    )


def _with_statistics(facts: ClfFacts, items: Sequence[ClfItem], stats: str | Stats) -> ClfFacts:
    """Add the prevalence of the classes, and mean and standard deviation of the planes, over the training items."""
    if stats == "imagenet" and facts.n_planes != 3:
        raise UserError(
            f"stats='imagenet' is for three planes, but input={facts.input} has {facts.n_planes}: use stats='train'."
        )
    if isinstance(stats, str):
        stats = imagenet_stats if stats == "imagenet" else plane_statistics(items, facts.n_planes)
    mean, std = stats
    if len(mean) != facts.n_planes or len(std) != facts.n_planes:
        raise UserError(
            f"stats={stats!r}: a mean and a standard deviation for each of {facts.n_planes} planes are needed."
        )
    prevalence = np.array([i.target for i in items]).mean(axis=0).tolist()
    return replace(facts, mean=tuple(mean), std=tuple(std), prevalence=tuple(prevalence), n_train=len(items))


def _with_warnings(labels: Labels, facts: ClfFacts) -> Labels:
    """Add a warning for each class that is constant in the training items but not in all items; log all warnings."""
    everywhere = [name for name, share in labels.prevalence.items() if share in (0, 1)]
    constant = [(n, s) for n, s in zip(facts.vocab, facts.prevalence, strict=True) if s in (0, 1)]
    added = [f"class {n!r} is in {'every' if s else 'no'} training item" for n, s in constant if n not in everywhere]
    for warning in [*labels.warnings, *added]:
        log.warning("%s", warning)
    return replace(labels, warnings=[*labels.warnings, *added])


def plane_statistics(items: Sequence[ClfItem], n_planes: int) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each plane, with one picture in memory at a time."""
    total, squares = np.zeros(n_planes), np.zeros(n_planes)
    for item in items:
        pixels = item.pixels().reshape(n_planes, -1).astype(np.float64)
        total += pixels.mean(axis=1)
        squares += (pixels**2).mean(axis=1)
    mean = total / len(items)
    std = np.sqrt(np.maximum(squares / len(items) - mean**2, 1e-8))
    return mean.tolist(), std.tolist()
