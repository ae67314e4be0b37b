"""`read_drawn_nuclei`: nuclei that were drawn or corrected in QuPath, as labels and a table of their classes."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.draw import polygon as draw_polygon

from ..errors import UserError
from .corrections import with_whole_nuclei
from .qupath import QuPathObject, read_qupath

log = logging.getLogger(__name__)

_ROWS = 1024  # of a label image whose pixels are listed at a time
REGION, IGNORE = "Region*", "Ignore*"  # QuPath's own classes of annotations that are no objects


@dataclass(frozen=True)
class DrawnNuclei:
    """Nuclei as `labels`, ids from 1 on, int32 (H, W); `known` says where they are the truth, bool (H, W)."""

    labels: np.ndarray
    known: np.ndarray
    cells: pd.DataFrame  # one row per nucleus: label, x_px, y_px, Phenotype


def read_drawn_nuclei(path: str | Path, shape: tuple[int, int]) -> DrawnNuclei:
    """Fill the nuclei in a GeoJSON file of QuPath for an image of `shape`: cells, detections and annotations.

    A nucleus has the pixels whose centres are in its polygons and not in their holes; later objects cover earlier ones.
    Annotations of the class "Region*" say which part is the truth (default: everything), and those of the class
    "Ignore*" which part is not; a nucleus belongs to the part with more than half of it. Annotations around two or more
    other objects are no nuclei. Raises `UserError` if no nucleus or region is left, or if all nuclei are outside the
    image.
    """
    objects, n_others = read_qupath(path)
    parts = [o for o in objects if o.is_annotation and o.name in (REGION, IGNORE)]
    drawn = [o for o in objects if not (o.is_annotation and o.name in (REGION, IGNORE))]
    nuclei = _without_surrounding(drawn)
    n_left_out = n_others + len(drawn) - len(nuclei)
    if n_left_out:
        log.warning("%s: %d objects that are no nuclei are left out", path, n_left_out)
    if not nuclei and not parts:
        raise UserError(f"{path} holds no outlines of nuclei: export annotations, detections or cells from QuPath.")
    labels = filled(nuclei, shape)
    if nuclei and not labels.any():
        raise UserError(f"{path} has no nucleus inside {shape[0]} x {shape[1]} pixels: it belongs to another image.")
    return DrawnNuclei(labels, _known(parts, labels), _cell_table(labels, [o.name for o in nuclei]))


def filled(objects: list[QuPathObject], shape: tuple[int, int]) -> np.ndarray:
    """Return ids 1..n of the pixels of objects, int32 (H, W)."""
    labels = np.zeros(shape, np.int32)
    for label, drawn in enumerate(objects, 1):
        (y, x), mask = _mask_of(drawn, np.array(shape))
        labels[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = label
    return labels


def _mask_of(drawn: QuPathObject, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper left pixel of an object's box within an image, and its pixels in the box, bool."""
    box = drawn.box
    corner = np.clip(np.floor(box[:2]), 0, shape).astype(int)
    end = np.clip(np.ceil(box[2:]), corner, shape).astype(int)
    mask = np.zeros(end - corner, bool)
    for ring in drawn.rings:
        y, x = (ring - corner - 0.5).T
        mask[draw_polygon(y, x, mask.shape)] ^= True  # a hole takes pixels away, another polygon adds some
    return corner, mask


def _without_surrounding(objects: list[QuPathObject]) -> list[QuPathObject]:
    """The objects without the annotations that have the middle of two or more others in them."""
    if not objects:
        return []
    boxes = np.stack([o.box for o in objects])
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    order = np.argsort(middles[:, 0])
    from_, to = (np.searchsorted(middles[order, 0], boxes[:, i]) for i in (0, 2))

    def surrounds(i: int) -> bool:
        others = order[from_[i] : to[i]]
        points = middles[others[others != i]]
        points = points[((points >= boxes[i, :2]) & (points < boxes[i, 2:])).all(axis=1) & (points >= 0).all(axis=1)]
        if len(points) < 2:
            return False
        corner, mask = _mask_of(objects[i], np.ceil(boxes[i, 2:]))
        return int(mask[tuple((points.astype(int) - corner).T)].sum()) >= 2

    return [o for i, o in enumerate(objects) if not (o.is_annotation and surrounds(i))]


def _known(parts: list[QuPathObject], labels: np.ndarray) -> np.ndarray:
    if not parts:
        return np.ones(labels.shape, bool)
    regions, ignored = ([o for o in parts if o.name == name] for name in (REGION, IGNORE))
    inside = filled(regions, labels.shape) > 0 if regions else np.ones(labels.shape, bool)
    return with_whole_nuclei(inside & (filled(ignored, labels.shape) == 0), labels)


def _cell_table(labels: np.ndarray, names: list[str]) -> pd.DataFrame:
    """One row per nucleus that has pixels: its id, the middle of its pixels and its class."""
    sums = np.zeros((3, len(names) + 1))  # pixels, and their x and y
    for top in range(0, len(labels), _ROWS):
        y, x = np.nonzero(labels[top : top + _ROWS])
        owner = labels[y + top, x]
        sums += [np.bincount(owner, weights, len(names) + 1) for weights in (None, x, y + top)]
    ids = np.flatnonzero(sums[0])
    x_px, y_px = np.round(sums[1:, ids] / sums[0, ids], 2)
    return pd.DataFrame({"label": ids, "x_px": x_px, "y_px": y_px, "Phenotype": [names[i - 1] for i in ids]})
