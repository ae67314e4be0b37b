"""Flow: the direction from each pixel of a nucleus to its centre, which a network can learn to tell nuclei apart.

The idea is Cellpose's (Stringer et al. 2021), with straight lines to the centre in the place of its diffusion.
"""

import numpy as np
from scipy import ndimage as ndi

from .distance import normalised_distance

_DOUBLINGS = 7  # of the number of steps of up to one pixel: 128, as far as the centre of the largest nuclei
_SMOOTH_PX, _WINDOW_PX = 1.0, 7  # where the pixels end up, and the window in which a maximum is a centre
_LEAST = 2.0  # pixels that end up at a centre, per pixel
_NEAR_PX = 4.0  # the distance from a centre within which a pixel belongs to it


def centre_flow(labels: np.ndarray) -> np.ndarray:
    """Return the direction to the centre of each nucleus, float32 (2, H, W) as y and x, in 0..1 instead of -1..1.

    `labels` are ids (H, W), 0 background. The centre is the pixel with the largest distance to the rim. Background and
    centres have the flow 0.5, which stands for no motion.
    """
    height, width = labels.shape
    result = np.full((2, height * width), 0.5, np.float32)
    flat = labels.ravel()
    at, peaks = np.flatnonzero(flat), np.flatnonzero(normalised_distance(labels) == 1)
    ids, first = np.unique(flat[peaks], return_index=True)
    centre = peaks[first][np.searchsorted(ids, flat[at])]
    steps = np.stack([centre // width - at // width, centre % width - at % width]).astype(np.float32)
    result[:, at] += steps / np.maximum(np.hypot(*steps), 1) / 2
    return result.reshape(2, height, width)


def follow_flow(flow: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return labels (H, W) of the pixels of a mask, by the place where the flow (2, H, W) in 0..1 takes them.

    Pixels that end up between all centres get no label.
    """
    start = np.nonzero(mask)
    here = np.stack(start).astype(np.float32)
    way = [np.where(mask, 2 * v.astype(np.float32) - 1, 0) for v in flow]  # of one step, then of two, of four, ...
    edge = np.array(mask.shape, np.float32)[:, None] - 1
    for _ in range(_DOUBLINGS):
        there = here + np.stack([w[start] for w in way])
        further = [ndi.map_coordinates(w, there, order=1, mode="nearest") for w in way]
        for w, more in zip(way, further, strict=True):
            w[start] += more
    at = np.clip(here + np.stack([w[start] for w in way]), 0, edge)
    end = np.rint(at).astype(np.int64)
    arrived = np.zeros(mask.shape, np.float32)
    np.add.at(arrived, tuple(end), 1)
    arrived = ndi.gaussian_filter(arrived, _SMOOTH_PX)
    is_centre = (arrived == ndi.maximum_filter(arrived, _WINDOW_PX)) & (arrived >= _LEAST)
    centres, _ = ndi.label(is_centre, structure=np.ones((3, 3)))
    far, nearest = ndi.distance_transform_edt(centres == 0, return_indices=True)
    labels = np.zeros(mask.shape, np.int32)
    labels[start] = np.where(far[tuple(end)] <= _NEAR_PX, centres[tuple(nearest)][tuple(end)], 0)
    return labels
