"""`NucleiOptions`: how nuclei are separated and which are kept; defaults. Imports only the standard library."""

import math
from dataclasses import dataclass, replace

from ..errors import UserError

PART_BY = ("distance", "intensity")
DEFAULT_H = 0.1
RADIUS_UM = 30.0  # largest distance between the centres of neighbouring cells
PERMUTATIONS = 1000  # of the types of cells, which stand for chance


@dataclass(frozen=True)
class NucleiOptions:
    """How nuclei are separated and which are kept; areas are in pixels if the pixel size is unknown.

    `h` and `threshold` that are None are the model's own.
    """

    min_area_um2: float = 10.0  # smaller objects are dropped
    max_hole_um2: float = 2.5  # larger holes are not filled: they are gaps between packed nuclei
    h_px: float = 0.75  # two nuclei are separated if the distance to the border dips by this much between them
    h: float | None = None  # the same for the distance that a model's head predicts, 1 in the middle of a nucleus
    threshold: float | None = None  # probability from which a pixel belongs to a nucleus
    # distance: to the border, or that of the model's head if it has one; intensity: also where the first channel dips
    part_by: str = "distance"

    def __post_init__(self):
        if self.part_by not in PART_BY:
            raise UserError(f"part_by={self.part_by!r} is unknown; nuclei are separated by {' or '.join(PART_BY)}.")
        numbers = (self.min_area_um2, self.max_hole_um2, self.h_px, self.h or 0)
        if not all(map(math.isfinite, numbers)) or min(numbers) < 0:
            raise UserError("`min_area_um2`, `max_hole_um2`, `h_px` and `h` are finite and not below 0.")

        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UserError(f"threshold={self.threshold:g}: give a probability, from 0 to 1.")

    def filled(self, own: "NucleiOptions") -> "NucleiOptions":
        """Return these options with a model's own `h` and `threshold` where they are not given."""
        return replace(
            self,
            h=own.h if self.h is None else self.h,
            threshold=own.threshold if self.threshold is None else self.threshold,
        )
