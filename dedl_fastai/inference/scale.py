"""The scale of a prediction: how much fields are magnified, so that their nuclei look like those of the training."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from ..cells.options import NucleiOptions
from ..cells.watershed import labels_of_planes
from ..data.pixels import common_pixel_size
from ..scores.object_matches import count_matches, pool_matches
from .options import SCALE, parse_scale
from .window import FieldPixels

log = logging.getLogger(__name__)

SCALES = (0.5, 0.595, 0.707, 0.841, 1.0, 1.189, 1.414, 1.682, 2.0)  # that are tried: those of a doubled field are half
_TOLERANCE = 0.03  # of the agreement, within which the scale nearest to 1 is taken
_FIELDS = 8  # of a folder that are looked at
_SAMPLE = 320  # edge of the part of a field that is looked at, in pixels of the magnified field
_SAME_SIZE = 0.05  # pixels that differ by less are of the same size


@dataclass(frozen=True)
class Scale:
    """How much a field is magnified for the network, and why."""

    factor: float = 1.0
    by: str = "none"  # none, given, pixel size, agreement
    agreement: tuple[float, ...] = ()  # at each of `SCALES`

    @property
    def is_at_end(self) -> bool:
        """Whether the agreement is best at the smallest or largest scale, so that the right one may lie beyond."""
        return self.by == "agreement" and self.factor in (SCALES[0], SCALES[-1])


def scale_from_dict(value: Mapping[str, Any]) -> Scale:
    """Return the scale that `dataclasses.asdict` has made a dict of."""
    return Scale(value["factor"], value["by"], tuple(value["agreement"]))


class ScalableModel(Protocol):
    """What `choose_scale` needs of a model."""

    @property
    def pixel_size_um(self) -> float | None:
        """The pixel size of the training fields."""

    @property
    def threshold(self) -> float:
        """Probability at which a pixel is a nucleus."""

    @property
    def separation(self) -> NucleiOptions:
        """How nuclei are separated."""

    def planes(self, field: FieldPixels, scale: float = 1.0) -> np.ndarray:
        """Probability and maps of a head, (1 + maps, H, W), with the field magnified by `scale`."""


def sample_of(n: int) -> list[int]:
    """Return the indices of up to 8 of n fields, evenly spaced, from which the scale of all is chosen."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, _FIELDS))})


def choose_scale(
    model: ScalableModel,
    fields: Sequence[FieldPixels],
    sizes: Sequence[float | None],  # of their pixels in um, None where unknown
    scale: str | float = SCALE,
) -> Scale:
    """Return the scale for fields that belong together: given, from the pixel sizes, or by agreement.

    "auto" compares the pixel size with that of the training fields where both are known. Otherwise nuclei are found at
    each of `SCALES` in a part of each field; at the right scale, those at the next smaller and larger one are the same.
    Of the scales with the best agreement (F1 at IoU 0.5), the one nearest to 1 is taken.
    """
    scale = parse_scale(scale)
    if scale == "none":
        return Scale()
    if scale != "auto":
        return Scale(float(scale), "given")
    pixel_size = common_pixel_size(sizes)
    if model.pixel_size_um and pixel_size:
        factor = pixel_size / model.pixel_size_um
        return Scale(1.0 if abs(math.log(factor)) < _SAME_SIZE else factor, "pixel size")
    places = [_brightest(pixels) for pixels in fields]
    tried = [_Tried.of(model, fields, places, s) for s in SCALES]
    agreement = tuple(_agreement(tried))
    close = [s for s, value in zip(SCALES, agreement, strict=True) if value >= max(agreement) - _TOLERANCE]
    chosen = Scale(min(close, key=lambda s: abs(math.log(s))), "agreement", agreement)
    if chosen.is_at_end:
        log.warning(
            "the nuclei agree best at scale %g, the end of the range: check the outlines, or give the scale yourself",
            chosen.factor,
        )
    return chosen


@dataclass(frozen=True)
class _Tried:
    """What was found at a scale: in each field the window that was looked at, and its nuclei."""

    scale: float
    windows: list[tuple[slice, slice]]
    labels: list[np.ndarray]

    @classmethod
    def of(
        cls, model: ScalableModel, fields: Sequence[FieldPixels], places: Sequence[tuple[int, int]], scale: float
    ) -> "_Tried":
        """Find nuclei around a place of each field, in as many pixels of the magnified field at each scale."""
        edge = round(_SAMPLE / scale)
        windows = [_window(pixels, place, edge) for pixels, place in zip(fields, places, strict=True)]
        parts = (np.ascontiguousarray(p[:, y][..., x]) for p, (y, x) in zip(fields, windows, strict=True))
        return cls(scale, windows, [_nuclei_at(model, part, scale) for part in parts])

    def agreement(self, larger: "_Tried") -> float:
        """F1 at IoU 0.5 with the nuclei of a larger scale, in the windows of that one."""
        counts = [
            count_matches(_cropped(a, outer, inner), b, [0.5])
            for a, b, outer, inner in zip(self.labels, larger.labels, self.windows, larger.windows, strict=True)
        ]
        return pool_matches(counts)[0.5].scores()["f1"]


def _agreement(tried: Sequence[_Tried]) -> Iterator[float]:
    """Yield for each scale how well its nuclei agree with those at the neighbouring scales."""
    pairs = [smaller.agreement(larger) for smaller, larger in pairwise(tried)]
    for i in range(len(tried)):
        yield round(float(np.mean(pairs[max(i - 1, 0) : i + 1])), 4)


def _nuclei_at(model: ScalableModel, sample: np.ndarray, scale: float) -> np.ndarray:
    planes = model.planes(sample, scale)
    return labels_of_planes(planes[0], model.threshold, model.separation, maps=planes[1:])


def _cropped(labels: np.ndarray, outer: tuple[slice, slice], inner: tuple[slice, slice]) -> np.ndarray:
    y, x = (slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
    return labels[y, x]


def _window(pixels: FieldPixels, place: tuple[int, int], edge: int) -> tuple[slice, slice]:
    """The part of a field of up to edge x edge pixels around a place."""
    _, height, width = pixels.shape
    return _around(place[0], edge, height), _around(place[1], edge, width)


def _brightest(pixels: FieldPixels) -> tuple[int, int]:
    """The middle of the brightest of nine parts of a field in its first channel."""
    _, height, width = pixels.shape
    edge = round(_SAMPLE / SCALES[0])
    rows, columns = _starts(height, edge), _starts(width, edge)
    bands = ((y, pixels[:, y : y + edge][0]) for y in rows)
    parts = {(y, x): float(band[:, x : x + edge].mean()) for y, band in bands for x in columns}
    y, x = max(parts, key=lambda place: parts[place])
    return y + min(edge, height) // 2, x + min(edge, width) // 2


def _around(middle: int, edge: int, length: int) -> slice:
    start = min(max(0, middle - edge // 2), max(0, length - edge))
    return slice(start, min(start + edge, length))


def _starts(length: int, edge: int) -> list[int]:
    free = max(0, length - edge)
    return sorted({0, free // 2, free})
