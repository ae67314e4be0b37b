"""`Field`: an image with named channels that is read by region; the base class of the readers."""

import difflib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError, one_line
from ..limits import PIXEL_SIZES_UM, check_pixels
from .rgb import BLUE_ONLY, RGB, blue_only

log = logging.getLogger(__name__)


class Field(ABC):
    """An image with named channels, read lazily: only the pages, strips or tiles of the requested region are decoded.

    `channels` are the names in file order, each in one line, `shape` is (H, W), `pixel_size_um` is a float or None if
    unknown, `pixel_size_from` is "file", "option" (given to `open_field`) or "", `origin_um` is the stage position
    (x, y) of the upper left corner or None, `colors` holds the display colour (r, g, b) or None of each channel,
    `format` names the kind of file. A coloured picture has the channels red, green and blue, and on request one that
    is computed from them, "blue-only" (see `blue_only`): DAPI of a composite.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        channels: Sequence[str],
        shape: tuple[int, int],
        pixel_size_um: float | None = None,
        origin_um: tuple[float, float] | None = None,
        colors: Sequence[tuple[int, int, int] | None] | None = None,
        slide_id: str = "",
    ):
        self.path, self.format = Path(path), format
        self.channels = [one_line(name).strip() or f"channel_{i}" for i, name in enumerate(channels)]
        self.shape: tuple[int, int] = (shape[0], shape[1])
        if pixel_size_um and not PIXEL_SIZES_UM[0] <= pixel_size_um <= PIXEL_SIZES_UM[1]:
            log.warning("%s: a pixel size of %g um is no microscope's: it is taken as unknown", path, pixel_size_um)
            pixel_size_um = None
        if origin_um and not all(map(math.isfinite, origin_um)):
            log.warning("%s: a stage position of %g, %g um is taken as unknown", path, *origin_um)
            origin_um = None
        self.pixel_size_um, self.origin_um, self.slide_id = pixel_size_um or None, origin_um, slide_id
        self.pixel_size_from = "file" if pixel_size_um else ""
        self.colors = list(colors) if colors is not None else [None] * len(self.channels)

    def __repr__(self) -> str:
        size = f"{self.pixel_size_um:.4g} um" if self.pixel_size_um else "pixel size unknown"
        return f"Field({self.path.name}: {self.format}, {self.shape[0]} x {self.shape[1]}, {size}, {self.channels})"

    def channel_index(self, channel: str | int) -> int:
        """Index of a channel given by name (any case), unique prefix or index; raises `UserError` for others."""
        if isinstance(channel, int | np.integer):
            return self._checked_index(int(channel))
        wanted = channel.strip().lower()
        if wanted == BLUE_ONLY and self.is_rgb:
            return len(self.channels)
        names = [c.lower() for c in self.channels]
        matches = [i for i, n in enumerate(names) if n == wanted] or [
            i for i, n in enumerate(names) if n.startswith(wanted) and wanted
        ]
        if len(matches) == 1:
            return matches[0]
        if len(matches) > 1:
            matching = ", ".join(self.channels[i] for i in matches)
            raise UserError(f"{self.path}: channel {channel!r} matches {matching}: write more of the name.")
        if wanted.isdigit():
            return self._checked_index(int(wanted))
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f" Did you mean {self.channels[names.index(near[0])]!r}?" if near else ""
        hint = f" For DAPI of a composite, give the channel {BLUE_ONLY}." if self.is_rgb and not near else hint
        raise UserError(f"{self.path} has no channel {channel!r}: it has {', '.join(self.channels)}.{hint}")

    def channel_name(self, index: int) -> str:
        """Name of the channel of an index that `channel_index` returned."""
        return self.channels[index] if index < len(self.channels) else BLUE_ONLY

    @property
    def is_rgb(self) -> bool:
        """Whether the field is a coloured picture."""
        return self.channels == list(RGB)

    def _checked_index(self, index: int) -> int:
        if not 0 <= index < len(self.channels) + self.is_rgb:  # the last one is computed from the others
            raise UserError(f"{self.path} has no channel {index}: it has {len(self.channels)}, counted from 0.")
        return index

    def read(
        self,
        channel: str | int,  # name (any case), unique prefix or index
        y0: int = 0,
        y1: int | None = None,  # None: to the last row
        x0: int = 0,
        x1: int | None = None,  # None: to the last column
    ) -> np.ndarray:
        """Read the pixels [y0:y1, x0:x1] of a channel as float32 (H, W), in the units of the file."""
        index = self.channel_index(channel)
        y1, x1 = self.shape[0] if y1 is None else y1, self.shape[1] if x1 is None else x1
        if not (0 <= y0 < y1 <= self.shape[0] and 0 <= x0 < x1 <= self.shape[1]):
            raise UserError(
                f"{self.path}: rows {y0}:{y1}, columns {x0}:{x1} are not inside the image of shape {self.shape}."
            )
        check_pixels(self.path, y1 - y0, x1 - x0)
        if index == len(self.channels):
            return blue_only(*(self._read(i, y0=y0, y1=y1, x0=x0, x1=x1) for i in range(len(RGB))))
        return self._read(index, y0=y0, y1=y1, x0=x0, x1=x1).astype(np.float32, copy=False)

    @abstractmethod
    def _read(self, index: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Pixels of channel `index` in the dtype of the file; `read` has checked the region."""

    def reduced(self, channel: str | int, step: int) -> np.ndarray | None:
        """A whole channel at 1/step of its size from the pyramid in the file, as float32; None without such a level."""
        return None

    def thumbnail(self) -> np.ndarray | None:
        """The RGB thumbnail in the file as uint8 (h, w, 3), or None if there is none."""
        return None

    def close(self) -> None:  # noqa: B027 (not every format keeps a file open)
        """Close the file; the next read opens it again."""

    def __enter__(self) -> "Field":
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()
