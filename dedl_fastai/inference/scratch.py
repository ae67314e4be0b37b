"""`Scratch`: temporary planes as large as a field, in memory for small fields and as compressed zarr for slides."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

IN_MEMORY_PIXELS = 1 << 24  # 4096 x 4096
CHUNK = 512  # edge of a zarr chunk


class Scratch:
    """Creates planes (H, W) of zeros, which are accessed by slicing; a context manager that removes their folder.

    Memory maps are not used, because written pages count as memory of the process, up to the size of the file.
    """

    def __init__(self, folder: str | Path | None = None):  # parent of its folder; None: the system's
        self.folder = folder
        self._own: tempfile.TemporaryDirectory | None = None

    def plane(self, name: str, shape: tuple[int, int], dtype: Any) -> Any:
        """A plane of zeros: an array up to 16 megapixels, else zarr. `UserError` if the folder cannot be written."""
        if shape[0] * shape[1] <= IN_MEMORY_PIXELS:
            return np.zeros(shape, dtype)
        import zarr

        chunks = tuple(min(CHUNK, n) for n in shape)
        return zarr.open_array(
            str(self._folder() / name), mode="w", shape=shape, chunks=chunks, dtype=np.dtype(dtype), fill_value=0
        )

    def _folder(self) -> Path:
        if self._own is None:
            try:
                if self.folder is not None:
                    Path(self.folder).mkdir(parents=True, exist_ok=True)
                self._own = tempfile.TemporaryDirectory(prefix=".dedl-scratch-", dir=self.folder)
            except OSError as e:
                raise UserError(f"{self.folder or tempfile.gettempdir()} cannot be written to: {e.strerror}.") from e
        return Path(self._own.name)

    def close(self) -> None:
        """Remove the folder and all planes in it."""
        if self._own is not None:
            with suppress(OSError):
                self._own.cleanup()
            self._own = None

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


class Computed:
    """A plane computed pixel by pixel from another plane, when it is sliced."""

    def __init__(
        self, plane: Any, function: Callable[[np.ndarray], np.ndarray], dtype: Any = None
    ):  # None: that of `plane`
        self.plane, self.function = plane, function
        self.shape, self.dtype = plane.shape, np.dtype(dtype or plane.dtype)

    def __getitem__(self, key: tuple[slice, slice]) -> np.ndarray:
        return self.function(self.plane[key])
