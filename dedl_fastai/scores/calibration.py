"""Calibration of predicted probabilities: the reliability diagram in bins, and the expected calibration error."""

import numpy as np

from .label_metrics import ratio

BINS = 10  # of equal width, between 0 and 1


def calibration_bins(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of labels, mean probability and share of present labels in each of 10 equal bins of probability."""
    where = np.minimum((p.ravel() * BINS).astype(int), BINS - 1)
    n = np.bincount(where, minlength=BINS)
    expected, present = (np.bincount(where, weights=v.ravel(), minlength=BINS) for v in (p, y))
    return n, ratio(expected, n), ratio(present, n)


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error: mean difference between probability and observed frequency, weighted by bin size."""
    n, expected, present = calibration_bins(p, y)
    return float((n * np.abs(expected - present)).sum() / n.sum())
