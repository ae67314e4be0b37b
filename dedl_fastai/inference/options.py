"""Default options of predictions that several modules share. Imports only the standard library."""

import math

from ..errors import UserError

OVERLAP = 0.25  # share of a tile's edge that the next tile also covers
BATCH_SIZE = 8  # tiles
SCALE = "none"  # of the field: none, auto, or a factor


def parse_scale(scale: str | float) -> str | float:
    """Return "auto", "none" or a factor, from an option. Raise a `UserError` for anything else."""
    if scale in ("auto", "none"):
        return scale
    try:
        factor = float(scale)
    except ValueError:
        factor = math.nan
    if not 0.1 <= factor <= 10:
        raise UserError(f"scale={scale}: give auto, none, or a factor between 0.1 and 10.")
    return factor
