"""`NucleiOptions`: how nuclei are separated, and which of them are kept. Imports the standard library alone."""

from dataclasses import dataclass

from ..errors import UserError

PART_BY = ("distance", "intensity")


@dataclass(frozen=True)
class NucleiOptions:
    """How nuclei are separated and which of them are kept; areas are in pixels where the pixel size is unknown."""

    min_area_um2: float = 10.0  # smaller objects are dropped
    max_hole_um2: float = 2.5  # larger holes are kept: they are the gaps between packed nuclei
    h_px: float = 0.75  # how far the distance to the rim must fall between two nuclei to separate them
    part_by: str = "distance"  # intensity: packed nuclei are also separated where the model's first channel dips

    def __post_init__(self):
        if self.part_by not in PART_BY:
            raise UserError(f"part_by={self.part_by!r} is unknown; nuclei are separated by {' or '.join(PART_BY)}.")
        if min(self.min_area_um2, self.max_hole_um2, self.h_px) < 0:
            raise UserError("areas of nuclei and holes, and the depth that separates nuclei, cannot be below 0.")
