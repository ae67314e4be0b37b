"""Shifts between slides: the factor by which a slide is brighter than the others, for each marker."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .log_scale import LogScale

_BINS, _SMOOTH = 200, 6.0  # of the histogram of logarithms that the mode is taken from


def slide_factors(values: dict[str, np.ndarray], statistic: str) -> dict[str, float]:
    """Factor of each slide: its mean, or its mode, divided by the geometric mean over the slides.

    The mode is that of the logarithms. It is the level of the negative cells where these are the majority, and does not
    depend on how many cells are positive, as the mean does. A slide without signal has the factor 1.
    """
    scale = LogScale.of(np.concatenate([v[np.isfinite(v)] for v in values.values()]))
    levels = {slide: _level(v[np.isfinite(v)], scale, statistic) for slide, v in values.items()}
    known = [level for level in levels.values() if level > 0]
    centre = float(np.exp(np.mean(np.log(known)))) if known else 1.0
    return {slide: level / centre if level > 0 else 1.0 for slide, level in levels.items()}


def _level(values: np.ndarray, scale: LogScale, statistic: str) -> float:
    if not len(values):
        return 0.0
    if statistic == "mean":
        return float(values.mean())
    logs = scale.log(values)
    counts, edges = np.histogram(logs, bins=_BINS)
    peak = int(np.argmax(gaussian_filter1d(counts.astype(float), _SMOOTH)))
    return float(scale.intensity((edges[peak] + edges[peak + 1]) / 2))
