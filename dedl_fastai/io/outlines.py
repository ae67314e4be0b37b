"""Outlines of labelled objects as polygons, region by region in label images of any size; and their inverse."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from skimage.draw import polygon as draw_polygon

from .rings import Rings, overlaps, traced

_MIN_IOU = 0.985  # the least IoU of a simplified outline with its cell
_HALO = 128  # pixels that are read beyond a region; objects that extend further are read one by one


def cell_polygons(
    labels: Any,  # (H, W) integers, 0 is background, ids start near 1; only sliced: an array, memory map or zarr array
    simplify: float = 0.36,  # largest distance in pixels of a corner that is left out; 0 keeps all corners
    region: int = 2048,  # edge in pixels of the part that is in memory at a time
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (label, outline) of each object; outlines are closed, (n, 2) float64 (y, x), and the same for any `region`.

    Objects are in the order of the regions in which their bounding boxes begin, row by row, and within a region in the
    order of their labels. The upper left pixel covers 0 to 1, as in QuPath and ImageJ: its centre is at 0.5. An outline
    encloses the centres of exactly the cell's pixels; a simplified one has an IoU above 0.98 with the cell. Up to
    0.36, where only the steps of diagonal edges are left out, it nearly always encloses the same centres. Only the
    largest piece of a label in several pieces is outlined, and holes are filled.
    """
    boxes = object_boxes(labels, region)
    ids = np.flatnonzero(boxes[:, 2])
    rows, columns = boxes[ids, 0] // region, boxes[ids, 1] // region
    order = np.lexsort((ids, columns, rows))
    steps = np.flatnonzero(np.diff(rows[order]) | np.diff(columns[order])) + 1
    for members in np.split(ids[order], steps):
        if len(members):
            yield from _outlines_of_region(labels, members, boxes=boxes[members], region=region, simplify=simplify)


def label_image(shape: tuple[int, int], outlines: Iterable[np.ndarray]) -> np.ndarray:
    """Fill outlines (k, 2) of (y, x) with 1..n as int32 (H, W); later outlines cover earlier ones."""
    labels = np.zeros(shape, dtype=np.int32)
    for i, outline in enumerate(outlines, 1):
        labels[draw_polygon(outline[:, 0], outline[:, 1], shape)] = i
    return labels


def object_boxes(labels: Any, region: int = 2048) -> np.ndarray:
    """Bounding boxes y0, x0, y1, x1 (exclusive) of all ids, (highest id + 1, 4); zeros for ids that do not occur."""
    height, width = labels.shape
    first, last = np.full((1, 2), max(height, width)), np.zeros((1, 2), np.int64)
    for top in range(0, height, region):
        for left in range(0, width, region):
            block = np.asarray(labels[top : top + region, left : left + region])
            is_new = block[:, 1:] != block[:, :-1]  # a run of pixels ends, and another one begins
            side = np.ones((len(block), 1), bool)
            y, x0 = np.nonzero(np.hstack([side, is_new]) & (block > 0))
            x1 = np.nonzero(np.hstack([is_new, side]) & (block > 0))[1] + 1
            if not len(y):
                continue
            ids = block[y, x0]
            n_new = int(ids.max()) + 1 - len(first)
            if n_new > 0:
                first = np.pad(first, [(0, n_new), (0, 0)], constant_values=max(height, width))
                last = np.pad(last, [(0, n_new), (0, 0)])
            for axis, (begin, end) in enumerate(((y + top, y + top + 1), (x0 + left, x1 + left))):
                np.minimum.at(first[:, axis], ids, begin)
                np.maximum.at(last[:, axis], ids, end)
    first[last[:, 0] == 0] = 0
    return np.hstack([first, last])


def _outlines_of_region(
    labels: Any, ids: np.ndarray, boxes: np.ndarray, region: int, simplify: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the outlines of the objects that begin in one region."""
    end = boxes[0, :2] // region * region + region + _HALO
    inside: np.ndarray = np.all(boxes[:, 2:] <= end, axis=1)
    together = _outlines(labels, ids[inside], boxes[inside], simplify=simplify)
    for label, box, is_inside in zip(ids, boxes, inside, strict=True):
        alone = {} if is_inside else _outlines(labels, label[None], box[None], simplify=simplify)
        yield int(label), (alone or together)[int(label)]


def _outlines(labels: Any, ids: np.ndarray, boxes: np.ndarray, simplify: float) -> dict[int, np.ndarray]:
    """The outline of each object, simplified as far as its IoU with the object allows; the part they fill is read."""
    if not len(ids):
        return {}
    (y0, x0), (y1, x1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    block = np.asarray(labels[y0:y1, x0:x1])
    rings = _largest(traced(block, ids)).corners()
    found = []
    while simplify > 0.1:
        fewer = rings.simplified(simplify)
        is_good = overlaps(fewer, block) > _MIN_IOU
        found.append(fewer.chosen(is_good))
        rings, simplify = rings.chosen(~is_good), simplify / 2
    origin = np.array([y0, x0], dtype=np.float64)
    return {
        label: outline + origin
        for part in (*found, rings)
        for label, outline in zip(part.ids.tolist(), part.closed(), strict=True)
    }


def _largest(rings: Rings) -> Rings:
    """The ring of each label with the largest area."""
    order = np.lexsort((-np.abs(rings.areas()), rings.ids))
    _, first = np.unique(rings.ids[order], return_index=True)
    is_largest = np.zeros(len(rings.ids), bool)
    is_largest[order[first]] = True
    return rings.chosen(is_largest)
