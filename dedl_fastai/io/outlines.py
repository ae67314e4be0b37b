"""Outlines of labelled objects as polygons, found region by region in label images of any size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from skimage.draw import polygon as draw_polygon
from skimage.measure import find_contours

_SAME_IOU = 0.985  # a simpler outline that covers the cell less well than this is not taken
_HALO = 128  # pixels read beyond a region: what is longer is read by itself


def cell_polygons(
    labels: Any,  # (H, W) integers, only ever sliced: an array, a memory map, zarr; 0 is background, ids start near 1
    simplify: float = 0.5,  # how far in pixels an outline may leave out corners; 0 keeps them all
    region: int = 2048,  # edge in pixels of what is in memory at a time
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (label, outline); an outline is (n, 2) float64 (y, x), closed. The same outlines whatever the region.

    Region by region, row by row, each object with the region its box begins in; there in the order of the labels.
    The upper left pixel covers 0 to 1, as in QuPath and ImageJ: its centre is at 0.5. The centres of exactly the
    cell's pixels lie inside; simplified, at least 98 % of them (IoU). A label in several pieces gives its largest,
    a hole is filled.
    """
    boxes = object_boxes(labels, region)
    ids = np.flatnonzero(boxes[:, 2])
    rows, columns = boxes[ids, 0] // region, boxes[ids, 1] // region
    order = np.lexsort((ids, columns, rows))
    steps = np.flatnonzero(np.diff(rows[order]) | np.diff(columns[order])) + 1
    for members in np.split(ids[order], steps):
        if len(members):
            yield from _of_region(labels, members, boxes[members], region, simplify)


def object_boxes(labels: Any, region: int = 2048) -> np.ndarray:
    """(highest id + 1, 4) of y0, x0, y1, x1 (exclusive) for every id; zeros where there is no such object."""
    height, width = labels.shape
    first, last = np.full((1, 2), max(height, width)), np.zeros((1, 2), np.int64)
    for top in range(0, height, region):
        for left in range(0, width, region):
            block = np.asarray(labels[top : top + region, left : left + region])
            y, x = np.nonzero(block)
            if not len(y):
                continue
            ids = block[y, x]
            more = int(ids.max()) + 1 - len(first)
            if more > 0:
                first = np.pad(first, [(0, more), (0, 0)], constant_values=max(height, width))
                last = np.pad(last, [(0, more), (0, 0)])
            for axis, at in enumerate((y + top, x + left)):
                np.minimum.at(first[:, axis], ids, at)
                np.maximum.at(last[:, axis], ids, at + 1)
    first[last[:, 0] == 0] = 0
    return np.hstack([first, last])


def _of_region(
    labels: Any, ids: np.ndarray, boxes: np.ndarray, region: int, simplify: float
) -> Iterator[tuple[int, np.ndarray]]:
    """The outlines of the objects that begin in one region."""
    y0, x0 = boxes[:, :2].min(axis=0)
    end = boxes[0, :2] // region * region + region + _HALO
    inside = (boxes[:, 2:] <= end).all(axis=1)
    y1, x1 = boxes[inside, 2:].max(axis=0, initial=0)
    block = np.asarray(labels[y0:y1, x0:x1]) if inside.any() else None
    for label, box, is_inside in zip(ids.tolist(), boxes.tolist(), inside, strict=True):
        top, left, bottom, right = box
        if is_inside:
            part = block[top - y0 : bottom - y0, left - x0 : right - x0]
        else:
            part = np.asarray(labels[top:bottom, left:right])
        yield label, _outline(part == label, simplify) + np.array([top, left], dtype=np.float64)


def _outline(mask: np.ndarray, simplify: float) -> np.ndarray:
    rings = find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    ring = rings[0] if len(rings) == 1 else max(rings, key=lambda r: abs(signed_area(r)))
    ring = _simplified(ring - 0.5, 0.0)  # - 1 for the padding, + 0.5 to the pixel's centre
    while simplify > 0.1:
        fewer = _simplified(ring, simplify)
        if len(fewer) > 3 and _iou(mask, fewer) > _SAME_IOU:
            return fewer
        simplify /= 2
    return ring


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The closed ring without points at most `tolerance` away from the line between their neighbours.

    All points that lie nearer than both neighbours go at once: far faster than Douglas-Peucker for short rings.
    """
    points = ring[:-1]
    while len(points) > 4:
        around = np.concatenate([points[-1:], points, points[:1]])
        chord, ahead = around[2:] - around[:-2], points - around[:-2]
        off = np.abs(chord[:, 0] * ahead[:, 1] - chord[:, 1] * ahead[:, 0])
        off /= np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1e-9)
        ranked = np.concatenate([off[-1:], off, off[:1]])
        goes = (off <= tolerance) & (off <= ranked[:-2]) & (off < ranked[2:])
        if not goes.any():
            break
        points = points[~goes]
    return np.concatenate([points, points[:1]])


def _iou(mask: np.ndarray, ring: np.ndarray) -> float:
    rows, cols = draw_polygon(ring[:, 0] - 0.5, ring[:, 1] - 0.5, mask.shape)
    both = int(mask[rows, cols].sum())
    return both / (int(mask.sum()) + len(rows) - both)


def signed_area(ring: np.ndarray) -> float:
    """The area of a ring (n, 2) of (y, x); positive where it runs from x to y, as RFC 7946 wants an outer ring."""
    y, x = (ring - ring[0]).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
