"""`Rings`: the borders of all objects of a label image, traced and simplified at once, without a loop over objects."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# The border of an object is a ring of pixel sides, walked clockwise on the screen: top, right, bottom, left side.
_OUTWARD = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])  # (y, x) from a pixel across each of its sides
_AHEAD = np.roll(_OUTWARD, -1, axis=0)  # (y, x) of the pixel ahead, for one who walks along the side
_MIDDLE = np.array([(0, 0.5), (0.5, 1), (1, 0.5), (0.5, 0)])  # of each side, from the upper left corner of the pixel


@dataclass
class Rings:
    """Closed rings of points, one after another; the first point of a ring is not repeated at its end."""

    ids: np.ndarray  # (k,) label of each ring
    start: np.ndarray  # (k + 1,) index of the first point of each ring, and the number of points
    points: np.ndarray  # (n, 2) float64 (y, x)

    @property
    def owner(self) -> np.ndarray:
        """The ring of each point."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.start))

    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """The index of the point before each point, and of the one after it."""
        n = len(self.points)
        before, after = np.arange(-1, n - 1), np.arange(1, n + 1)
        before[self.start[:-1]], after[self.start[1:] - 1] = self.start[1:] - 1, self.start[:-1]
        return before, after

    def chosen(self, which: np.ndarray) -> "Rings":
        """Some of the rings, given by a mask (k,)."""
        return Rings(self.ids[which], _starts(np.diff(self.start)[which]), self.points[which[self.owner]])

    def areas(self) -> np.ndarray:
        """The signed area of each ring, see `signed_areas`."""
        return signed_areas(self.points, self.start)

    def corners(self) -> "Rings":
        """The traced rings without the points that are on the line between their neighbours."""
        before, after = self.neighbours()
        turns = (self.points - self.points[before] != self.points[after] - self.points).any(axis=1)
        counts = np.bincount(self.owner[turns], minlength=len(self.ids))
        return Rings(self.ids, _starts(counts), self.points[turns])

    def simplified(self, tolerance: float) -> "Rings":
        """The rings without the points that are at most `tolerance` away from the line between their neighbours.

        All points that are nearer to that line than both neighbours to theirs are removed at once, which is far faster
        than Douglas-Peucker for short rings.
        """
        before, after = self.neighbours()
        size, owner, is_kept = np.diff(self.start), self.owner, np.ones(len(self.points), bool)
        candidates = np.arange(len(self.points))
        distance = self._distances(candidates, before, after)
        while len(candidates):
            own = distance[candidates]
            is_removed = (
                (own <= tolerance) & (own <= distance[before[candidates]]) & (own < distance[after[candidates]])
            )
            removed = candidates[is_removed & (size[owner[candidates]] > 4)]
            is_kept[removed] = False
            size = size - np.bincount(owner[removed], minlength=len(size))
            left, right = before[removed], after[removed]  # they stay: neighbours are never removed together
            after[left], before[right] = right, left
            changed = _sorted(len(is_kept), left, right)
            distance[changed] = self._distances(changed, before, after)
            candidates = _sorted(len(is_kept), changed, before[changed], after[changed])
        return Rings(self.ids, _starts(size), self.points[is_kept])

    def closed(self) -> list[np.ndarray]:
        """Each ring (n + 1, 2) with its first point also at the end."""
        points = np.insert(self.points, self.start[1:], self.points[self.start[:-1]], axis=0)
        return [points[a:b] for a, b in pairwise((self.start + np.arange(len(self.start))).tolist())]

    def _distances(self, which: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The distance of some points to the line between their neighbours."""
        here = self.points[before[which]]
        chord, step = self.points[after[which]] - here, self.points[which] - here
        cross = np.abs(chord[:, 0] * step[:, 1] - chord[:, 1] * step[:, 0])
        return cross / np.maximum(np.hypot(chord[:, 0], chord[:, 1]), 1e-9)


def signed_areas(points: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Areas of rings (n, 2) of (y, x), one after another; positive if a ring turns from x to y, as RFC 7946 requires.

    `start` are the index of the first point of each ring, and the number of points. Rings need not be closed.
    """
    if len(start) == 1:
        return np.zeros(0)
    y, x = (points - np.repeat(points[start[:-1]], np.diff(start), axis=0)).T  # a ring's first point is 0: it is closed
    return np.add.reduceat(x * np.roll(y, -1) - np.roll(x, -1) * y, start[:-1]) / 2


def traced(labels: np.ndarray, ids: np.ndarray) -> Rings:
    """The rings around the objects `ids` of a label image: one around each piece, and one around each hole.

    A ring goes through the middles of the pixel sides between the object and what is around it, and pixels that touch
    at a corner belong together, as in scikit-image's `find_contours(..., fully_connected="high")`. Rings are in the
    raster order of their first pixels with a border above, where they also start. The upper left pixel covers 0 to 1.
    """
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    outward, ahead = (offsets @ [width, 1] for offsets in (_OUTWARD, _AHEAD))
    flat = padded.ravel()
    wanted = np.zeros(int(flat.max(initial=0)) + 1, bool)
    wanted[ids] = True
    pixels = np.flatnonzero(wanted[flat])
    borders = [pixels[flat[pixels + o] != flat[pixels]] for o in outward]
    at, side = np.concatenate(borders), np.repeat(np.arange(4), [len(b) for b in borders])
    number = np.zeros((4, len(flat)), np.int32)  # of each side, among those that are borders
    number[side, at] = np.arange(len(at))
    further = at + ahead[side]
    is_ahead, is_diagonal = flat[further] == flat[at], flat[further + outward[side]] == flat[at]
    there = np.where(is_diagonal, further + outward[side], np.where(is_ahead, further, at))
    turned = np.where(is_diagonal, side - 1, np.where(is_ahead, side, side + 1)) % 4
    order, start = _in_cycles(number[turned, there])
    at, side = at[order], side[order]
    points = np.stack(np.divmod(at, width), axis=1) - 1 + _MIDDLE[side]
    return Rings(flat[at[start[:-1]]], start, points)


def _in_cycles(after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the elements of a permutation cycle by cycle; returns their order and where each cycle starts, and the end.

    Cycles are in the order of their first elements, with which they begin. Every round of the loops looks twice as far.
    """
    own = np.arange(len(after), dtype=after.dtype)
    first, jump = own, after
    while True:
        earlier = np.minimum(first, first[jump])
        if (earlier == first).all():
            break
        first, jump = earlier, jump[jump]
    is_last = after == first
    jump, to_go = np.where(is_last, own, after), (~is_last).astype(after.dtype)  # steps to the end of the cycle
    while (further := to_go[jump]).any():
        to_go, jump = to_go + further, jump[jump]
    lengths = np.bincount(first, minlength=len(after))
    ends = np.cumsum(lengths)  # of each cycle, at its first element
    order = np.empty_like(own)
    order[ends[first] - 1 - to_go] = own
    return order, _starts(lengths[lengths > 0])


def _sorted(n: int, *indices: np.ndarray) -> np.ndarray:
    """The distinct indices below n in ascending order; faster than `np.unique`."""
    is_in = np.zeros(n, bool)
    for some in indices:
        is_in[some] = True
    return np.flatnonzero(is_in)


def _starts(sizes: np.ndarray) -> np.ndarray:
    """Where each of several parts begins that follow one another, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)])


