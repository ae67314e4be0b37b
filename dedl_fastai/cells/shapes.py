"""Sums and shapes of all objects of a label image at once, without a loop over regions except for convex hulls."""

from dataclasses import dataclass
from math import gcd

import numpy as np
import pandas as pd

_CROSS, _CORNERS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]), np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1]])


@dataclass
class ObjectPixels:
    """The pixels of the objects of a label image, in raster order."""

    ids: np.ndarray  # labels of the objects, ascending
    at: np.ndarray  # flat index of each object pixel
    owner: np.ndarray  # index into `ids` of the object that each pixel belongs to
    area: np.ndarray  # number of pixels of each object

    @classmethod
    def of(cls, labels: np.ndarray, ids: np.ndarray | None = None) -> "ObjectPixels":
        """Sort the pixels of a label image by object. `ids` ascend and include all labels (default: the labels)."""
        at = np.flatnonzero(labels)
        values = labels.ravel()[at]
        ids = np.unique(values) if ids is None else ids
        owner = np.searchsorted(ids, values)
        return cls(ids, at, owner, np.bincount(owner, minlength=len(ids)))

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum over each object of `values`, one value per object pixel."""
        return np.bincount(self.owner, values, minlength=len(self.ids))

    def sum(self, plane: np.ndarray) -> np.ndarray:
        """Sum of a plane (H, W) over each object, in float64."""
        return self.total(plane.ravel()[self.at])

    def mean(self, plane: np.ndarray) -> np.ndarray:
        """Mean of a plane over each object."""
        return self.sum(plane) / self.area

    def median(self, plane: np.ndarray) -> np.ndarray:
        """Median of a plane over each object, NaN if one of its pixels is NaN or infinite; no object may be empty."""
        if not len(self.ids):
            return np.zeros(0)
        values = plane.ravel()[self.at]
        is_invalid = ~np.isfinite(values)
        # complex numbers are sorted by real part, then by imaginary part: one sort serves all objects. An infinite or
        # NaN part would move the pixel to another object
        ordered = np.sort(self.owner + 1j * np.where(is_invalid, 0, values)).imag
        start = np.cumsum(self.area) - self.area
        medians = (ordered[start + (self.area - 1) // 2] + ordered[start + self.area // 2]) / 2
        medians[self.owner[is_invalid]] = np.nan
        return medians


def shape_table(labels: np.ndarray, pixels: ObjectPixels) -> pd.DataFrame:
    """Table of label, x_px, y_px, area_px, perimeter_px, eccentricity and solidity of every object.

    Perimeter and eccentricity are equal to scikit-image's. Solidity is the area divided by the number of pixels in the
    convex hull of the pixel centres: 1 for an object that is convex on the grid, and a few percent more than in
    scikit-image, where the hull contains the pixel edges.

    About 13 times faster than `regionprops_table` on 4000 nuclei.
    """
    y, x = (c.astype(float) for c in np.unravel_index(pixels.at, labels.shape))
    centre_y, centre_x = pixels.total(y) / pixels.area, pixels.total(x) / pixels.area
    dy, dx = y - centre_y[pixels.owner], x - centre_x[pixels.owner]
    return pd.DataFrame(
        {
            "label": pixels.ids.astype(np.int64),
            "x_px": centre_x,
            "y_px": centre_y,
            "area_px": pixels.area,
            "perimeter_px": _perimeter(labels, pixels),
            "eccentricity": _eccentricity(*(pixels.total(m) / pixels.area for m in (dy * dy, dx * dx, dy * dx))),
            "solidity": pixels.area / _hull_areas(labels.shape[1], pixels),
        }
    )


def _eccentricity(yy: np.ndarray, xx: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """Eccentricity of the ellipse with the same second moments as the object; 0 for a single pixel."""
    middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    longest = middle + half
    return np.sqrt(np.clip(2 * half / np.where(longest > 0, longest, 1), 0, 1))


def _perimeter(labels: np.ndarray, pixels: ObjectPixels) -> np.ndarray:
    """Length of the line through the centres of the border pixels (Benkrid and Crookes 2000), as in scikit-image."""
    padded = np.pad(labels, 1)
    inner = padded[1:-1, 1:-1]
    border = np.zeros(labels.shape, bool)
    for dy, dx in np.argwhere(_CROSS):
        border |= inner != _shifted(padded, dy, dx)
    rim = np.pad(np.where(border, labels, 0), 1)
    adjacent, diagonal = (
        sum((_shifted(rim, dy, dx) == labels).astype(np.int8) for dy, dx in np.argwhere(k)) for k in (_CROSS, _CORNERS)
    )
    code = (1 + 2 * adjacent + 10 * diagonal).ravel()[pixels.at]
    weight = np.zeros(50)  # scikit-image's weights of the neighbourhoods of a border pixel
    weight[[5, 7, 15, 17, 25, 27]], weight[[21, 33]], weight[[13, 23]] = 1, np.sqrt(2), (1 + np.sqrt(2)) / 2
    return pixels.total(np.where(border.ravel()[pixels.at], weight[np.minimum(code, 49)], 0.0))


def _shifted(padded: np.ndarray, dy: int, dx: int) -> np.ndarray:
    return padded[dy : padded.shape[0] - 2 + dy, dx : padded.shape[1] - 2 + dx]


def _hull_areas(width: int, pixels: ObjectPixels) -> np.ndarray:
    """Number of pixels whose centre is in the convex hull of the object's pixel centres, for each object."""
    order = np.argsort(pixels.owner, kind="stable")
    owner, at = pixels.owner[order], pixels.at[order]
    y, x = at // width, at % width
    new_line = np.ones(len(at) + 1, bool)  # the ends of each row of an object determine its hull
    new_line[1:-1] = (owner[1:] != owner[:-1]) | (y[1:] != y[:-1])
    first, last = np.flatnonzero(new_line[:-1]), np.flatnonzero(new_line[1:])
    ends = np.cumsum(np.bincount(owner[first], minlength=len(pixels.ids))).tolist()
    rows, left, right = y[first].tolist(), x[first].tolist(), x[last].tolist()
    starts = [0, *ends][:-1]
    return np.array([_lattice_points(rows[a:b], left[a:b], right[a:b]) for a, b in zip(starts, ends, strict=True)])


def _lattice_points(rows: list[int], left: list[int], right: list[int]) -> int:
    """Number of lattice points in the hull of the row ends, by Pick's theorem: area + boundary points / 2 + 1."""
    hull = _chain(rows, left, -1) + _chain(rows, right, 1)[::-1]
    twice_area = boundary = 0
    for (y0, x0), (y1, x1) in zip(hull, hull[1:] + hull[:1], strict=True):
        twice_area += x0 * y1 - x1 * y0
        boundary += gcd(y1 - y0, x1 - x0)
    return (abs(twice_area) + boundary) // 2 + 1


def _chain(rows: list[int], columns: list[int], side: int) -> list[tuple[int, int]]:
    """One side of the hull from top to bottom; `side` is -1 for the left and 1 for the right side."""
    chain: list[tuple[int, int]] = []
    for y, x in zip(rows, columns, strict=True):
        while len(chain) > 1:
            (y0, x0), (y1, x1) = chain[-2:]
            if side * ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) > 0:
                break
            chain.pop()
        chain.append((y, x))
    return chain
