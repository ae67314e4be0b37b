"""TIFF files as fields, read by region; `tiff_metadata` reads their metadata."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from .field import Field
from .tiff_blocks import Page, keyframe
from .tiff_metadata import describe
from .tiff_pages import damage_refused, open_tiff, read_page, read_region


class TiffField(Field):
    """The full-resolution image of a TIFF; each channel is one sample of one page."""

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
        *,
        planes: list[tuple[int, int]],  # (page, sample) of each channel
        thumbnail_page: int | None = None,
    ):
        super().__init__(
            path,
            format=format,
            channels=channels,
            shape=shape,
            pixel_size_um=pixel_size_um,
            origin_um=origin_um,
            colors=colors,
            slide_id=slide_id,
        )
        self.planes, self.thumbnail_page = planes, thumbnail_page
        self._tif: tifffile.TiffFile | None = None

    @classmethod
    def open(cls, path: Path) -> "TiffField":
        """Read the page list and the metadata; no pixel is decoded."""
        with open_tiff(path) as tif, damage_refused(path, "its page list"):
            image = describe(path, tif)
        return cls(
            path=path,
            format=image.format,
            channels=image.channels,
            shape=image.shape,
            pixel_size_um=image.pixel_size_um,
            origin_um=image.origin_um,
            colors=image.colors,
            slide_id=image.slide_id,
            planes=image.planes,
            thumbnail_page=image.thumbnail_page,
        )

    def _page(self, index: int) -> Page:
        if self._tif is None:
            self._tif = open_tiff(self.path)
        with damage_refused(self.path, f"page {index}"):
            return self._tif.pages[index]

    def _read(self, index: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        page, sample = self.planes[index]
        return read_region(self.path, self._page(page), sample, y0=y0, y1=y1, x0=x0, x1=x1)

    def reduced(self, channel: str | int, step: int) -> np.ndarray | None:
        """A whole channel at 1/step of its size, from SubIFDs or from smaller pages of a QPTIFF; None without them."""
        index = self.channel_index(channel)
        if index == len(self.planes):  # computed from the others
            return None
        number, sample = self.planes[index]
        self._page(number)
        assert self._tif is not None
        series = self._tif.series[0]
        position = next((i for i, page in enumerate(series.pages) if page is not None and page.index == number), None)
        size = [-(-n // step) for n in self.shape]
        for level in series.levels[1:]:
            page = level.pages[position] if position is not None and len(level.pages) == len(series.pages) else None
            if page is None:
                continue
            missing = [
                n - m for n, m in zip(size, (keyframe(page).imagelength, keyframe(page).imagewidth), strict=True)
            ]
            if all(0 <= n <= 1 for n in missing):  # some programs round the size down
                pixels = read_page(self.path, page, sample)
                return np.pad(pixels, [(0, n) for n in missing], mode="edge").astype(np.float32, copy=False)
        return None

    def thumbnail(self) -> np.ndarray | None:
        """The inForm or QPTIFF thumbnail as uint8 (h, w, 3), or None."""
        if self.thumbnail_page is None:
            return None
        page = self._page(self.thumbnail_page)
        planes = [read_page(self.path, page, sample) for sample in range(3)]
        return np.stack(planes, axis=-1).astype(np.uint8, copy=False)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._tif is not None:
            self._tif.close()
            self._tif = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_tif": None}  # workers of a data loader open the file themselves
