"""Label images of planes that are too large to label at once: chunks with a halo, where each object is written once."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage as ndi


class Box(NamedTuple):
    """Rows [y0, y1) and columns [x0, x1) of a plane."""

    y0: int
    y1: int
    x0: int
    x1: int

    def grown(self, margin: int, shape: tuple[int, int]) -> "Box":
        """The box extended by `margin` pixels on every side, clipped to the plane."""
        return Box(
            max(0, self.y0 - margin),
            min(shape[0], self.y1 + margin),
            max(0, self.x0 - margin),
            min(shape[1], self.x1 + margin),
        )

    def slices(self, y: int = 0, x: int = 0) -> tuple[slice, slice]:
        """Slices of the box in an array whose first pixel is (y, x) of the plane."""
        return slice(self.y0 - y, self.y1 - y), slice(self.x0 - x, self.x1 - x)

    def union(self, other: "Box") -> "Box":
        """The smallest box that contains both boxes."""
        return Box(min(self.y0, other.y0), max(self.y1, other.y1), min(self.x0, other.x0), max(self.x1, other.x1))


def chunk_rows(shape: tuple[int, int], edge: int) -> Iterator[list[Box]]:
    """Divide a plane into squares of `edge` pixels; yields one row of squares at a time."""
    for y in range(0, shape[0], edge):
        yield [Box(y, min(y + edge, shape[0]), x, min(x + edge, shape[1])) for x in range(0, shape[1], edge)]


class ChunkedLabels:
    """Writes the objects found in each chunk, in raster order of the chunks, into one plane of labels 1..n.

    An object is deferred to the later chunk that contains its centre, if that chunk sees all of it. Any other object is
    written to the pixels that are still free. If earlier chunks already cover more than half of it, its free pixels are
    added to the object that covers most of it. An object smaller than the halo is therefore written once and whole, as
    if the plane had been labelled at once; a larger object may be split, but has no hole and is not counted twice.
    """

    def __init__(self, plane: Any, edge: int, halo: int, min_area: float = 0):
        self.plane, self.edge, self.halo, self.min_area = plane, edge, halo, min_area
        self.count = 0  # objects written so far

    def write(self, chunk: Box, seen: Box, found: np.ndarray) -> tuple[Box, np.ndarray]:
        """Write the objects `found` in the box `seen` (the chunk with its halo or more), labels 1..k without gaps.

        Returns the box of the chunk with its halo, and an array of that size with the labels of the new pixels.
        """
        view = chunk.grown(self.halo, self.plane.shape)
        objects = found[view.slices(seen.y0, seen.x0)]
        before = np.asarray(self.plane[view.slices()])
        is_deferred = self._is_deferred(chunk, seen, found)
        pixels = np.bincount(objects.ravel(), minlength=len(is_deferred))
        cover, covered = _covers(objects, before, len(is_deferred))
        is_merged = (covered > 0) & ((2 * covered > pixels) | (pixels - covered < self.min_area))
        is_merged &= ~is_deferred
        is_new = ~is_deferred & ~is_merged & (pixels > covered)
        is_new[0] = is_merged[0] = False
        label = np.where(is_merged, cover, 0).astype(np.int32)
        label[is_new] = self.count + 1 + np.arange(is_new.sum())
        self.count += int(is_new.sum())
        added = np.where(before == 0, label[objects], 0)
        if added.any():
            self.plane[view.slices()] = before + added
        return view, added

    def _is_deferred(self, chunk: Box, seen: Box, found: np.ndarray) -> np.ndarray:
        """Whether each label of `found`, background included, is deferred to a later chunk."""
        places = ndi.find_objects(found)
        if not places:
            return np.zeros(1, bool)
        y0, y1, x0, x1 = np.array([(s[0].start, s[0].stop, s[1].start, s[1].stop) for s in places]).T
        at = np.flatnonzero(found)
        owner = found.ravel()[at] - 1
        area = np.bincount(owner)
        # integer sums, so that every chunk computes exactly the same centre
        row = np.bincount(owner, at // found.shape[1] + seen.y0) // area // self.edge
        column = np.bincount(owner, at % found.shape[1] + seen.x0) // area // self.edge
        own_row, own_column = chunk.y0 // self.edge, chunk.x0 // self.edge
        later = (row > own_row) | ((row == own_row) & (column > own_column))
        sees_all = (y0 + seen.y0 >= row * self.edge - self.halo) & (y1 + seen.y0 <= (row + 1) * self.edge + self.halo)
        sees_all &= x0 + seen.x0 >= column * self.edge - self.halo
        sees_all &= x1 + seen.x0 <= (column + 1) * self.edge + self.halo
        return np.concatenate([[False], later & sees_all])


def _covers(objects: np.ndarray, before: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """For each object: the label that covers most of it, and the number of its pixels that any label covers."""
    cover, covered = np.zeros(n, np.int64), np.zeros(n, np.int64)
    both = (objects > 0) & (before > 0)
    if both.any():
        pairs = pd.DataFrame({"object": objects[both], "label": before[both]}).value_counts().reset_index()
        best = pairs.drop_duplicates("object")  # sorted by falling counts
        cover[best["object"]] = best["label"]
        total = pairs.groupby("object")["count"].sum()
        covered[total.index] = total
    return cover, covered
