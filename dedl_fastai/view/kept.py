"""`Kept`: the arrays that were used last, for all fields together."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np


class Kept:
    """The arrays that were used last, up to a number of bytes."""

    def __init__(self, most: int):
        self.most, self.bytes = most, 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array of a key, or None."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def add(self, key: Hashable, array: np.ndarray) -> None:
        """Keep an array, and drop those that were not used for long."""
        with self._lock:
            self.bytes += array.nbytes - (self._arrays[key].nbytes if key in self._arrays else 0)
            self._arrays[key] = array
            while self.bytes > self.most:
                _, old = self._arrays.popitem(last=False)
                self.bytes -= old.nbytes
