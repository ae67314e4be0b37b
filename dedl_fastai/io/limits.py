"""Limits of what a file may claim: pixels that are decoded at a time, and the edge of a pixel."""

import os
from pathlib import Path

from ..errors import UserError

PIXEL_SIZES_UM = (1e-4, 100.0)  # from 0.1 nm; other values are mistakes, such as a wrong unit
_VARIABLE = "DEDL_MAX_PIXELS"
_DEFAULT = 1 << 27  # 134 megapixels, 11585 x 11585: half a gigabyte as float32; slides are read in parts


def check_pixels(path: str | Path, height: int, width: int) -> None:
    """Raise a `UserError` if a plane, or a part of it, is larger than what is decoded at a time."""
    text = os.environ.get(_VARIABLE) or str(_DEFAULT)
    if not text.isdecimal():
        raise UserError(f"{_VARIABLE}={text!r} is not a number of pixels.")
    if height * width > int(text):
        raise UserError(
            f"{path}: {height} x {width} pixels would be decoded at once, and {text} are allowed. If the file is "
            f"right, set the variable {_VARIABLE} to {height * width}."
        )
