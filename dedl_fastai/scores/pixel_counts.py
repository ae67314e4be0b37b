"""Pixels of a mask compared with the truth: counts that add up over fields, IoU, Dice, accuracies and boundary F1."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi


@dataclass(frozen=True)
class Counts:
    """Confusion counts of the pixels of a binary mask; counts of several fields add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray) -> "Counts":
        """Count the pixels of two masks of the same shape; those with a truth below 0 (`IGNORED`) are left out."""
        known = truth >= 0
        p, t = predicted.astype(bool)[known], (truth > 0)[known]
        tp, n_p, n_t = int((p & t).sum()), int(p.sum()), int(t.sum())
        return cls(tp, n_p - tp, n_t - tp, p.size - n_p - n_t + tp)

    @property
    def iou(self) -> float:
        """Intersection over union of the nuclei, TP / (TP + FP + FN); 1 if neither mask has a nucleus."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 if neither mask has a nucleus."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond chance, (p_o - p_e) / (1 - p_e); 1 if both masks are all one and the same."""
        n = self.tp + self.fp + self.fn + self.tn
        agreed = (self.tp + self.tn) * n
        by_chance = (self.tp + self.fp) * (self.tp + self.fn) + (self.tn + self.fp) * (self.tn + self.fn)
        return _ratio(agreed - by_chance, n * n - by_chance)

    def scores(self) -> dict[str, float]:
        """IoU, Dice, pixel accuracy, and the accuracy on true nuclei and on true background."""
        return {
            "iou": self.iou,
            "dice": self.dice,
            "pixel_accuracy": _ratio(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn),
            "mask_accuracy": _ratio(self.tp, self.tp + self.fn),
            "background_accuracy": _ratio(self.tn, self.tn + self.fp),
        }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


@dataclass(frozen=True)
class BoundaryCounts:
    """Boundary pixels of prediction and truth, and how many of each are near the other's boundary."""

    predicted: int = 0
    predicted_near: int = 0
    true: int = 0
    true_near: int = 0

    def __add__(self, other: "BoundaryCounts") -> "BoundaryCounts":
        return BoundaryCounts(
            self.predicted + other.predicted,
            self.predicted_near + other.predicted_near,
            self.true + other.true,
            self.true_near + other.true_near,
        )

    @classmethod
    def of(cls, predicted: np.ndarray, truth: np.ndarray, tolerance: int = 2) -> "BoundaryCounts":
        """Count the boundary pixels of two masks; near means within `tolerance` pixels along both axes.

        Boundary pixels on which those with a truth below 0 (`IGNORED`) would have an influence are left out.
        """
        p, t = _boundary(predicted), _boundary(truth > 0)
        square = (2 * tolerance + 1,) * 2
        near_p, near_t = (ndi.maximum_filter(b, size=square, mode="constant") for b in (p, t))
        if (truth < 0).any():
            far = ~ndi.maximum_filter(truth < 0, size=2 * tolerance + 3, mode="constant")
            p, t = p & far, t & far
        return cls(int(p.sum()), int((p & near_t).sum()), int(t.sum()), int((t & near_p).sum()))

    @property
    def f1(self) -> float:
        """Boundary F1 (Csurka et al. 2013): harmonic mean of precision and recall; 1 if neither has a boundary."""
        if not self.predicted and not self.true:
            return 1.0
        precision = self.predicted_near / self.predicted if self.predicted else 0.0
        recall = self.true_near / self.true if self.true else 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def pixel_scores(counts: Counts, boundary: BoundaryCounts) -> dict[str, float]:
    """All scores of a mask: those of its pixels, and boundary F1."""
    return {**counts.scores(), "boundary_f1": boundary.f1}


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Mask pixels next to a background pixel; the edge of the field is not a boundary."""
    mask = mask.astype(bool)
    return mask & ~ndi.binary_erosion(mask, border_value=1)
