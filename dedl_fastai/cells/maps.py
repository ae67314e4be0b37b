"""The maps that heads predict beside the mask, for true nuclei: the targets of training, and what separation allows."""

from collections.abc import Callable

import numpy as np

from .distance import normalised_distance
from .flow import centre_flow

_OF_NUMBER: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # of maps -> the maps of labels: heads differ in it
    0: lambda labels: np.zeros((0, *labels.shape), np.float32),
    1: lambda labels: normalised_distance(labels)[None],
    2: centre_flow,
}


def true_maps(labels: np.ndarray, n: int) -> np.ndarray:
    """Return the `n` maps of ids (H, W), float32 (n, H, W) in 0..1: none, the distance or the flow."""
    return _OF_NUMBER[n](labels)
