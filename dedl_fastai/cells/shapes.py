"""Sums and shapes of all objects of a label image at once, without a loop over objects."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        """Median of a plane over each object; see `quantiles`."""
        return self.quantiles(plane, (0.5,))[0]

    def quantiles(self, plane: np.ndarray, shares: Sequence[float]) -> np.ndarray:
        """Quantiles (S, N) of a plane over each object, linear between pixels, for shares from 0 to 1.

        NaN for an object without pixels, or with one that is NaN or infinite. Values are compared as float32, in which
        intensities are read.
        """
        if not len(self.at):
            return np.full((len(shares), len(self.ids)), np.nan)
        values = np.asarray(plane.ravel()[self.at], np.float32)
        # one sort of integers serves all objects: the object is in the upper half, and in the lower one the bits of the
        # value, which are in the order of the values after those of negative numbers are inverted
        bits = values.view(np.uint32)
        sign = np.uint32(1 << 31)
        keys = self.owner.astype(np.uint64) << np.uint64(32) | np.where(bits & sign, ~bits, bits | sign)
        keys.sort()
        place = np.multiply.outer(np.asarray(shares), np.maximum(self.area - 1, 0))
        start, below = np.cumsum(self.area) - self.area, np.floor(place)
        at = np.minimum(start + np.stack([below, np.ceil(place)]).astype(np.int64), len(keys) - 1)
        found = keys[at].astype(np.uint32)
        low, high = np.where(found & sign, found ^ sign, ~found).view(np.float32).astype(float)
        result = low * (1 - (place - below)) + high * (place - below)
        result[:, self.area == 0] = np.nan
        result[:, self.owner[~np.isfinite(values)]] = np.nan
        return result


def shape_table(labels: np.ndarray, pixels: ObjectPixels) -> pd.DataFrame:
    """Table of label, x_px, y_px, area_px, perimeter_px, eccentricity and solidity of every object.

    Perimeter and eccentricity are equal to scikit-image's. Solidity is the area divided by the number of pixels in the
    convex hull of the pixel centres: 1 for an object that is convex on the grid, and a few percent more than in
    scikit-image, where the hull contains the pixel edges.
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
    """Number of pixels whose centre is in the convex hull of the object's pixel centres, for each object.

    By Pick's theorem it is area + boundary points / 2 + 1, where the boundary consists of two chains, of the left and
    of the right ends of the rows, and of the top and the bottom row.
    """
    order = np.argsort(pixels.owner, kind="stable")
    owner, at = pixels.owner[order], pixels.at[order]
    y, x = at // width, at % width
    new_line = np.ones(len(at) + 1, bool)  # the ends of each row of an object determine its hull
    new_line[1:-1] = (owner[1:] != owner[:-1]) | (y[1:] != y[:-1])
    first, last = np.flatnonzero(new_line[:-1]), np.flatnonzero(new_line[1:])
    owner, y, lengths = owner[first], y[first], x[last] - x[first]
    is_top, is_bottom = _is_first(owner), _is_first(owner[::-1])[::-1]
    boundary = np.bincount(owner, lengths * (is_top.astype(int) + is_bottom), minlength=len(pixels.ids))
    twice_area = np.zeros(len(pixels.ids))
    for outward in (x[last], -x[first]):
        chain = _chain(y, outward, is_top | is_bottom)
        dy, dx = np.diff(y[chain]), np.diff(outward[chain])
        of, is_within = owner[chain][1:], ~is_top[chain][1:]
        twice_area += np.bincount(of, is_within * dy * (2 * outward[chain][:-1] + dx), minlength=len(pixels.ids))
        boundary += np.bincount(of, is_within * np.gcd(dy, dx), minlength=len(pixels.ids))
    return (twice_area + boundary) // 2 + 1


def _is_first(owner: np.ndarray) -> np.ndarray:
    """Whether an element is the first of its owner; elements are in the order of their owners."""
    is_first = np.ones(len(owner), bool)
    is_first[1:] = owner[1:] != owner[:-1]
    return is_first


def _chain(y: np.ndarray, outward: np.ndarray, is_end: np.ndarray) -> np.ndarray:
    """Indices of the corners of the hull on one side of each object, from top to bottom.

    `outward` is x on the right side, -x on the left one. Points that are not further out than the line between their
    neighbours are no corners; they are removed until there are none.
    """
    chain = np.arange(len(y))
    while True:
        before, here, after = chain[:-2], chain[1:-1], chain[2:]
        height, reach = y[here] - y[before], outward[here] - outward[before]
        is_corner = reach * (y[after] - y[before]) > (outward[after] - outward[before]) * height
        is_corner |= is_end[here]
        if is_corner.all():
            return chain
        chain = np.concatenate([chain[:1], here[is_corner], chain[-1:]])
