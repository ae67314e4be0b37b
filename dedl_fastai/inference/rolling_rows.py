"""`RollingRows`: a buffer of the rows of a tall plane that are currently needed."""

import numpy as np


class RollingRows:
    """Rows [top, bottom) of planes (..., H, width) of any height: rows are added at the bottom and dropped at the top.

    Rows are indexed by their position in the plane: `rows[y0:y1]` is a writable view (..., y1 - y0, width).
    """

    def __init__(self, lead: tuple[int, ...], width: int, dtype: type = np.float32):
        self.top = self.bottom = 0
        self._data: np.ndarray = np.zeros((*lead, 0, width), dtype)

    def __getitem__(self, rows: slice) -> np.ndarray:
        if not self.top <= rows.start <= rows.stop <= self.bottom:
            raise IndexError(f"rows {rows.start}:{rows.stop} are outside {self.top}:{self.bottom}")
        return self._data[..., rows.start - self.top : rows.stop - self.top, :]

    def extend(self, bottom: int) -> None:
        """Add rows of zeros down to `bottom`."""
        used, needed = self.bottom - self.top, bottom - self.top
        if needed > self._data.shape[-2]:
            larger = np.zeros((*self._data.shape[:-2], needed, self._data.shape[-1]), self._data.dtype)
            larger[..., :used, :] = self._data[..., :used, :]
            self._data = larger
        elif needed > used:
            self._data[..., used:needed, :] = 0
        self.bottom = max(self.bottom, bottom)

    def append(self, rows: np.ndarray) -> None:
        """Add rows (..., h, width) at the bottom."""
        y0 = self.bottom
        self.extend(y0 + rows.shape[-2])
        self[y0 : self.bottom] = rows

    def __setitem__(self, rows: slice, values: np.ndarray) -> None:
        self[rows][...] = values

    def drop(self, top: int) -> None:
        """Drop the rows above `top`."""
        top = min(max(top, self.top), self.bottom)
        dropped, kept = top - self.top, self.bottom - top
        for y in range(0, kept if dropped else 0, max(dropped, 1)):  # in pieces that do not overlap, to avoid a copy
            n = min(dropped, kept - y)
            self._data[..., y : y + n, :] = self._data[..., y + dropped : y + dropped + n, :]
        self.top = top
