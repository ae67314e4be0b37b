"""Outlines of labelled objects as polygons, traced region by region in label images of any size; and their inverse."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from skimage.draw import polygon as draw_polygon
from skimage.measure import find_contours

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
            y, x = np.nonzero(block)
            if not len(y):
                continue
            ids = block[y, x]
            n_new = int(ids.max()) + 1 - len(first)
            if n_new > 0:
                first = np.pad(first, [(0, n_new), (0, 0)], constant_values=max(height, width))
                last = np.pad(last, [(0, n_new), (0, 0)])
            for axis, position in enumerate((y + top, x + left)):
                np.minimum.at(first[:, axis], ids, position)
                np.maximum.at(last[:, axis], ids, position + 1)
    first[last[:, 0] == 0] = 0
    return np.hstack([first, last])


def _outlines_of_region(
    labels: Any, ids: np.ndarray, boxes: np.ndarray, region: int, simplify: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the outlines of the objects that begin in one region."""
    y0, x0 = boxes[:, :2].min(axis=0)
    end = boxes[0, :2] // region * region + region + _HALO
    inside: np.ndarray = np.all(boxes[:, 2:] <= end, axis=1)
    y1, x1 = boxes[inside, 2:].max(axis=0, initial=0)
    block = np.asarray(labels[y0:y1, x0:x1]) if inside.any() else np.empty((0, 0))
    for label, box, is_inside in zip(ids.tolist(), boxes.tolist(), inside, strict=True):
        top, left, bottom, right = box
        if is_inside:
            part = block[top - y0 : bottom - y0, left - x0 : right - x0]
        else:
            part = np.asarray(labels[top:bottom, left:right])
        yield label, _outline(part == label, simplify) + np.array([top, left], dtype=np.float64)


def _outline(mask: np.ndarray, simplify: float) -> np.ndarray:
    """The outline of a mask, simplified as far as its IoU with the mask allows."""
    rings = find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    ring = rings[0] if len(rings) == 1 else max(rings, key=lambda r: abs(signed_area(r)))
    ring = _simplified(ring - 0.5, 0.0)  # - 1 for the padding, + 0.5 to the pixel's centre
    while simplify > 0.1:
        fewer = _simplified(ring, simplify)
        if len(fewer) > 3 and _iou(mask, fewer) > _MIN_IOU:
            return fewer
        simplify /= 2
    return ring


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The closed ring without the points that are at most `tolerance` away from the line between their neighbours.

    All points that are nearer to that line than both neighbours to theirs are removed at once, which is far faster than
    Douglas-Peucker for short rings.
    """
    points = ring[:-1]
    while len(points) > 4:
        cyclic = np.concatenate([points[-1:], points, points[:1]])
        chord, step = cyclic[2:] - cyclic[:-2], points - cyclic[:-2]
        distance = np.abs(chord[:, 0] * step[:, 1] - chord[:, 1] * step[:, 0])
        distance /= np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1e-9)
        around = np.concatenate([distance[-1:], distance, distance[:1]])
        removed = (distance <= tolerance) & (distance <= around[:-2]) & (distance < around[2:])
        if not removed.any():
            break
        points = points[~removed]
    return np.concatenate([points, points[:1]])


def _iou(mask: np.ndarray, ring: np.ndarray) -> float:
    rows, cols = draw_polygon(ring[:, 0] - 0.5, ring[:, 1] - 0.5, mask.shape)
    both = int(mask[rows, cols].sum())
    return both / (int(mask.sum()) + len(rows) - both)


def signed_area(ring: np.ndarray) -> float:
    """Area of a ring (n, 2) of (y, x); positive if it turns from x to y, as RFC 7946 requires of an outer ring."""
    y, x = (ring - ring[0]).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
