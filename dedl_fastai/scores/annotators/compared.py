"""`Compared`: how far the masks of two annotators agree; fields add up."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...io.masks import IGNORED
from ..known_part import known_objects
from ..object_matches import Matches, count_matches
from ..pixel_counts import Counts


@dataclass(frozen=True)
class Compared:
    """Pixels and nuclei of two annotators in the same fields; parts that one of them does not know do not count."""

    pixels: Counts = field(default_factory=Counts)
    nuclei: Matches = field(default_factory=Matches)  # at an IoU of 0.5
    n_fields: int = 0
    n_with_ids: int = 0  # fields in which both tell nuclei apart

    def __add__(self, other: "Compared") -> "Compared":
        return Compared(
            self.pixels + other.pixels,
            self.nuclei + other.nuclei,
            self.n_fields + other.n_fields,
            self.n_with_ids + other.n_with_ids,
        )

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray, ids: bool) -> "Compared":
        """Compare the labels (H, W) of two annotators in a field; nuclei only if both hold `ids`."""
        truth = np.where(one < 0, IGNORED, other)
        nuclei = count_matches(*known_objects(np.maximum(one, 0), truth), [0.5])[0.5] if ids else Matches()
        return cls(Counts.of(one > 0, truth), nuclei, 1, int(ids))

    def row(self) -> dict[str, Any]:
        """IoU, Dice and Cohen's kappa of the pixels; numbers and F1 of the nuclei, None without ids."""
        nuclei = self.nuclei if self.n_with_ids else None
        return {
            "n_fields": self.n_fields,
            "iou": round(self.pixels.iou, 6),
            "dice": round(self.pixels.dice, 6),
            "kappa": round(self.pixels.kappa, 6),
            "n_nuclei": nuclei and nuclei.tp + nuclei.fp,
            "n_nuclei_other": nuclei and nuclei.tp + nuclei.fn,
            "f1_50": nuclei and round(nuclei.scores()["f1"], 6),
        }
