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

SCALES = (0.5, 0.65, 0.8, 1.0, 1.25, 1.55, 2.0)  # that are tried
_TOLERANCE = 0.03  # of the agreement, within which the scale nearest to 1 is taken
_FIELDS = 8  # of a folder that are looked at
_SAMPLE = 256  # edge in pixels of the part of a field that is looked at
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
    agreement = tuple(scale_agreement(model, fields))
    close = [s for s, value in zip(SCALES, agreement, strict=True) if value >= max(agreement) - _TOLERANCE]
    chosen = Scale(min(close, key=lambda s: abs(math.log(s))), "agreement", agreement)
    if chosen.is_at_end:
        log.warning(
            "the nuclei agree best at scale %g, the end of the range: check the outlines, or give the scale yourself",
            chosen.factor,
        )
    return chosen


def scale_agreement(model: ScalableModel, fields: Sequence[FieldPixels]) -> Iterator[float]:
    """Yield for each of `SCALES` how well its nuclei agree with those at the neighbouring scales: F1 at IoU 0.5."""
    samples = [_sample(pixels) for pixels in fields]
    labels = [[_nuclei_at(model, sample, scale) for sample in samples] for scale in SCALES]
    pairs = [
        pool_matches(count_matches(a, b, [0.5]) for a, b in zip(smaller, larger, strict=True))[0.5].scores()["f1"]
        for smaller, larger in pairwise(labels)
    ]
    for i in range(len(SCALES)):
        yield round(float(np.mean(pairs[max(i - 1, 0) : i + 1])), 4)


def _nuclei_at(model: ScalableModel, sample: np.ndarray, scale: float) -> np.ndarray:
    planes = model.planes(sample, scale)
    return labels_of_planes(planes[0], model.threshold, model.separation, maps=planes[1:])


def _sample(pixels: FieldPixels) -> np.ndarray:
    """The brightest of nine parts of a field in its first channel, (C, h, w); all of it if it is small."""
    _, height, width = pixels.shape
    bands = (pixels[:, y : y + _SAMPLE] for y in _starts(height))
    parts = [band[..., x : x + _SAMPLE] for band in bands for x in _starts(width)]
    return np.ascontiguousarray(max(parts, key=lambda part: float(part[0].mean())))


def _starts(length: int) -> list[int]:
    free = max(0, length - _SAMPLE)
    return sorted({0, free // 2, free})
