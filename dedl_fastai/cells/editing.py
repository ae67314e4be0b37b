"""Corrections of single nuclei in a label image: delete, merge, split along a line, draw.

The functions take a part of a label image that holds the whole nuclei, and return it changed. Points are (n, 2) of
(x, y) in pixels of that part; the upper left pixel covers 0 to 1.
"""

from itertools import pairwise

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.draw import line, polygon
from skimage.measure import label as pieces_of
from skimage.morphology import closing, disk

from ..errors import UserError

MIN_AREA = 10  # pixels of the smallest nucleus that a correction may leave
_GAP = 4  # pixels of background that may be between two nuclei that are merged


def deleted(labels: np.ndarray, label: int) -> np.ndarray:
    """Return the labels without a nucleus."""
    return np.where(labels == label, labels.dtype.type(0), labels)


def merged(labels: np.ndarray, label: int, other: int) -> np.ndarray:
    """Give the nucleus `other` the label of the first one, and close a narrow gap between them.

    Raises `UserError` for nuclei that are not next to each other.
    """
    both = (labels == label) | (labels == other)
    around = np.pad(both, 2 * _GAP)
    closed = closing(around, disk(_GAP))[2 * _GAP : -2 * _GAP, 2 * _GAP : -2 * _GAP]
    joined = both | (closed & (labels == 0))
    pieces = pieces_of(joined, connectivity=2)
    if not set(pieces[labels == label]) & set(pieces[labels == other]):
        raise UserError(f"the nuclei {label} and {other} do not touch: only neighbours can be merged.")
    return np.where(joined, labels.dtype.type(label), labels)


def split(labels: np.ndarray, label: int, points: np.ndarray, first_new: int) -> tuple[np.ndarray, list[int]]:
    """Cut a nucleus along a line; return the labels and the new ids, from `first_new` on.

    The largest part keeps its id. Raises `UserError` if the line does not separate it.
    """
    nucleus = labels == label
    pieces = pieces_of(nucleus & ~_crossed(labels.shape, points), connectivity=1)
    sizes = np.bincount(pieces.ravel(), minlength=1)[1:]
    kept = [int(i) for i in np.argsort(-sizes, kind="stable") + 1 if sizes[i - 1] >= MIN_AREA]
    if len(kept) < 2:
        raise UserError(f"the line does not cut the nucleus {label} in two: draw it from one side to the other.")
    ids = [label, *range(first_new, first_new + len(kept) - 1)]
    parts = np.zeros_like(labels)
    for piece, new in zip(kept, ids, strict=True):
        parts[pieces == piece] = new
    y, x = distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return np.where(nucleus, parts[y, x], labels), ids[1:]


def drawn(labels: np.ndarray, label: int, points: np.ndarray) -> np.ndarray:
    """Fill a polygon with a label where no other nucleus is; a nucleus that has this label is replaced.

    Raises `UserError` if too few pixels are free.
    """
    free = (labels == 0) | (labels == label)
    pieces = pieces_of(filled(labels.shape, points) & free, connectivity=1)
    sizes = np.bincount(pieces.ravel(), minlength=1)[1:]
    if not len(sizes) or sizes.max() < MIN_AREA:
        raise UserError(f"the outline has fewer than {MIN_AREA} pixels that belong to no other nucleus.")
    return np.where(pieces == sizes.argmax() + 1, labels.dtype.type(label), deleted(labels, label))


def filled(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """Return a mask of the pixels with their centres in a polygon."""
    mask = np.zeros(shape, bool)
    mask[polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, shape)] = True
    return mask


def _crossed(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """Return a mask of the pixels that a line passes through."""
    mask = np.zeros(shape, bool)
    corners = np.floor(points).astype(int)
    for (x0, y0), (x1, y1) in pairwise(corners):
        rows, columns = line(y0, x0, y1, x1)
        inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        mask[rows[inside], columns[inside]] = True
    return mask
