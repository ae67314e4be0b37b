"""`EditedLabels`: a label image of any size that can be changed; only the blocks that were changed are in memory."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..io.fields.readers import open_field

BLOCK = 512  # edge of a block, that of the tiles in our files
_CACHED = 32  # unchanged blocks that are kept, 32 MB

Box = tuple[int, int, int, int]  # y0, x0, y1, x1 (exclusive)


class EditedLabels:
    """The label image in a file, with changed blocks over it. Reading and writing are safe in threads."""

    def __init__(self, path: Path):
        self.field = open_field(path)
        self.shape = self.field.shape
        self._changed: dict[tuple[int, int], np.ndarray] = {}
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._lock = threading.RLock()

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        y0, y1, _ = key[0].indices(self.shape[0])
        x0, x1, _ = key[1].indices(self.shape[1])
        return self.read((y0, x0, y1, x1))

    def read(self, box: Box) -> np.ndarray:
        """Return the labels in a box as uint32."""
        out = np.empty((box[2] - box[0], box[3] - box[1]), np.uint32)
        with self._lock:
            for at, inside, outside in _parts(box):
                out[outside] = self._block(at)[inside]
        return out

    def write(self, box: Box, labels: np.ndarray) -> None:
        """Replace the labels in a box. Blocks are replaced as wholes, so that a `snapshot` does not change."""
        with self._lock:
            for at, inside, outside in _parts(box):
                block = self._block(at).copy()
                block[inside] = labels[outside]
                self._changed[at] = block

    def snapshot(self) -> "EditedLabels":
        """Return the labels as they are now."""
        copy = EditedLabels(self.field.path)
        with self._lock:
            copy._changed = dict(self._changed)
        return copy

    def box_of(self, label: int, near: Box) -> Box:
        """The bounding box of a nucleus that has pixels in the box `near`, found without reading the whole image.

        Raises `UserError` if it has none there.
        """
        box = clipped(near, self.shape)
        margin = 32
        while True:
            ys, xs = np.nonzero(self.read(box) == label)
            if not len(ys):
                raise UserError(f"there is no nucleus {label} at this place.")
            y, x = ys + box[0], xs + box[1]
            found = (int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1)
            wider = clipped(grown(found, margin), self.shape)
            if enclosing(wider, box) == box:
                return found
            box, margin = enclosing(wider, box), 2 * margin

    def _block(self, at: tuple[int, int]) -> np.ndarray:
        if at in self._changed:
            return self._changed[at]
        if at not in self._kept:
            if len(self._kept) >= _CACHED:
                self._kept.pop(next(iter(self._kept)))
            top, left = at[0] * BLOCK, at[1] * BLOCK
            y0, x0, y1, x1 = clipped((top, left, top + BLOCK, left + BLOCK), self.shape)
            self._kept[at] = self.field.read(0, y0=y0, y1=y1, x0=x0, x1=x1).astype(np.uint32)
        return self._kept[at]

    def close(self) -> None:
        """Close the file."""
        self.field.close()


def grown(box: Box, by: int) -> Box:
    """The box with a margin on all sides; it may extend beyond the image."""
    return (box[0] - by, box[1] - by, box[2] + by, box[3] + by)


def enclosing(*boxes: Box) -> Box:
    """The smallest box with all the boxes in it."""
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return (min(y0), min(x0), max(y1), max(x1))


def box_of_points(points: np.ndarray) -> Box:
    """The pixels that points (n, 2) of (x, y) span."""
    (x0, y0), (x1, y1) = np.floor(points.min(axis=0)).astype(int), np.floor(points.max(axis=0)).astype(int) + 1
    return (int(y0), int(x0), int(y1), int(x1))


def clipped(box: Box, shape: tuple[int, int]) -> Box:
    """The part of a box inside an image. Raises `UserError` if there is none."""
    y0, x0, y1, x1 = box
    if y0 >= shape[0] or x0 >= shape[1] or y1 <= 0 or x1 <= 0:
        raise UserError(f"the place is outside the field of {shape[0]} x {shape[1]} pixels.")
    return (max(y0, 0), max(x0, 0), min(y1, shape[0]), min(x1, shape[1]))


def _parts(box: Box) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Each block that a box touches, with the slices of their common pixels in the block and in the box."""
    y0, x0, y1, x1 = box
    for row in range(y0 // BLOCK, -(-y1 // BLOCK)):
        for column in range(x0 // BLOCK, -(-x1 // BLOCK)):
            top, left = row * BLOCK, column * BLOCK
            upper, lower, start, end = max(y0, top), min(y1, top + BLOCK), max(x0, left), min(x1, left + BLOCK)
            inside = (slice(upper - top, lower - top), slice(start - left, end - left))
            yield (row, column), inside, (slice(upper - y0, lower - y0), slice(start - x0, end - x0))
