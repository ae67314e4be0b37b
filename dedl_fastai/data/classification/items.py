"""Items of the classification DataBlock: fields or tiles with their classes and cached pictures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...io.fields.readers import open_field
from ...phenotypes.gates.fit import Cuts
from ...phenotypes.rules import Rules
from ..cache import cache_folder, cached_array, for_each
from ..cohort import Cohort
from ..scaling import PercentileScaling
from ..tiles import cut
from .inputs import n_planes, read_input, resized
from .labels import Labels, field_labels
from .tile_labels import by_tile, tile_corners

log = logging.getLogger(__name__)

_VERSION = "picture 1"  # increase it when the pictures of a file change, so that old cache entries are no longer used


@dataclass(frozen=True)
class ClfFacts:
    """Properties of the training data that a classification model needs for prediction; `dls.facts` and model.json."""

    input: str  # one of inputs.INPUTS
    channels: tuple[str, ...]  # full names in the order of the planes; () if the file's thumbnail or picture is read
    scaling: PercentileScaling
    size: int  # edge of a picture in pixels
    tile: int  # edge of a tile in pixels of the field; 0: whole fields
    vocab: tuple[str, ...]
    mean: tuple[float, ...] = ()  # per plane
    std: tuple[float, ...] = ()
    prevalence: tuple[float, ...] = ()  # share of the training items with each class
    n_train: int = 0
    min_cells: int = 1
    rules_text: str = ""
    how: str = ""
    thresholds: dict[str, Cuts] = field(default_factory=dict)  # marker -> intensity above which a cell is positive
    measurements: tuple[str, ...] = ()  # of cells, that a network takes next to their crops

    @property
    def n_planes(self) -> int:
        """Number of planes of a picture."""
        return n_planes(self.input, self.channels)


@dataclass(frozen=True)
class ClfItem:
    """One field or tile, an item of the classification DataBlock."""

    field: str
    patient: str
    image: str
    split: str
    labels: tuple[str, ...]
    target: tuple[float, ...]  # 1 or 0 for each class of the vocabulary
    picture: str  # path of the cached array: the item's picture, or that of the whole field if items are tiles
    size: int
    y: int = 0  # upper left corner in pixels of the field
    x: int = 0
    tile: int = 0
    scale: float = 1.0  # pixels of the picture per pixel of the field

    def pixels(self) -> np.ndarray:
        """Return the picture as float32 (C, size, size) in [0, 1]."""
        whole = np.load(self.picture, mmap_mode="r")
        if not self.tile:
            return np.array(whole)
        return tile_of(whole, self.y, self.x, tile=self.tile, scale=self.scale, size=self.size)


def tile_of(whole: np.ndarray, y: int, x: int, tile: int, scale: float, size: int) -> np.ndarray:
    """Cut the tile at (y, x) of the field from its picture and resize it; beyond the field, pixels are mirrored."""
    top, left, edge = round(y * scale), round(x * scale), max(1, round(tile * scale))
    return resized(cut(whole, top, left, size=edge, pad="reflect"), size)


def labels_for(cohort: Cohort, facts: ClfFacts) -> Labels:
    """Label a cohort as in training: with the rules and thresholds of `facts`, by field or by tile."""
    rules = Rules.parse(facts.rules_text) if facts.rules_text else "tfh5"
    return label_cohort(cohort, rules, min_cells=facts.min_cells, tile=facts.tile, thresholds=facts.thresholds)


def label_cohort(
    cohort: Cohort,
    rules: str | Path | Rules,
    min_cells: int,
    tile: int,
    thresholds: str | Mapping[str, Cuts] | None = None,
) -> Labels:
    """Label the fields of a cohort, or its tiles if `tile` is not 0; for tiles, cell tables override given labels."""
    if not tile:
        return field_labels(cohort, rules, min_cells, thresholds)
    if "cells" in cohort.table and (cohort.table["cells"] != "").any():
        cohort = replace(cohort, table=cohort.table.assign(labels=""))
    return by_tile(field_labels(cohort, rules, min_cells, thresholds), tile)


def clf_items(
    cohort: Cohort,
    facts: ClfFacts,
    split: str = "train",  # or valid, test, all
    cache: str | Path | None = None,  # folder of decoded pictures
    labels: Labels | None = None,  # default: `labels_for`
) -> list[ClfItem]:
    """Return the items of one split in table order; classes that are not in `facts.vocab` are dropped and logged.

    Raises `UserError` if the split has no labelled item, or if a file is unreadable.
    """
    labels = labels or labels_for(cohort, facts)
    part = labels.cohort.part(split)
    if part.table.empty:
        raise UserError(f"{cohort.root} has no labelled {split} fields: check the split and the labels.")
    unknown = [c for c in labels.vocab if c not in facts.vocab]
    if unknown:
        log.warning("classes that the model does not know are dropped: %s", ", ".join(unknown))
    matrix = labels.matrix.reindex(columns=facts.vocab, fill_value=False).loc[part.table.field].to_numpy(bool)
    pictures = cached_pictures(list(part.table.image), facts, cache)
    return [
        _item(row, is_present, facts=facts, picture=pictures[row.image][0], scale=pictures[row.image][1])
        for row, is_present in zip(part.rows(), matrix, strict=True)
    ]


def _item(row: Any, is_present: np.ndarray, *, facts: ClfFacts, picture: str, scale: float) -> ClfItem:
    return ClfItem(
        field=row.source if facts.tile else row.field,
        patient=row.patient,
        image=row.image,
        split=row.split,
        labels=tuple(name for name, present in zip(facts.vocab, is_present, strict=True) if present),
        target=tuple(is_present.astype(float).tolist()),
        picture=picture,
        size=facts.size,
        y=int(row.y) if facts.tile else 0,
        x=int(row.x) if facts.tile else 0,
        tile=facts.tile,
        scale=scale,
    )


def cached_pictures(
    images: Sequence[str], facts: ClfFacts, cache: str | Path | None = None
) -> dict[str, tuple[str, float]]:
    """Return image -> (path of the cached array, its pixels per pixel of the field); resized unless items are tiles."""
    folder = Path(cache) if cache else cache_folder()
    settings = [_VERSION, facts.input, list(facts.channels), facts.scaling.to_dict(), 0 if facts.tile else facts.size]

    def cached(image: str) -> tuple[str, float]:
        entry, shape = cached_array(image, settings, folder, lambda: _whole(image, facts))
        if not facts.tile:
            return str(entry), 1.0
        with open_field(image) as field:
            return str(entry), shape[0] / field.shape[0]

    unique = list(dict.fromkeys(images))
    return dict(zip(unique, for_each(cached, unique), strict=True))


def _whole(image: str | Path, facts: ClfFacts) -> np.ndarray:
    pixels = read_input(image, facts.input, facts.channels, facts.scaling)
    return pixels if facts.tile else resized(pixels, facts.size)


def items_of_image(path: str | Path, facts: ClfFacts, cache: str | Path | None = None) -> list[ClfItem]:
    """An image file as items to predict, without labels: its picture, or those of its tiles."""
    picture, scale = cached_pictures([str(path)], facts, cache)[str(path)]
    corners = [(0, 0)]
    if facts.tile:
        with open_field(path) as field:
            corners = tile_corners(field.shape, facts.tile)
    item = ClfItem(
        field=Path(path).stem,
        patient="",
        image=str(path),
        split="test",
        labels=(),
        target=(0.0,) * len(facts.vocab),
        picture=picture,
        size=facts.size,
        tile=facts.tile,
        scale=scale,
    )
    return [replace(item, y=y, x=x) for y, x in corners]


def picture_of(path: str | Path, facts: ClfFacts) -> np.ndarray:
    """Return the picture (C, size, size) of a new file as float32 in [0, 1], before normalisation."""
    if facts.tile:
        raise UserError(f"{path}: the model classifies tiles of {facts.tile} pixels, not fields: use `tiles_of_file`.")
    return _whole(path, facts)


def tiles_of_file(path: str | Path, facts: ClfFacts) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return corners (y, x) and pictures (n, C, size, size) of a new file: of its tiles, or of the field."""
    if not facts.tile:
        return [(0, 0)], picture_of(path, facts)[None]
    whole = _whole(path, facts)
    with open_field(path) as field:
        height, width = field.shape
    corners, scale = tile_corners((height, width), facts.tile), whole.shape[1] / height
    pictures = [tile_of(whole, y, x, tile=facts.tile, scale=scale, size=facts.size) for y, x in corners]
    return corners, np.stack(pictures)