def overlaps(rings: Rings, labels: np.ndarray) -> np.ndarray:
    """The IoU of the pixels whose centres are in each ring, or on it, with the pixels of its label."""
    height, width = labels.shape
    line = width + 1  # so that a span at the end of a row does not touch the next row
    span = _spans(rings, height, line)
    ring, at = span[0] // (height * line), span[0] % (height * line)
    length = np.maximum(span[1] - span[0], 0)
    ends = np.cumsum(length)
    pixel = np.repeat(at // line * width + at % line - (ends - length), length) + np.arange(
        ends[-1] if len(ends) else 0
    )
    owner = np.repeat(ring, length)
    k = len(rings.ids)
    inside = np.bincount(owner, minlength=k)
    both = np.bincount(owner, labels.ravel()[pixel] == rings.ids[owner], minlength=k)
    size = np.bincount(labels.ravel(), minlength=int(rings.ids.max(initial=0)) + 1)[rings.ids]
    return both / (size + inside - both)


def _spans(rings: Rings, height: int, line: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of the disjoint spans of pixels in the rings, as positions in one image of lines per ring."""
    _, after = rings.neighbours()
    ((y0, x0), (y1, x1)) = (p.T for p in (2 * rings.points - 1, 2 * rings.points[after] - 1))  # 2 x pixel: integers
    owner = rings.owner
    low, high = np.minimum(y0, y1), np.maximum(y0, y1)
    first = np.ceil(low / 2).astype(np.int64)
    rows = np.ceil(high / 2).astype(np.int64) - first  # whose centres the edge crosses
    edge = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(rows) - rows, rows) + first[edge]
    x = x0[edge] + (2 * row - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    group = owner[edge] * height + row
    order = np.lexsort((x, group))
    group, x = group[order], x[order]
    flat = (y0 == y1) & (y0 % 2 == 0)  # edges along a row of pixel centres, which belong to the ring
    left = np.concatenate([x[::2], np.minimum(x0, x1)[flat]])
    right = np.concatenate([x[1::2], np.maximum(x0, x1)[flat]])
    group = np.concatenate([group[::2], owner[flat] * height + (y0[flat] / 2).astype(np.int64)]) * line
    start = group + np.ceil(left / 2).astype(np.int64)
    end = group + np.floor(right / 2).astype(np.int64) + 1
    order = np.argsort(start)
    start, end = start[order], end[order]
    reached = np.concatenate([[0], np.maximum.accumulate(end)[:-1]]) if len(end) else end
    return np.maximum(start, reached), end
