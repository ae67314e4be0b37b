"""Metadata of a TIFF's full-resolution image: inForm components, QPTIFF, OME-TIFF, ImageJ hyperstacks, plain TIFF."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from ...errors import UserError
from .inform import child_text, component_color, component_name, parse_xml, qpi_root
from .rgb import RGB, RGB_COLORS
from .tiff_blocks import Page, keyframe
from .tiff_pages import check_complete, position_um, resolution_um

Planes = list[tuple[int, int]]  # (page, sample) of each channel
Colors = list[tuple[int, int, int]]

_MAX_PLANES = 10_000  # the channels of one field are fewer than a hundred
_UM_PER = {"um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "mm": 1e3}


@dataclass(frozen=True)
class TiffImage:
    """The channels of an image, the pages that hold them, and what the file says about the image (see `Field`)."""

    format: str
    channels: list[str]
    shape: tuple[int, int]
    planes: Planes
    pixel_size_um: float | None = None
    origin_um: tuple[float, float] | None = None
    colors: Sequence[tuple[int, int, int] | None] | None = None
    slide_id: str = ""
    thumbnail_page: int | None = None


def describe(path: Path, tif: tifffile.TiffFile) -> TiffImage:
    """Read the metadata of the image; raises `UserError` if it is incomplete or has more than one plane per channel.

    Errors of tifffile on damaged files are passed through.
    """
    _check_planes(path, tif)
    series = tif.series[0]
    pages = [p for p in series.pages if p is not None]
    first = pages[0]
    _check_axes(path, series)
    if any(p.parent is not tif for p in pages):
        raise UserError(f"{path} is one of a set of OME-TIFF files: save the channels into one file.")
    if len(pages) < np.prod([n for n, a in zip(series.shape, series.axes, strict=True) if a not in "YXS"], dtype=int):
        raise UserError(f"{path} lists fewer pages than channels (an ImageJ stack over 4 GB?): save it as OME-TIFF.")
    if sum(keyframe(page).size for page in pages) < _size_of_shaped(tif.pages.first):
        raise UserError(f"{path} is damaged: it has fewer pages than its description says. Copy or export it again.")
    if re.match(r"\0+[^\0]", tif.pages.first.description):  # it may have said how many pages there are
        raise UserError(f"{path} is damaged: its description begins with zeros. Copy or export it again.")
    check_complete(path, tif, pages)
    planes = _planes(path, pages)
    shape = (keyframe(first).imagelength, keyframe(first).imagewidth)
    if not planes or 0 in shape:
        raise UserError(f"{path} is damaged: its image has {len(planes)} channels of shape {shape}. Copy it again.")
    described = [(p, r) for p in pages if isinstance(p, tifffile.TiffPage) and (r := qpi_root(p)) is not None]
    if described:
        return _inform_image(tif, described, shape, planes)
    if tif.is_ome:
        return _ome_image(tif, shape, planes)
    if tif.is_imagej:
        return _imagej_image(tif, shape, planes)
    names, colors = _names(planes, [])
    return TiffImage(
        format="tiff",
        channels=names,
        shape=shape,
        planes=planes,
        pixel_size_um=resolution_um(tif.pages.first),
        origin_um=position_um(tif.pages.first),
        colors=colors,
    )


def _check_planes(path: Path, tif: tifffile.TiffFile) -> None:
    """Raise a `UserError` if OME or ImageJ metadata claim far more planes than pages, for which tifffile makes a list.

    Metadata that name other files are refused too: tifffile would open whatever they name.
    """
    claimed = [int((tif.imagej_metadata or {}).get("images") or 0)] if tif.is_imagej else []
    if tif.is_ome and (root := parse_xml(tif.ome_metadata)) is not None:
        pixels = root.findall(".//{*}Pixels")
        claimed = [math.prod(int(p.get(f"Size{a}") or 1) for a in "CZT") for p in pixels]
        own = root.get("UUID")
        for element in root.iterfind(".//{*}TiffData/{*}UUID"):
            name = element.get("FileName") or path.name
            if element.text != own and name.lower() != path.name.lower():
                raise UserError(f"{path} is one of a set of OME-TIFF files: save the channels into one file.")
    if max(claimed, default=0) > _MAX_PLANES:
        raise UserError(f"{path} claims {max(claimed)} planes, more than a field has: its metadata is damaged.")


def _size_of_shaped(page: tifffile.TiffPage) -> int:
    """Number of values of the image by the description that tifffile writes, 0 for files of other programs."""
    found = re.match(r'(?:{"shape": |shape=)[\[(]([\d, ]+)', page.description or "")
    return math.prod(int(n) for n in found[1].split(",") if n.strip()) if found else 0


def _check_axes(path: Path, series: tifffile.TiffPageSeries) -> None:
    named = {"T": "time points", "Z": "z slices", "P": "positions", "M": "mosaic tiles"}
    for axis, size in zip(series.axes, series.shape, strict=False):
        if axis in named and size > 1:
            raise UserError(f"{path} has {size} {named[axis]}; a field has one plane per channel: save one of them.")


def _planes(path: Path, pages: list[Page]) -> Planes:
    planes = []
    for page in pages:
        separate, depth, *_, contig = keyframe(page).shaped
        if depth > 1:
            raise UserError(f"{path} has {depth} z slices in one page; a field has one plane per channel.")
        planes += [(page.index, s) for s in range(max(separate, contig))]
    is_rgba = len(pages) == 1 and len(planes) == 4 and keyframe(pages[0]).photometric == tifffile.PHOTOMETRIC.RGB
    return planes[:3] if is_rgba else planes


def _names(planes: Planes, given: list[str]) -> tuple[list[str], Colors | None]:
    """The given names if they match the planes and differ, else red/green/blue, 'grey', or channel_0, channel_1, ..."""
    if len(given) == len(planes) and all(given) and len({g.lower() for g in given}) == len(given):
        return given, None
    if len(planes) == 3 and len({page for page, _ in planes}) == 1:
        return list(RGB), list(RGB_COLORS)
    return (["grey"] if len(planes) == 1 else [f"channel_{i}" for i in range(len(planes))]), None


def _inform_image(
    tif: tifffile.TiffFile,
    described: list[tuple[tifffile.TiffPage, ElementTree.Element]],  # pages of the image with their descriptions
    shape: tuple[int, int],
    planes: Planes,
) -> TiffImage:
    page, root = described[0]
    names, colors = _names(planes, [component_name(r) for _, r in described])
    return TiffImage(
        format="qptiff" if page.is_tiled else "inform",
        channels=names,
        shape=shape,
        planes=planes,
        pixel_size_um=resolution_um(page),
        origin_um=position_um(page),
        colors=colors or [component_color(r) for _, r in described],
        slide_id=child_text(root, "SlideID"),
        thumbnail_page=_thumbnail_page(tif),
    )


def _thumbnail_page(tif: tifffile.TiffFile) -> int | None:
    for page in tif.pages:
        root = qpi_root(page) if isinstance(page, tifffile.TiffPage) else None
        if root is None or child_text(root, "ImageType") != "Thumbnail":
            continue
        if keyframe(page).samplesperpixel >= 3:
            return page.index
    return None


def _ome_image(tif: tifffile.TiffFile, shape: tuple[int, int], planes: Planes) -> TiffImage:
    root = parse_xml(tif.ome_metadata)
    pixels = root.find(".//{*}Pixels") if root is not None else None
    given: list[str] = []
    size, origin = None, None
    if pixels is not None:
        given = [c.get("Name") or "" for c in pixels.findall("{*}Channel")]
        size = _ome_um(pixels, "PhysicalSizeX")
        plane = pixels.find("{*}Plane")
        if plane is not None and plane.get("PositionX") and plane.get("PositionY"):
            x, y = _ome_um(plane, "PositionX"), _ome_um(plane, "PositionY")
            origin = (x, y) if x is not None and y is not None else None  # None: a unit that is not a length
    names, colors = _names(planes, given)
    return TiffImage(
        format="ome-tiff",
        channels=names,
        shape=shape,
        planes=planes,
        pixel_size_um=size,
        origin_um=origin,
        colors=colors,
    )


def _ome_um(element: ElementTree.Element, name: str) -> float | None:
    value, unit = element.get(name), element.get(f"{name}Unit", "µm")
    return float(value) * _UM_PER[unit] if value and unit in _UM_PER else None


def _imagej_image(tif: tifffile.TiffFile, shape: tuple[int, int], planes: Planes) -> TiffImage:
    meta = tif.imagej_metadata or {}
    names, colors = _names(planes, list(meta.get("Labels") or []))
    unit_um = _UM_PER.get(str(meta.get("unit", "")).lower())
    size = resolution_um(tif.pages.first, unit_um) if unit_um else None
    return TiffImage(format="imagej", channels=names, shape=shape, planes=planes, pixel_size_um=size, colors=colors)
