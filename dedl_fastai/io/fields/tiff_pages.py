"""Pages of a TIFF: checks that a file is complete, and reading of regions from only the segments they touch."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile

from ...errors import UserError
from ..limits import check_pixels
from .tiff_blocks import PADDING, Page, keyframe, segments

DAMAGED = (  # what tifffile and its codecs raise on a file that is cut short or has wrong bytes
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    tifffile.TiffFileError,
)
_MAX_IMPLAUSIBLE_UM = 20.0  # a larger "pixel size" is a screen resolution (72 or 96 dpi), not that of a microscope
_MAX_BLOCK = 2**33  # bytes of a decoded strip or tile: no scanner writes larger ones, and one must fit in memory
_HEADER = 8  # bytes of a TIFF before everything else
_MAX_RATIO = 10_000  # of pixels to file size: deflate and LZW reach about 1000, and no slide is that empty


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open `path` with tifffile; raises a `UserError` if it is not a TIFF or ends before its first page."""
    try:
        tif = tifffile.TiffFile(path)
    except DAMAGED as e:
        raise UserError(f"{path} is not a readable TIFF ({e}): export or copy it again.") from e
    if not tif.pages:
        tif.close()
        raise UserError(f"{path} holds no image page: it was cut short while being written or copied.")
    if not _chain_ends(tif):
        tif.close()
        raise UserError(f"{path} is cut short or damaged: its chain of pages is broken. Copy or export it again.")
    return tif


def _chain_ends(tif: tifffile.TiffFile) -> bool:
    """False if a page leads back to an earlier one (tifffile may then never come back), is cut or has zeroed tags."""
    fmt, fh = tif.tiff, tif.filehandle
    order: Literal["little", "big"] = "little" if fmt.byteorder == "<" else "big"
    at, seen = tif.pages.first.offset, set[int]()
    while at:
        if at in seen or at >= fh.size:
            return False
        seen.add(at)
        fh.seek(at)
        n_tags = int.from_bytes(fh.read(fmt.tagnosize), order)
        if n_tags == 0 or at + fmt.tagnosize + n_tags * fmt.tagsize > fh.size:
            return False
        tags = fh.read(n_tags * fmt.tagsize)
        entries = (tags[start : start + 4] for start in range(0, len(tags), fmt.tagsize))
        if any(b"\0\0" in (entry[:2], entry[2:]) for entry in entries):  # a tag or its type; tifffile leaves it out
            return False
        at = int.from_bytes(fh.read(fmt.offsetsize), order)
    return True


