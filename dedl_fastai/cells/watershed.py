"""Label images of nuclei from a probability map, by a distance-transform watershed; and operations on label images."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from ..errors import UserError
from ..io.fields.field import Field
from .flow import follow_flow
from .options import DEFAULT_H, NucleiOptions
from .peaks import h_maxima

_EIGHT = np.ones((3, 3), bool)
_SMOOTH_PX = 0.5  # of a predicted distance, whose rim is jagged
_SMOOTH_UM, _WINDOW_UM = 0.75, 7.5  # scales of the intensity: smaller than a nucleus, and about as large as one


def instances(
    probability: np.ndarray,  # (H, W) in 0..1, or a mask
    threshold: float = 0.5,  # pixels at or above it are foreground
    pixel_size_um: float | None = None,  # None: areas are in pixels
    min_area_um2: float = NucleiOptions.min_area_um2,  # smaller objects are dropped
    max_hole_um2: float = NucleiOptions.max_hole_um2,  # larger holes are not filled: gaps between packed nuclei
    h_px: float = NucleiOptions.h_px,  # how far the distance to the border must dip between two nuclei
    intensity: np.ndarray | None = None,  # DAPI (H, W): also separates packed nuclei where it dips
    distance: np.ndarray | None = None,  # (H, W) in 0..1, predicted: takes the place of the distance to the border
    h: float = DEFAULT_H,  # how far the predicted distance must dip between two nuclei
    flow: np.ndarray | None = None,  # (2, H, W) in 0..1, predicted: pixels belong together that it takes to one place
) -> np.ndarray:
    """Labels of nuclei as int32 (H, W): 0 is background, ids 1..n follow the raster order of first pixels.

    Holes are filled, and touching nuclei are separated by a watershed on the distance to the border, seeded at its
    h-maxima. With `intensity` the distance is weighted by the intensity relative to its surroundings: this separates
    more of the nuclei in dense tissue, but breaks up large nuclei with texture. With `distance`, which a
    model with a head predicts, its h-maxima are the seeds; with `flow` there is no watershed. Raises `UserError` unless
    the maps are (H, W).
    """
    maps = [intensity, distance, *(flow if flow is not None else [])]
    for plane in (probability, *(m for m in maps if m is not None)):
        if plane.ndim != 2 or plane.shape != probability.shape:
            raise UserError(f"the maps must have the same shape (H, W) as the probability: one has {plane.shape}.")
    square = (pixel_size_um or 1.0) ** 2
    mask = fill_holes(probability >= threshold, max_hole_um2 / square)
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    if flow is not None:
        labels = follow_flow(flow, mask)
    elif distance is not None:
        labels = _flooded(ndi.gaussian_filter(distance.astype(np.float32), _SMOOTH_PX), mask, h)
    elif mask.all():  # without background there is no distance to it
        labels = mask.astype(np.int32)
    else:
        border = ndi.distance_transform_edt(mask).astype(np.float32)
        if intensity is not None:
            border *= _relative(intensity, pixel_size_um or 0.5)
        labels = _flooded(border, mask, h_px)
    return in_raster_order(without_small(labels, min_area_um2 / square))


def find_nuclei(
    probability: np.ndarray,  # (H, W), or a mask
    threshold: float,
    field: Field,
    channel: int,  # index of the nuclear channel, for `part_by="intensity"`
    options: NucleiOptions,
    maps: np.ndarray | None = None,  # (maps, H, W) of the model's head, if it has one
    region: Sequence[int] = (),  # y0, y1, x0, x1 of the region of the field that `probability` covers; default: all
) -> np.ndarray:
    """Labels of the nuclei of a field or of a region of it, int32 (H, W); see `instances`."""
    by_intensity = options.part_by == "intensity"
    return labels_of_planes(
        probability,
        threshold,
        options,
        maps=None if by_intensity else maps,
        intensity=field.read(channel, *region) if by_intensity else None,
        pixel_size_um=field.pixel_size_um,
    )


def labels_of_planes(
    probability: np.ndarray,  # (H, W), or a mask
    threshold: float,  # where the options have none
    options: NucleiOptions,
    maps: np.ndarray | None = None,  # (maps, H, W) of the model's head: one is the distance, two are the flow
    intensity: np.ndarray | None = None,  # (H, W)
    pixel_size_um: float | None = None,
) -> np.ndarray:
    """Labels of the nuclei in what a model predicts, int32 (H, W); see `instances`."""
    n_maps = 0 if maps is None else len(maps)
    return instances(
        probability,
        threshold if options.threshold is None else options.threshold,
        pixel_size_um,
        min_area_um2=options.min_area_um2,
        max_hole_um2=options.max_hole_um2,
        h_px=options.h_px,
        intensity=intensity,
        distance=maps[0] if n_maps == 1 and maps is not None else None,
        h=DEFAULT_H if options.h is None else options.h,
        flow=maps if n_maps == 2 else None,
    )


def fill_holes(mask: np.ndarray, max_area_px: float) -> np.ndarray:
    """Fill holes of up to `max_area_px` in a mask; background connected to the edge of the mask is not a hole."""
    gaps, n = ndi.label(~mask)
    is_hole = np.bincount(gaps.ravel(), minlength=n + 1) <= max_area_px
    is_hole[touches_border(gaps)] = is_hole[0] = False
    return mask | is_hole[gaps]


def without_small(labels: np.ndarray, min_area_px: float) -> np.ndarray:
    """Remove objects smaller than `min_area_px` from the labels."""
    keep = np.bincount(labels.ravel()) >= min_area_px
    keep[0] = False
    return np.where(keep[labels], labels, 0)


def in_raster_order(labels: np.ndarray) -> np.ndarray:
    """Relabel the objects 1..n, as int32, in the raster order of their first pixels."""
    at = np.flatnonzero(labels)
    _, first, inverse = np.unique(labels.ravel()[at], return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    result = np.zeros(labels.size, np.int32)
    result[at] = rank[inverse]
    return result.reshape(labels.shape)


def touches_border(labels: np.ndarray) -> np.ndarray:
    """Ids of the objects that touch the edge of the label image, ascending; they may be cut off."""
    edge = np.concatenate([side for line in (0, -1) for side in (labels[line, :], labels[:, line])])
    return np.unique(edge[edge > 0])


def _relative(intensity: np.ndarray, pixel_size_um: float) -> np.ndarray:
    """The smoothed intensity as a fraction of its local maximum, 0..1."""
    smooth = ndi.gaussian_filter(np.maximum(intensity, 0).astype(np.float32), _SMOOTH_UM / pixel_size_um)
    highest = ndi.maximum_filter(smooth, size=max(3, round(_WINDOW_UM / pixel_size_um)))
    return smooth / np.where(highest > 0, highest, 1)


def _flooded(distance: np.ndarray, mask: np.ndarray, h: float) -> np.ndarray:
    """The watershed of the distance inside the mask, from the seeds of its h-maxima."""
    seeds = _seeds(distance, mask, h)
    return watershed(_depth(distance, seeds), seeds, mask=mask)


def _depth(distance: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The surface to flood: the negative distance, with seeds slightly deeper, and deeper still towards the upper left.

    scikit-image floods seeds of equal depth in an order that depends on all seeds of the field, which decides a few
    pixels between nuclei: a region of a field would then be labelled differently from the whole field.
    """
    depth = -distance.astype(np.float64)
    y, x = np.nonzero(seeds)
    depth[y, x] += 1e-8 * (y + x / 8192) - 1e-3
    return depth


def _seeds(distance: np.ndarray, mask: np.ndarray, h: float) -> np.ndarray:
    """One seed per nucleus: the h-maxima of the distance, and each component of the mask too thin to have one."""
    peaks = h_maxima(distance, h) & mask
    components, n = ndi.label(mask)
    has_peak = np.zeros(n + 1, bool)
    has_peak[components[peaks]] = has_peak[0] = True
    return ndi.label(peaks | ~has_peak[components], structure=_EIGHT)[0]
