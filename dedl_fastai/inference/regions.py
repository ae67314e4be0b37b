"""`RegionMeans`: the mean of a plane in each region of a field, added up chunk by chunk."""

import numpy as np

from .chunks import Box

REGION = 256  # pixels; about the edge of a region


def region_edges(length: int) -> np.ndarray:
    """Return where the regions along an axis of `length` pixels begin, and `length`: equal parts of about `REGION`."""
    return np.linspace(0, length, max(1, round(length / REGION)) + 1).round().astype(int)


class RegionMeans:
    """Sums of a plane of `shape` (H, W) over its regions, which `region_edges` of both axes bound."""

    def __init__(self, shape: tuple[int, int]):
        self.y, self.x = (region_edges(length) for length in shape)
        self.sums = np.zeros((len(self.y) - 1, len(self.x) - 1))

    def add(self, values: np.ndarray, box: Box) -> None:
        """Add the values of a box; each pixel of the plane is added once."""
        rows, y = _parts(self.y, box.y0, box.y1)
        columns, x = _parts(self.x, box.x0, box.x1)
        by_row = np.add.reduceat(values, y, axis=0, dtype=np.float64)
        self.sums[rows, columns] += np.add.reduceat(by_row, x, axis=1)

    @property
    def means(self) -> np.ndarray:
        """The mean of each region (rows, columns)."""
        return self.sums / np.outer(np.diff(self.y), np.diff(self.x))

    @property
    def mean(self) -> float:
        """The mean of the whole plane."""
        return float(self.sums.sum() / (self.y[-1] * self.x[-1]))


def _parts(edges: np.ndarray, start: int, stop: int) -> tuple[slice, np.ndarray]:
    """The regions that the pixels [start, stop) lie in, and where each begins, counted from `start`."""
    first = int(np.searchsorted(edges, start, side="right")) - 1
    last = int(np.searchsorted(edges, stop, side="left"))
    return slice(first, last), np.maximum(edges[first:last] - start, 0)
