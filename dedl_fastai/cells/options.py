"""`NucleiOptions`: how nuclei are separated, and which of them stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from ..io.fields.field import Field
from .watershed import instances


@dataclass(frozen=True)
class NucleiOptions:
    """How nuclei are parted and which of them stay; areas are in pixels where the pixel size is unknown."""

    min_area_um2: float = 10.0  # smaller objects are dropped
    max_hole_um2: float = 2.5  # larger holes stay: between packed nuclei they are the gaps that part them
    h_px: float = 0.75  # how far the distance to the rim must sink between two nuclei to part them
    part_by: str = "distance"  # intensity: packed nuclei are parted where the model's first channel dips, too

    def __post_init__(self):
        if self.part_by not in ("distance", "intensity"):
            raise UserError(f"nuclei are parted by distance or by intensity, not by {self.part_by!r}.")
        if min(self.min_area_um2, self.max_hole_um2, self.h_px) < 0:
            raise UserError("areas of nuclei and holes, and the depth that parts nuclei, cannot be below 0.")

    def find(
        self,
        probability: np.ndarray,  # (H, W), or a mask
        threshold: float,
        field: Field,  # that it is of, or a part of
        channel: int,  # of the nuclei, for `part_by="intensity"`
        region: Sequence[int] = (),  # y0, y1, x0, x1 of that part; default: all
    ) -> np.ndarray:
        """Labels of the nuclei, int32 (H, W), see `instances`."""
        intensity = field.read(channel, *region) if self.part_by == "intensity" else None
        areas = (self.min_area_um2, self.max_hole_um2)
        return instances(probability, threshold, field.pixel_size_um, *areas, self.h_px, intensity=intensity)
