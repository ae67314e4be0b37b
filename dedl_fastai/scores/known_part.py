"""`known_objects`: predicted and true nuclei in the part of a field where the truth is known."""

import numpy as np

from ..io.corrections import with_whole_nuclei


def known_objects(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (H, W) of predicted and true nuclei without the part in which `truth` is `IGNORED`.

    A predicted nucleus with at least half of its pixels there is left out, and the others lose those pixels.
    """
    unknown = truth < 0
    if not unknown.any():
        return predicted, truth
    kept = with_whole_nuclei(~unknown, predicted) & ~unknown
    return np.where(kept, predicted, 0), np.maximum(truth, 0)