@contextmanager
def damage_refused(path: Path, part: str) -> Iterator[None]:
    """Raise a `UserError` that names the part of a file for whatever tifffile raises while it is read."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as e:
        raise UserError(
            f"{path}: {part} needs more memory than there is. It is damaged, or has too large blocks."
        ) from e
    except DAMAGED as e:
        raise UserError(f"{path} is damaged: {part} cannot be read ({e}). Copy or export it again.") from e


def all_pages(path: Path, tif: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """All pages of the file that have tags of their own; raises a `UserError` if a page cannot be read."""
    with damage_refused(path, "its page list"):
        return [p for p in tif.pages if isinstance(p, tifffile.TiffPage)]


def check_complete(path: Path, tif: tifffile.TiffFile, pages: Sequence[Page]) -> None:
    """Raise a `UserError` if the file is shorter than the data that its pages claim, before memory is allocated."""
    size = tif.filehandle.size
    _check_plausible(path, pages, size)
    for page in pages:
        ends = np.asarray(page.dataoffsets, dtype=np.uint64) + np.asarray(page.databytecounts, dtype=np.uint64)
        needed = int(ends.max()) if ends.size else 0
        if needed > size:
            raise UserError(f"{path} is cut short: it has {size} bytes and needs {needed}. Copy or export it again.")
        n_listed, n_blocks = _count_listed(page), int(np.prod(keyframe(page).chunked))
        if n_listed != n_blocks:
            raise UserError(
                f"{path} is damaged: page {page.index} lists {n_listed} blocks of data, not {n_blocks}. Copy or export "
                "it again."
            )
        _check_blocks(path, page)
    if _last_page_is_cut(tif):
        raise UserError(f"{path} is cut short or damaged: its chain of pages is broken. Copy or export it again.")


def _count_listed(page: Page) -> int:
    """Number of strips or tiles in the tags of a page; tifffile ignores those beyond the image."""
    tags: Any = page.tags if isinstance(page, tifffile.TiffPage) else {}
    listed = [tags[name].count for name in ("StripOffsets", "TileOffsets") if name in tags]
    return listed[0] if listed else len(page.dataoffsets)


def _check_blocks(path: Path, page: Page) -> None:
    """Raise a `UserError` for empty blocks that are not those of a sparse file, and for pages of another size.

    A sparse file gives the tiles without data the place 0 and the length 0.
    """
    key = keyframe(page)
    blocks = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    is_sparse = key.is_tiled and any(page.databytecounts)
    if any(not (at and count) and not (is_sparse and at == count == 0) for at, count in blocks):
        raise UserError(f"{path} is damaged: page {page.index} has blocks without data. Copy or export it again.")
    if key.compression != tifffile.COMPRESSION.NONE:
        return
    given, needed = sum(page.databytecounts), len(blocks) * int(np.prod(key.chunks)) * key.bitspersample // 8
    if given > needed + needed // 16 + PADDING * len(blocks) or (_is_plain(page) and given < key.nbytes):
        raise UserError(
            f"{path} is damaged: page {page.index} has {given} bytes for {needed} bytes of pixels. Copy or export it "
            "again."
        )


def _check_plausible(path: Path, pages: Sequence[Page], size: int) -> None:
    """Refuse headers that claim more pixels than a file of this size can hold, and blocks larger than the memory."""
    claimed = sum(keyframe(page).nbytes for page in pages)
    if claimed > max(_MAX_BLOCK, _MAX_RATIO * size):
        raise UserError(f"{path} claims {claimed / 1e9:.0f} GB of pixels and has {size} bytes: its header is damaged.")
    for page in pages:
        key = keyframe(page)
        block = int(np.prod(key.chunks, dtype=np.int64)) * (key.dtype.itemsize if key.dtype is not None else 1)
        if block > _MAX_BLOCK and not _is_plain(page):
            raise UserError(
                f"{path}: page {page.index} is compressed in blocks of {block / 1e9:.0f} GB, too large to decode: "
                "save it as a tiled TIFF."
            )


def _last_page_is_cut(tif: tifffile.TiffFile) -> bool:
    """True if values of the last page are in the header or beyond the end, or a next page could not be read."""
    fmt, fh, last = tif.tiff, tif.filehandle, tif.pages[len(tif.pages) - 1]
    order: Literal["little", "big"] = "little" if fmt.byteorder == "<" else "big"
    fh.seek(last.offset)
    n_tags = int.from_bytes(fh.read(fmt.tagnosize), order)
    tags = fh.read(n_tags * fmt.tagsize)
    next_page = fh.read(fmt.offsetsize)
    if len(next_page) < fmt.offsetsize or int.from_bytes(next_page, order) != 0:
        return True
    for start in range(0, len(tags), fmt.tagsize):
        kind, count, value = (
            int.from_bytes(tags[start + a : start + b], order)
            for a, b in ((2, 4), (4, 4 + fmt.offsetsize), (4 + fmt.offsetsize, fmt.tagsize))
        )
        size = count * struct.calcsize(tifffile.TIFF.DATA_FORMATS.get(kind, ""))
        if size > fmt.offsetsize and not _HEADER <= value <= fh.size - size:
            return True
    return False


def read_page(path: Path, page: Page, sample: int = 0) -> np.ndarray:
    """All pixels (H, W) of one sample of `page` in the dtype of the file."""
    key = keyframe(page)
    check_pixels(path, key.imagelength, key.imagewidth)
    return read_region(path, page, sample, y0=0, y1=key.imagelength, x0=0, x1=key.imagewidth)


def read_region(
    path: Path,
    page: Page,
    sample: int,  # 0 for a grey page, 0 to 2 for an RGB page
    *,
    y0: int,
    y1: int,
    x0: int,
    x1: int,
) -> np.ndarray:
    """Pixels [y0:y1, x0:x1] of one sample of `page` in the dtype of the file; decodes only the segments they touch."""
    key = keyframe(page)
    separate, _, _, _, contig = key.shaped
    plane = sample if separate > 1 else 0
    inner = 0 if separate > 1 else sample
    if key.dtype is None or key.dtype.kind not in "buif":
        raise UserError(f"{path}: page {page.index} holds {key.dtype} pixels; integers or floats are needed.")
    with damage_refused(path, f"page {page.index}"):
        if _is_plain(page):
            shape = (separate, *key.shaped[2:4], contig)
            dtype = key.dtype.newbyteorder(key.parent.byteorder)
            data = np.memmap(path, dtype=dtype, mode="r", offset=page.dataoffsets[0], shape=shape)
            return np.array(data[plane, y0:y1, x0:x1, inner], dtype=key.dtype)
        out = np.zeros((y1 - y0, x1 - x0), dtype=key.dtype)
        for block, (_, _, y, x, _), (_, height, width, _) in segments(path, page, plane, y0=y0, y1=y1, x0=x0, x1=x1):
            if block is None:  # a sparse file omits empty tiles
                continue
            top, bottom, left, right = max(y, y0), min(y + height, y1), max(x, x0), min(x + width, x1)
            out[top - y0 : bottom - y0, left - x0 : right - x0] = block[
                0, top - y : bottom - y, left - x : right - x, inner
            ]
    return out


def _is_plain(page: Page) -> bool:
    """True for uncompressed contiguous pixels, of which a region can be sliced from the file itself."""
    key = keyframe(page)
    return key.is_memmappable and len(page.dataoffsets) > 0 and key.is_contiguous


def resolution_um(page: tifffile.TiffPage, unit_um: float | None = None) -> float | None:
    """Pixel size in um from XResolution (per `unit_um` um in ImageJ files); None if absent or that of a screen."""
    tag = page.tags.get("XResolution")
    unit = page.tags.get("ResolutionUnit")
    per_unit = unit_um or {2: 25400.0, 3: 10000.0}.get(int(unit.value) if unit is not None else 1)
    if tag is None or per_unit is None or not tag.value[0] or not tag.value[1]:
        return None
    size = per_unit * tag.value[1] / tag.value[0]
    return size if size < _MAX_IMPLAUSIBLE_UM else None


def position_um(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Stage position (x, y) of the upper left corner in um, from the XPosition and YPosition tags in cm, or None."""
    x, y = page.tags.get("XPosition"), page.tags.get("YPosition")
    unit = page.tags.get("ResolutionUnit")
    if x is None or y is None or unit is None or int(unit.value) != 3 or not (x.value[1] and y.value[1]):
        return None
    return 1e4 * x.value[0] / x.value[1], 1e4 * y.value[0] / y.value[1]
