"""`NucleiOptions`: how nuclei are separated and which are kept. Imports only the standard library."""

from dataclasses import dataclass

from ..errors import UserError

PART_BY = ("distance", "intensity")


@dataclass(frozen=True)
class NucleiOptions:
    """How nuclei are separated and which are kept; areas are in pixels if the pixel size is unknown."""

    min_area_um2: float = 10.0  # smaller objects are dropped
    max_hole_um2: float = 2.5  # larger holes are not filled: they are gaps between packed nuclei
    h_px: float = 0.75  # two nuclei are separated if the distance to the border dips by this much between them
    part_by: str = "distance"  # intensity: also separates packed nuclei where the model's first channel dips

    def __post_init__(self):
        if self.part_by not in PART_BY:
            raise UserError(f"part_by={self.part_by!r} is unknown; nuclei are separated by {' or '.join(PART_BY)}.")
        if min(self.min_area_um2, self.max_hole_um2, self.h_px) < 0:
            raise UserError("`min_area_um2`, `max_hole_um2` and `h_px` cannot be below 0.")
