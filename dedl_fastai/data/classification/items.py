"""Items of the classification DataBlock: fields or tiles with their classes and cached pictures."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...io.fields.readers import open_field
from ...phenotypes.rules import Rules
from ..cache import cache_folder, cached_array, for_each
from ..cohort import Cohort
from ..scaling import PercentileScaling
from ..tiles import cut
from .inputs import n_planes, read_input, resized
from .labels import Labels, field_labels
from .tile_labels import by_tile, tile_corners

log = logging.getLogger(__name__)

_VERSION = "picture 1"  # a change of what is made of a file makes old cache entries unused


@dataclass(frozen=True)
class ClfFacts:
    """What a classification model must know of the data it was trained on; `dls.facts`, later in model.json."""

    input: str  # one of clf_inputs.INPUTS
    channels: tuple[str, ...]  # full names in the order of the planes; () where the file's own picture is read
    scaling: PercentileScaling
    size: int  # edge of a picture in pixels
    tile: int  # edge of a tile in pixels of the field; 0: whole fields
    vocab: tuple[str, ...]
    mean: tuple[float, ...] = ()  # per plane
    std: tuple[float, ...] = ()
    prevalence: tuple[float, ...] = ()  # share of the training items that hold each class
    n_train: int = 0
    min_cells: int = 1
    rules_text: str = ""
    how: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)  # marker -> intensity above which a cell is positive

    @property
    def n_planes(self) -> int:
        """Planes of a picture."""
        return n_planes(self.input, self.channels)


@dataclass(frozen=True)
class ClfItem:
    """One field or tile: the item of the classification DataBlock."""

    field: str
    patient: str
    image: str
    split: str
    labels: tuple[str, ...]
    target: tuple[float, ...]  # 1 or 0 for each class of the vocabulary
    picture: str  # cached array: of this item's size, or of the whole field where it is tiled
    size: int
    y: int = 0  # upper left corner in pixels of the field
    x: int = 0
    tile: int = 0
    scale: float = 1.0  # pixels of the picture for one of the field

    def pixels(self) -> np.ndarray:
        """float32 (C, size, size) in [0, 1]."""
        whole = np.load(self.picture, mmap_mode="r")
        return tile_of(whole, self.y, self.x, self.tile, self.scale, self.size) if self.tile else np.array(whole)


def tile_of(whole: np.ndarray, y: int, x: int, tile: int, scale: float, size: int) -> np.ndarray:
    """The tile at (y, x) of the field, cut from its picture and resized; mirrored where the field ends."""
    top, left, edge = round(y * scale), round(x * scale), max(1, round(tile * scale))
    return resized(cut(whole, top, left, edge, "reflect"), size)


def labels_for(cohort: Cohort, facts: ClfFacts) -> Labels:
    """Labels of the cohort told in the way `facts` says: the same rules and thresholds, field by field or by tile."""
    rules = Rules.parse(facts.rules_text) if facts.rules_text else "tfh5"
    return label_cohort(cohort, rules, facts.min_cells, facts.tile, facts.thresholds)


def label_cohort(cohort: Cohort, rules: str | Path | Rules, min_cells: int, tile: int, thresholds=None) -> Labels:
    """`field_labels`, or where `tile` is not 0 the labels of tiles, for which cell tables go before given labels."""
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
    labels: Labels | None = None,  # where they were made before
) -> list[ClfItem]:
    """Items of one split, in table order; classes that the facts do not know are dropped and logged.

    Raises `UserError` if the split has no labelled item, or a file does not read.
    """
    labels = labels or labels_for(cohort, facts)
    table = labels.cohort.part(split).table
    if table.empty:
        raise UserError(f"{cohort.root} has no labelled {split} fields: check the split and the labels.")
    unknown = [c for c in labels.vocab if c not in facts.vocab]
    if unknown:
        log.warning("classes the model does not know are dropped: %s", ", ".join(unknown))
    matrix = labels.matrix.reindex(columns=facts.vocab, fill_value=False).loc[table.field].to_numpy(bool)
    pictures = cached_pictures(table.image, facts, cache)
    return [_item(row, held, facts, *pictures[row.image]) for row, held in zip(table.itertuples(), matrix, strict=True)]


def _item(row, held: np.ndarray, facts: ClfFacts, picture: str, scale: float) -> ClfItem:
    names = tuple(name for name, is_there in zip(facts.vocab, held, strict=True) if is_there)
    place = dict(y=int(row.y), x=int(row.x), tile=facts.tile, scale=scale) if facts.tile else {}
    return ClfItem(
        field=row.source if facts.tile else row.field,
        patient=row.patient,
        image=row.image,
        split=row.split,
        labels=names,
        target=tuple(held.astype(float).tolist()),
        picture=picture,
        size=facts.size,
        **place,
    )


def cached_pictures(
    images: Sequence[str], facts: ClfFacts, cache: str | Path | None = None
) -> dict[str, tuple[str, float]]:
    """image -> (cached array, pixels of it for one of the field); resized already where fields are not tiled."""
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
    """The picture (C, size, size) of a new file, float32 in [0, 1] and not normalised; for models of whole fields."""
    if facts.tile:
        raise UserError(f"{path}: the model judges tiles of {facts.tile} pixels, not whole fields (`tiles_of_file`).")
    return _whole(path, facts)


def tiles_of_file(path: str | Path, facts: ClfFacts) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Corners (y, x) and pictures (n, C, size, size) of a new file's tiles; one whole picture if `facts.tile` is 0."""
    if not facts.tile:
        return [(0, 0)], picture_of(path, facts)[None]
    whole = _whole(path, facts)
    with open_field(path) as field:
        corners, scale = tile_corners(field.shape, facts.tile), whole.shape[1] / field.shape[0]
    return corners, np.stack([tile_of(whole, y, x, facts.tile, scale, facts.size) for y, x in corners])
