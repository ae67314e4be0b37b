"""`Pyramid`: tiles of a channel at reduced sizes, from fields of any size; only the region in view is read."""

import hashlib
import logging
import threading
from pathlib import Path

import numpy as np

from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..io.files import cache_root, written_whole
from .kept import Kept

log = logging.getLogger(__name__)

TILE = 512  # edge of a tile
NEAR = 2  # up to this level (a quarter of the size) a tile is read from the file
_FAR = NEAR + 1  # level of the overview that the tiles of all further levels are made of
_SMALL = 1 << 22  # pixels of fields of which whole channels are kept
_BAND = 512  # rows that are read at a time for an overview
_PICTURES = ("png", "jpeg")  # formats that hold all channels of a pixel together


def n_levels(shape: tuple[int, int]) -> int:
    """The level at which a field fits into one tile; level 0 is the full size, and each level halves the one before."""
    level = 0
    while max(shape) > TILE << level:
        level += 1
    return level


def reduced(pixels: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step pixels as float32; incomplete ones at the edges repeat the last pixels."""
    if step == 1:
        return pixels
    height, width = pixels.shape
    if height % step or width % step:
        pixels = np.pad(pixels, ((0, -height % step), (0, -width % step)), mode="edge")
    rows = _summed(pixels, step)
    columns = _summed(rows.T, step).T  # along strides: several times as quick as means of short rows
    return np.ascontiguousarray(columns) / np.float32(step * step)


def _summed(pixels: np.ndarray, step: int) -> np.ndarray:
    """Sums of `step` rows as float32."""
    total = pixels[::step].astype(np.float32)
    for i in range(1, step):
        total += pixels[i::step]
    return total


class Pyramid:
    """Tiles of the channels of a field. Safe in threads."""

    def __init__(self, path: Path, pixel_size_um: float | None, kept: Kept):
        self.field: Field = open_field(path, pixel_size_um or None)
        self.shape = self.field.shape
        self._reading, self._starting = threading.Lock(), threading.Lock()
        self._whole = [threading.Lock() for _ in self.field.channels]
        self._turn = threading.Lock()  # one overview at a time: the rows that are read take tens of megabytes
        self._kept = kept
        self._overviews: dict[int, _Overview] = {}

    def tile(self, channel: int, level: int, x: int, y: int) -> np.ndarray:
        """The tile in column x and row y of a level, as float32; smaller at the right and lower edge."""
        key = (self.field.path, channel, level, x, y)
        found = self._kept.get(key)
        if found is None:
            is_complete = True
            if level > NEAR:
                overview = self._overview(channel)
                is_complete = overview.done == 1
                found = overview.tile(level - _FAR, x, y)
            else:
                found = reduced(self._read(channel, TILE << level, x=x, y=y), 1 << level)
            if is_complete:
                self._kept.add(key, found)
        return found

    def _read(self, channel: int, edge: int, x: int, y: int) -> np.ndarray:
        """A square of the channel. Small fields are read whole: one strip of a file has pixels of many squares."""
        height, width = self.shape
        y0, y1, x0, x1 = y * edge, min((y + 1) * edge, height), x * edge, min((x + 1) * edge, width)
        if height * width <= _SMALL:
            return self._read_whole(channel)[y0:y1, x0:x1]
        with self._reading:
            return self.field.read(channel, y0=y0, y1=y1, x0=x0, x1=x1)

    def _read_whole(self, channel: int) -> np.ndarray:
        """A channel; several are read at the same time, each through a reader of its own."""
        key = (self.field.path, channel)
        with self._whole[channel]:
            whole = self._kept.get(key)
            if whole is None:
                if self.field.format in _PICTURES:
                    with self._reading:
                        whole = self.field.read(channel)
                else:
                    with open_field(self.field.path) as field:
                        whole = field.read(channel)
                self._kept.add(key, whole)
        return whole

    def sample(self, channel: int) -> np.ndarray:
        """Pixels that stand for the whole channel: all, at a quarter of the size, or those of nine regions."""
        level = min(NEAR, n_levels(self.shape))
        n_rows, n_columns = (-(-n // (TILE << level)) for n in self.shape)
        if n_rows * n_columns <= 9:
            places = [(x, y, level) for y in range(n_rows) for x in range(n_columns)]
        else:
            n_rows, n_columns = (-(-n // TILE) for n in self.shape)
            sixths = (1, 3, 5)
            places = [(n_columns * i // 6, n_rows * j // 6, 0) for i in sixths for j in sixths]
        return np.concatenate([self.tile(channel, level, x, y).ravel() for x, y, level in places])

    def done(self, channel: int) -> float:
        """How much of the overview of a channel is read, from 0 to 1; 1 for fields that need none."""
        return 1.0 if n_levels(self.shape) <= NEAR else self._overview(channel).done

    def _overview(self, channel: int) -> "_Overview":
        with self._starting:
            if channel not in self._overviews:
                self._overviews[channel] = _Overview(self.field, channel, self._turn)
            return self._overviews[channel]

    def close(self) -> None:
        """Stop reading and close the file."""
        for overview in self._overviews.values():
            overview.stop()
        with self._reading:
            self.field.close()


class _Overview:
    """A channel at an eighth of its size, read in the background from top to bottom, and kept between commands."""

    def __init__(self, field: Field, channel: int, turn: threading.Lock):
        self._turn = turn
        self.path, self.channel, self.height = field.path, channel, field.shape[0]
        self._file = _cache_file(field, channel)
        self._stopped = False
        if self._file is not None and self._file.is_file():
            self.pixels, self.done = np.load(self._file), 1.0
            return
        self.pixels, self.done = np.zeros([-(-n // (1 << _FAR)) for n in field.shape], np.float32), 0.0
        self._thread = threading.Thread(target=self._read, name=f"overview of {channel}", daemon=True)
        self._thread.start()
        self._thread.join(timeout=0.2)  # most fields are ready by then

    def tile(self, level: int, x: int, y: int) -> np.ndarray:
        """A tile of the overview, reduced by 2**level; what is not read yet is 0."""
        edge = TILE << level
        return reduced(self.pixels[y * edge : (y + 1) * edge, x * edge : (x + 1) * edge], 1 << level)

    def _read(self) -> None:
        try:
            with self._turn, open_field(self.path) as field:
                found = field.reduced(self.channel, 1 << _FAR)
                if found is not None and found.shape == self.pixels.shape:
                    self.pixels = found
                else:
                    self._read_rows(field)
            if self._file is not None and not self._stopped:
                with written_whole(self._file) as tmp, tmp.open("wb") as f:
                    np.save(f, self.pixels)
        except Exception as e:  # whatever the file has: the page shows what was read
            log.warning("%s: the overview cannot be made (%s)", self.path, e)
        self.done = 1.0

    def _read_rows(self, field: Field) -> None:
        step = 1 << _FAR
        for top in range(0, self.height, _BAND):
            if self._stopped:
                return
            bottom = min(top + _BAND, self.height)
            small = reduced(field.read(self.channel, y0=top, y1=bottom), step)
            self.pixels[top // step : top // step + len(small)] = small
            self.done = min(bottom / self.height, 0.999)

    def stop(self) -> None:
        """Stop reading."""
        self._stopped = True


def _cache_file(field: Field, channel: int) -> Path | None:
    """Where an overview is kept; None for folders, of which the change is not seen, and for small fields."""
    if field.path.is_dir() or field.shape[0] * field.shape[1] < 1 << 26:
        return None
    about = field.path.stat()
    key = f"{field.path.resolve()} {about.st_size} {about.st_mtime_ns} {channel}"
    return cache_root() / "view" / f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.npy"
