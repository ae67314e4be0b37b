"""`Agreement`: how far two predictions of the same pixels differ, for example those of two engines."""

from dataclasses import dataclass

import numpy as np

from .pixel_counts import Counts
from .thresholds import predicted_labels


@dataclass(frozen=True)
class Agreement:
    """A prediction compared with a reference; both are probabilities of the same shape."""

    max_difference: float  # largest absolute difference in probability
    changed: float  # share of pixels (or labels) whose decision at the threshold differs
    iou_difference: float  # 1 - IoU of the two masks: an upper bound on the difference of their IoUs with any truth

    @classmethod
    def of(cls, ours: np.ndarray, reference: np.ndarray, threshold: float | np.ndarray = 0.5) -> "Agreement":
        """Compare two predictions; the bound holds as the Jaccard distance 1 - IoU obeys the triangle inequality."""
        mask, expected = (predicted_labels(p, threshold) for p in (ours, reference))
        return cls(
            float(np.abs(ours - reference).max()),
            float((mask != expected).mean()),
            1 - Counts.of(mask, expected).iou,
        )
