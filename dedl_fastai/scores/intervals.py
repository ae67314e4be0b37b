"""Bootstrap confidence intervals of scores of pixels and of class labels, with whole patients resampled."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from .label_metrics import checked_labels, decision_scores, ranking_scores
from .pixel_counts import BoundaryCounts, Counts, pixel_scores
from .thresholds import predicted_labels

_BLOCK = 1_000_000  # item weights of resamples in memory at a time


def bootstrap_intervals(
    probabilities: np.ndarray,  # (N, K) in [0, 1]
    truth: np.ndarray,  # (N, K) bool
    patients: Sequence[str],  # of each item
    thresholds: np.ndarray | Sequence[float] | float,  # (K,) or (N, K), or one for all
    n: int = 1000,  # resamples
    seed: int = 0,
) -> dict[str, list[float] | None] | None:
    """95 % percentile intervals of the overall scores, with whole patients resampled; None for a single patient.

    A class that is missing from a resample is left out of the means of that resample.
    """
    p, y = checked_labels(probabilities, truth)
    names, member = np.unique([str(patient) for patient in patients], return_inverse=True)
    if len(names) < 2:
        return None
    predicted = predicted_labels(p, thresholds)
    draws = _patient_draws(len(names), n, seed)
    blocks = np.array_split(draws, 1 + n * len(y) // _BLOCK)
    parts = [_resampled(p, y, predicted, block[:, member].astype(np.float64)) for block in blocks]
    return {metric: _interval(np.concatenate([part[metric] for part in parts])) for metric in parts[0]}


def pixel_intervals(
    patients: Mapping[str, tuple[Counts, BoundaryCounts]],  # the counts of each patient
    n: int = 1000,  # resamples
    seed: int = 0,
) -> dict[str, list[float] | None] | None:
    """95 % percentile intervals of pooled pixel scores, with whole patients resampled; None for a single patient."""
    if len(patients) < 2:
        return None
    counts = np.array([[*dataclasses.astuple(c), *dataclasses.astuple(b)] for c, b in patients.values()])
    totals = weighted_patients(counts, n, seed).tolist()
    rows = [pixel_scores(Counts(*t[:4]), BoundaryCounts(*t[4:])) for t in totals]
    return {metric: _interval(np.array([row[metric] for row in rows])) for metric in rows[0]}


def weighted_patients(counts: np.ndarray, n: int = 1000, seed: int = 0) -> np.ndarray:
    """Return the sums (n, C) of counts (patients, C) over n resamples of the patients."""
    return _patient_draws(len(counts), n, seed) @ counts


def _patient_draws(patients: int, n: int, seed: int) -> np.ndarray:
    """(n, patients): how often each patient is drawn in each resample."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=n)


def _resampled(p: np.ndarray, y: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Overall scores for each row of item weights."""
    tp, fp, fn = (weights @ m for m in (predicted & y, predicted & ~y, ~predicted & y))
    missing = (tp + fp + fn == 0) & (predicted | y).any(axis=0)
    ap, auroc = np.stack([ranking_scores(p[:, k], y[:, k], weights) for k in range(p.shape[1])], axis=-1)
    total = weights.sum(axis=1)
    return {
        "f1_micro": decision_scores(*(c.sum(axis=1) for c in (tp, fp, fn)))[0],
        "f1_macro": _mean_of_known(np.where(missing, np.nan, decision_scores(tp, fp, fn)[0])),
        "map": _mean_of_known(ap),
        "auroc": _mean_of_known(auroc),
        "exact_match": weights @ (predicted == y).all(axis=1) / total,
        "brier": weights @ ((p - y) ** 2).mean(axis=1) / total,
    }


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    return np.ma.masked_invalid(values).mean(axis=1).filled(np.nan)


def _interval(values: np.ndarray) -> list[float] | None:
    values = values[~np.isnan(values)]
    return [round(float(v), 6) for v in np.percentile(values, [2.5, 97.5])] if len(values) else None
