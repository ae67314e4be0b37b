"""The normalised distance of each pixel of a nucleus to its rim, which a network can learn to tell nuclei apart."""

import edt
import numpy as np


def normalised_distance(labels: np.ndarray) -> np.ndarray:
    """Return the distance to the rim of each nucleus over the largest one in it: float32 (H, W) in 0..1, 0 outside.

    `labels` are ids (H, W), 0 background. Neighbouring nuclei that touch have a rim between them; the edge of the image
    is not a rim, so that a nucleus that is cut off there still rises towards it.
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    distance = edt.edt(labels, black_border=False, parallel=1)
    at = np.flatnonzero(labels)
    ids, owner = np.unique(labels.ravel()[at], return_inverse=True)
    largest = np.zeros(len(ids), np.float32)
    values = distance.ravel()[at]
    values = np.where(np.isfinite(values), values, np.float32(1))  # a nucleus that fills the image has no rim in it
    np.maximum.at(largest, owner, values)
    result = np.zeros(labels.size, np.float32)
    result[at] = values / largest[owner]
    return result.reshape(labels.shape)
