"""How far two predictions of the same pixels are from each other: of an engine, of an exported model."""

from dataclasses import dataclass

import numpy as np

from .class_labels import predicted_labels
from .pixel_counts import Counts


@dataclass(frozen=True)
class Agreement:
    """A prediction against a reference, both probabilities of one shape."""

    max_difference: float  # of a probability
    changed: float  # share of pixels (or labels) that are decided otherwise at the threshold
    iou_difference: float  # 1 - IoU of the two masks; against any truth, their IoUs differ by this at most

    @classmethod
    def of(cls, ours: np.ndarray, reference: np.ndarray, threshold: float | np.ndarray = 0.5) -> "Agreement":
        """The bound on the IoU holds because 1 - IoU (the Jaccard distance) obeys the triangle inequality."""
        mask, expected = (predicted_labels(p, threshold) for p in (ours, reference))
        return cls(
            float(np.abs(ours - reference).max()),
            float((mask != expected).mean()),
            1 - Counts.of(mask, expected).iou,
        )
