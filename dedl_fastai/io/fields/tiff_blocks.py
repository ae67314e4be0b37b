"""Strips and tiles of a TIFF page, decoded one by one; damage that the decoders do not report is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ...errors import UserError
from .jpeg_damage import fault_of_tile

Page = tifffile.TiffPage | tifffile.TiffFrame  # a frame shares the tags of its keyframe

_JPEG = (7, 34892)
_LZW = 5
_ZEROS = bytes(16)  # ten equal codes or more in LZW, which has a code of its own for a pair that it has seen
_ZERO_END = bytes(4)  # a block has at most three zeros at its end, for a last pixel of 0 and no mark of the end
_FAX = (2, 3, 4)
_STRICT = (8, 32946, 32773, 50000)  # deflate, PackBits, zstd: their decoders raise an error for too many bytes
PADDING = 8  # bytes that a block may have after its pixels
_WHOLE_BYTES = (8, 16, 32, 64)  # bits of a sample that fill bytes


def keyframe(page: Page) -> tifffile.TiffPage:
    """The page that has the tags of `page`: the page itself, or the first of the pages that share them."""
    if page.keyframe is None:
        raise tifffile.TiffFileError(f"page {page.index} has no keyframe")
    return page.keyframe


def segments(path: Path, page: Page, plane: int, *, y0: int, y1: int, x0: int, x1: int) -> Iterator[tuple[Any, ...]]:
    """Yield (pixels or None, index, shape) of the strips or tiles that a region touches, as tifffile decodes them.

    Raises a `UserError` for damage; errors of tifffile and its codecs are passed through.
    """
    key, fh = keyframe(page), page.parent.filehandle
    height, width = key.chunks[0:2] if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    n_rows, n_cols = -(-key.imagelength // height), -(-key.imagewidth // width)
    rows = range(y0 // height, -(-y1 // height))
    cols = range(x0 // width, -(-x1 // width))
    for row in rows:
        for col in cols:
            index = (plane * n_rows + row) * n_cols + col
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            data = None
            if count:
                fh.seek(offset)
                data = fh.read(count)
            yield _decoded(path, page, data, index)


def _decoded(path: Path, page: Page, data: bytes | None, index: int) -> tuple[Any, ...]:
    key = keyframe(page)
    tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader} if key.compression in (6, *_JPEG) else {}
    found = key.decode(data, index, **tables)
    pixels: Any = found[0]
    fault = ""
    if data is not None and key.compression in _JPEG:

        def decode(other: bytes) -> np.ndarray:
            again: Any = key.decode(other, index, **tables)[0]
            return again[0]

        fault = fault_of_tile(data, pixels[0], decode, page.jpegtables or b"")
    elif data is not None and key.compression == _LZW and (_ZEROS in data or _has_zeroed_end(key, data, pixels)):
        fault = "a part of its pixels is zeroed"
    elif data is not None and index == 0:
        fault = _fault_of_size(key, data)
    if fault:
        raise UserError(f"{path} is damaged: block {index} of page {page.index}: {fault}. Copy or export it again.")
    return found


def _has_zeroed_end(key: tifffile.TiffPage, data: bytes, pixels: np.ndarray) -> bool:
    """Whether an LZW block ends in zeros that stand for pixels: zeros that only fill a block hold none."""
    if not data.endswith(_ZERO_END):
        return False
    needed = pixels.size * key.bitspersample // 8
    return len(tifffile.TIFF.DECOMPRESSORS[_LZW](data.rstrip(b"\0"), out=needed)) < needed


def _fault_of_size(key: tifffile.TiffPage, data: bytes) -> str:
    """What is wrong with the length of the decoded first block of a page, as its tags are; "" if nothing is.

    tifffile leaves out what is too much.
    """
    if key.compression in _FAX:
        return "" if key.bitspersample == 1 else f"samples of {key.bitspersample} bits cannot be coded as a fax"
    is_image = key.compression in tifffile.TIFF.IMAGE_COMPRESSIONS or key.compression == 1
    if is_image or (key.compression in _STRICT and key.bitspersample in _WHOLE_BYTES):
        return ""
    rows, *columns = key.chunks
    needed = int(rows * -(-np.prod(columns, dtype=int) * key.bitspersample // 8))
    given = len(tifffile.TIFF.DECOMPRESSORS[key.compression](data, out=2 * needed + PADDING))
    return f"it holds {given} bytes of pixels, and its tags say {needed}" if given > needed + PADDING else ""
