"""The random forest baseline of classification: colour and intensity statistics of pictures, no learned features."""

from itertools import combinations

import numpy as np
from scipy import ndimage as ndi
from sklearn.ensemble import RandomForestClassifier

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
HISTOGRAM = 8  # bins over [0, 1]
SPOTS = (0.05, 0.15)  # differences in brightness between a spot and its surroundings


def picture_statistics(pixels: np.ndarray) -> np.ndarray:
    """Features of a picture (C, H, W) in [0, 1] as float32: 21 per channel and one per pair of channels."""
    planes = _unit(pixels)
    pairs = [_correlation(planes[a], planes[b]) for a, b in combinations(range(len(planes)), 2)]
    return np.concatenate([*(_channel_statistics(plane) for plane in planes), pairs]).astype(np.float32)


def forest_probabilities(
    train_features: np.ndarray,  # (M, F)
    train_truth: np.ndarray,  # (M, K) bool
    features: np.ndarray,  # (N, F)
    seed: int = 0,
    trees: int = 300,
) -> np.ndarray:
    """(N, K) probabilities; a class that all or no training items have gets a constant probability of 1 or 0."""
    truth = np.asarray(train_truth).astype(int)
    probabilities = np.tile(truth[:1].astype(np.float64), (len(features), 1))
    varying = np.flatnonzero((truth != truth[0]).any(axis=0))
    if len(varying):
        forest = RandomForestClassifier(trees, min_samples_leaf=2, random_state=seed)
        forest.fit(train_features, truth[:, varying].squeeze())
        predicted = forest.predict_proba(features)
        for k, column in zip(varying, predicted if isinstance(predicted, list) else [predicted], strict=True):
            probabilities[:, k] = column[:, 1]
    return probabilities


def _unit(pixels: np.ndarray) -> np.ndarray:
    pixels = np.asarray(pixels)
    scale = 255 if pixels.dtype == np.uint8 else 1
    return np.clip(pixels.astype(np.float32) / scale, 0, 1)


def _channel_statistics(plane: np.ndarray) -> np.ndarray:
    bins = np.minimum((plane * HISTOGRAM).astype(np.intp), HISTOGRAM - 1)
    histogram = np.bincount(bins.ravel(), minlength=HISTOGRAM) / plane.size
    values = [plane.mean(), plane.std(), *np.percentile(plane, PERCENTILES)]
    return np.array([*values, *histogram, *_gradients(plane), *_spots(plane)])


def _gradients(plane: np.ndarray) -> list[float]:
    """Mean squared and mean absolute difference between neighbouring pixels, summed over both axes."""
    steps = [np.diff(plane, axis=axis) for axis in (0, 1)]
    return [float(sum((f(s)).mean() for s in steps if s.size)) for f in (np.square, np.abs)]


def _spots(plane: np.ndarray) -> list[float]:
    """Number of spots per thousand pixels, at each difference in brightness."""
    above = ndi.gaussian_filter(plane, 1, mode="nearest") - ndi.gaussian_filter(plane, 4, mode="nearest")
    return [1000 * ndi.label(above > threshold)[1] / plane.size for threshold in SPOTS]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 if either channel is constant."""
    if a.min() == a.max() or b.min() == b.max():  # the mean is rounded, so deviations from it may not be 0
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
