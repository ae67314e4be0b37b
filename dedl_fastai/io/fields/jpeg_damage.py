"""Damage in JPEG data that decoders do not report: they fill what they cannot decode with grey or noise."""

import re
from collections.abc import Callable

import numpy as np

from .jpeg_data import PROGRESSIVE, SEQUENTIAL, JpegData, Scan

Decode = Callable[[bytes], np.ndarray]

_WHOLE = (0, 63)  # the coefficients of a block
_MIDDLE = (127, 128, 2048)  # the grey of decoders, of 8 and 12 bits
_OTHER = tuple(map(bytes.fromhex, ("5aa533cc96695aa5", "a71e6b94d2583ce1", "39c6b14ee28d715a")))  # any bytes


def fault_of_picture(data: bytes, pixels: np.ndarray, decode: Decode) -> str:
    """What is wrong with a whole file, which `decode` made into `pixels`; "" if nothing is seen. Decodes it again."""
    parts = JpegData(data)
    return _fault(parts, pixels, decode) or (
        "data are left after its last pixel" if _goes_on(parts, pixels, decode) else ""
    )


def fault_of_tile(data: bytes, pixels: np.ndarray, decode: Decode, tables: bytes = b"") -> str:
    """What is wrong with a tile or strip of a TIFF, whose shared part is `tables`; seldom decodes it again."""
    return _fault(JpegData(data, tables), pixels, decode)


def _fault(parts: JpegData, pixels: np.ndarray, decode: Decode) -> str:
    is_odd = parts.frame in SEQUENTIAL and any(scan.coefficients != _WHOLE for scan in parts.scans)
    if parts.has_bad_header or is_odd:
        return "its header is damaged"
    if parts.stray:
        return f"its pixels are followed by the marker {parts.stray:#x}, which has no place there"
    for scan in parts.scans:
        n_zeros = _n_zeros(parts.frame, scan)
        start = scan.start - 1  # the last byte of the header, which is 0 in sequential files
        if n_zeros and parts.data.find(bytes(n_zeros), start, scan.end) >= 0:
            return "a part of its pixels is zeroed"
        if not _restarts_fit(parts, scan):
            return "its restart markers are not complete"
    return "its data end before its last pixel" if _ends_early(parts, pixels, decode) else ""


def _n_zeros(frame: int, scan: Scan) -> int:
    """Bytes of zeros that no encoder writes in a row, 0 if it may write any number.

    They would be dozens of equal coefficients other than 0, unless the code of zeros is that of a block of one colour.
    Progressive files write the number of such blocks instead.
    """
    if frame in SEQUENTIAL:
        return 16 if any(code & 15 for code in scan.zero_codes) else 0
    return 64 if frame == PROGRESSIVE and scan.coefficients[0] else 0


def _restarts_fit(parts: JpegData, scan: Scan) -> bool:
    if not scan.n_units:
        return True
    n = -(-scan.n_units // parts.interval) - 1 if parts.interval else 0
    found = re.findall(rb"\xff([\xd0-\xd7])", parts.data[scan.start : scan.end])
    return [marker[0] - 0xD0 for marker in found] == [i % 8 for i in range(n)]


def _ends_early(parts: JpegData, pixels: np.ndarray, decode: Decode) -> bool:
    """True if bytes after the data change the pixels. This is only tried where the last pixel is a decoder's grey."""
    if not parts.scans or not np.isin(pixels[-1, -1], _MIDDLE).all():
        return False
    end = parts.scans[-1].end
    return not _same(decode, parts.data[:end] + b"".join(_OTHER) + parts.data[end:], pixels)


def _goes_on(parts: JpegData, pixels: np.ndarray, decode: Decode) -> bool:
    """True if the last bytes of the data do not matter: a decoder with wrong codes needs fewer bytes, or more."""
    if len(parts.scans) != 1 or parts.frame not in SEQUENTIAL:
        return False
    start, end = parts.scans[0].start, parts.scans[0].end
    at = end - len(_OTHER[0])
    if at - start < len(_OTHER[0]) or pixels.min() == pixels.max():  # of one colour: other bytes may mean the same
        return False
    return all(_same(decode, parts.data[:at] + other + parts.data[end:], pixels) for other in _OTHER)


def _same(decode: Decode, data: bytes, pixels: np.ndarray) -> bool:
    try:
        return np.array_equal(decode(data), pixels)
    except (OSError, ValueError, RuntimeError):
        return False
