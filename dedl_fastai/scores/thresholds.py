"""Thresholds on the probabilities of classes: the labels at given thresholds, and thresholds tuned for F1."""

from collections.abc import Sequence

import numpy as np

from .label_metrics import checked_labels, decision_scores, varying_classes


def predicted_labels(
    probabilities: np.ndarray | Sequence[float], thresholds: np.ndarray | Sequence[float] | float
) -> np.ndarray:
    """(N, K) bool: a class is present where its probability reaches its threshold."""
    # in float64 as when tuning: 0.7 as float32 and 0.7 as float64 are different numbers
    return np.asarray(probabilities, dtype=np.float64) >= np.asarray(thresholds, dtype=np.float64)


def tune_thresholds(probabilities: np.ndarray, truth: np.ndarray, standard_errors: float = 2.0) -> np.ndarray:
    """A threshold per class with a good F1: 0.5 unless another threshold is better by more than chance.

    The threshold stays at 0.5 if the F1 there is within `standard_errors` of the best F1, where the standard error of
    the best F1 comes from resampled items: with few items the best threshold is mostly noise. Otherwise it is the best
    threshold, and the middle one of several equally good ones. Classes that are always or never present get 0.5.
    """
    p, y = checked_labels(probabilities, truth)
    varying = varying_classes(y)
    columns = [(p[:, k], y[:, k]) for k in range(p.shape[1])]
    return np.array([_tuned(*c, standard_errors) if v else 0.5 for c, v in zip(columns, varying, strict=True)])


def _tuned(p: np.ndarray, y: np.ndarray, standard_errors: float) -> float:
    best = _best_threshold(p, y)
    f1_best, f1_half = (_f1(p >= t, y, np.ones((1, len(y))))[0] for t in (best, 0.5))
    weights = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), size=200)
    error = _f1(p >= best, y, weights).std()
    return 0.5 if f1_half > 0 and f1_best - f1_half < standard_errors * error else best


def _f1(predicted: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 for each row of item weights."""
    return decision_scores(weights @ (predicted & y), weights @ (predicted & ~y), weights @ (~predicted & y))[0]


def _best_threshold(p: np.ndarray, y: np.ndarray) -> float:
    steps, where = np.unique(p, return_inverse=True)
    predicted, tp = (np.bincount(where, weights=w)[::-1].cumsum()[::-1] for w in (None, y))
    f1 = 2 * tp / (predicted + y.sum())
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    k = best[len(best) // 2]
    below = steps[k - 1] if k else 0.0
    middle = (steps[k] + below) / 2
    return float(middle if middle > below else steps[k])  # there is no float between adjacent floats
