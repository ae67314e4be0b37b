"""TIFF files as fields: inForm components, QPTIFF, OME-TIFF, ImageJ hyperstacks and plain ones."""

from pathlib import Path

import numpy as np
import tifffile

from ...errors import UserError
from .field import Field
from .inform import child_text, component_color, component_name, parse_xml, qpi_root
from .picture_field import RGB, RGB_COLORS
from .tiff_pages import DAMAGED, check_complete, open_tiff, position_um, read_region, resolution_um

_UM_PER = {"um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "mm": 1e3}


class TiffField(Field):
    """A TIFF's full-resolution image; each channel is one sample of one page."""

    def __init__(self, *args, planes: list[tuple[int, int]], thumbnail_page: int | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.planes, self.thumbnail_page = planes, thumbnail_page  # (page, sample) of each channel
        self._tif: tifffile.TiffFile | None = None

    @classmethod
    def open(cls, path: Path) -> "TiffField":
        """Read the page list and the metadata; no pixel is decoded."""
        with open_tiff(path) as tif:
            try:
                return _described(cls, path, tif)
            except UserError:
                raise
            except DAMAGED as e:
                raise UserError(
                    f"{path} is damaged: its page list does not read ({e}). Copy or export it again."
                ) from e

    def _page(self, index: int) -> tifffile.TiffPage | tifffile.TiffFrame:
        if self._tif is None:
            self._tif = open_tiff(self.path)
        return self._tif.pages[index]

    def _read(self, index: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        page, sample = self.planes[index]
        return read_region(self.path, self._page(page), sample, y0, y1, x0, x1)

    def thumbnail(self) -> np.ndarray | None:
        """The inForm or QPTIFF thumbnail page as uint8 (h, w, 3), or None."""
        if self.thumbnail_page is None:
            return None
        page = self._page(self.thumbnail_page)
        planes = [read_region(self.path, page, s, 0, page.imagelength, 0, page.imagewidth) for s in range(3)]
        return np.stack(planes, axis=-1).astype(np.uint8, copy=False)

    def close(self) -> None:
        """Close the file handle."""
        if self._tif is not None:
            self._tif.close()
            self._tif = None

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_tif": None}  # loader workers open the file themselves


def _described(cls: type[TiffField], path: Path, tif: tifffile.TiffFile) -> TiffField:
    series = tif.series[0]
    pages = [p for p in series.pages if p is not None]
    first = pages[0]
    _check_axes(path, series)
    if any(p.parent is not tif for p in pages):
        raise UserError(f"{path} is one of a set of OME-TIFF files: save the channels into one file.")
    if len(pages) < np.prod([n for n, a in zip(series.shape, series.axes, strict=True) if a not in "YXS"], dtype=int):
        raise UserError(f"{path} lists fewer pages than channels (an ImageJ stack over 4 GB?): save it as OME-TIFF.")
    check_complete(path, tif, pages)
    planes = _planes(path, pages)
    shape = (first.keyframe.imagelength, first.keyframe.imagewidth)
    roots = [r for p in pages if isinstance(p, tifffile.TiffPage) and (r := qpi_root(p)) is not None]
    common = dict(path=path, shape=shape, planes=planes)
    if roots:
        return _inform_field(cls, tif, pages, roots, common)
    if tif.is_ome:
        return _ome_field(cls, tif, common)
    if tif.is_imagej:
        return _imagej_field(cls, tif, first, common)
    names, colors = _names(planes, [])
    return cls(
        format="tiff",
        channels=names,
        colors=colors,
        pixel_size_um=resolution_um(tif.pages[0]),
        origin_um=position_um(tif.pages[0]),
        **common,
    )


def _check_axes(path: Path, series: tifffile.TiffPageSeries) -> None:
    named = {"T": "time points", "Z": "z slices", "P": "positions", "M": "mosaic tiles"}
    for axis, size in zip(series.axes, series.shape, strict=False):
        if axis in named and size > 1:
            raise UserError(f"{path} has {size} {named[axis]}; a field is one plane a channel. Save one of them.")


def _planes(path: Path, pages: list) -> list[tuple[int, int]]:
    planes = []
    for page in pages:
        separate, depth, *_, contig = page.keyframe.shaped
        if depth > 1:
            raise UserError(f"{path} has {depth} z slices in one page; a field is one plane a channel.")
        planes += [(page.index, s) for s in range(max(separate, contig))]
    is_rgba = len(pages) == 1 and len(planes) == 4 and pages[0].keyframe.photometric == tifffile.PHOTOMETRIC.RGB
    return planes[:3] if is_rgba else planes


def _names(planes: list, given: list[str]) -> tuple[list[str], list | None]:
    """Given names where they fit the planes and differ, else red/green/blue, 'grey', or channel_0, channel_1, ..."""
    if len(given) == len(planes) and all(given) and len({g.lower() for g in given}) == len(given):
        return given, None
    if len(planes) == 3 and len({page for page, _ in planes}) == 1:
        return list(RGB), list(RGB_COLORS)
    return (["grey"] if len(planes) == 1 else [f"channel_{i}" for i in range(len(planes))]), None


def _inform_field(cls: type[TiffField], tif: tifffile.TiffFile, pages: list, roots: list, common: dict) -> TiffField:
    names, colors = _names(common["planes"], [component_name(r) for r in roots])
    page = next(p for p in pages if qpi_root(p) is not None)
    return cls(
        format="qptiff" if page.is_tiled else "inform",
        channels=names,
        colors=colors or [component_color(r) for r in roots],
        pixel_size_um=resolution_um(page),
        origin_um=position_um(page),
        slide_id=child_text(roots[0], "SlideID"),
        thumbnail_page=_thumbnail_page(tif),
        **common,
    )


def _thumbnail_page(tif: tifffile.TiffFile) -> int | None:
    for page in tif.pages:
        root = qpi_root(page) if isinstance(page, tifffile.TiffPage) else None
        if root is not None and child_text(root, "ImageType") == "Thumbnail" and page.samplesperpixel >= 3:
            return page.index
    return None


def _ome_field(cls: type[TiffField], tif: tifffile.TiffFile, common: dict) -> TiffField:
    root = parse_xml(tif.ome_metadata)
    pixels = root.find(".//{*}Pixels") if root is not None else None
    given, size, origin = [], None, None
    if pixels is not None:
        given = [c.get("Name") or "" for c in pixels.findall("{*}Channel")]
        size = _ome_um(pixels, "PhysicalSizeX")
        plane = pixels.find("{*}Plane")
        if plane is not None and plane.get("PositionX") and plane.get("PositionY"):
            x, y = _ome_um(plane, "PositionX"), _ome_um(plane, "PositionY")
            origin = (x, y) if None not in (x, y) else None  # a "reference frame" is no length
    names, colors = _names(common["planes"], given)
    return cls(format="ome-tiff", channels=names, colors=colors, pixel_size_um=size, origin_um=origin, **common)


def _ome_um(element, name: str) -> float | None:
    value, unit = element.get(name), element.get(f"{name}Unit", "µm")
    return float(value) * _UM_PER[unit] if value and unit in _UM_PER else None


def _imagej_field(cls: type[TiffField], tif: tifffile.TiffFile, first: tifffile.TiffPage, common: dict) -> TiffField:
    meta = tif.imagej_metadata or {}
    labels = meta.get("Labels") or []
    names, colors = _names(common["planes"], list(labels))
    unit_um = _UM_PER.get(str(meta.get("unit", "")).lower())
    size = resolution_um(tif.pages[0], unit_um) if unit_um else None
    return cls(format="imagej", channels=names, colors=colors, pixel_size_um=size, **common)
