"""Scores of labelled items: at tuned thresholds and at 0.5, with intervals, and by patient."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.classification.items import ClfItem
from ...scores.class_labels import clf_scores
from ...scores.intervals import bootstrap_intervals
from ...scores.thresholds import tune_thresholds

_HEADLINES = ("f1_macro", "f1_micro", "recall_macro", "map", "auroc", "brier", "ece")
Items = dict[str, list[ClfItem]]  # split -> its items
Predictions = dict[str, np.ndarray]  # split -> probabilities (N, K)
Thresholds = np.ndarray | Sequence[float] | float  # (K,) or (N, K), or one for all classes


def truth_of(items: Sequence[ClfItem]) -> np.ndarray:
    """Return the true labels of the items as bool (N, K)."""
    return np.array([i.target for i in items], dtype=bool)


def tuned_thresholds(p: np.ndarray, items: Sequence[ClfItem]) -> list[float]:
    """Tune the threshold of each class on these items, rounded as it is stored."""
    return [round(float(t), 6) for t in tune_thresholds(p, truth_of(items))]


def split_scores(items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]) -> dict[str, Any]:
    """Return the scores at these thresholds, with intervals over patients, and the overall scores at 0.5."""
    truth = truth_of(items)
    at_half = clf_scores(p, truth, 0.5, vocab)
    return {
        **clf_scores(p, truth, thresholds, vocab),
        "intervals": bootstrap_intervals(p, truth, [i.patient for i in items], thresholds),
        "at_0.5": {k: v for k, v in at_half.items() if isinstance(v, float)},
    }


def patient_scores(
    items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the number of items and F1 of each patient."""
    patients, truth = np.array([i.patient for i in items]), truth_of(items)
    thresholds = np.broadcast_to(thresholds, p.shape)
    rows = {}
    for patient in sorted(set(patients)):
        own = patients == patient
        scores = clf_scores(p[own], truth[own], thresholds[own], vocab)
        rows[str(patient)] = {k: scores[k] for k in ("n", "f1_micro", "f1_macro")}
    return rows


def headlines(items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]) -> dict[str, float]:
    """Return the overall scores that tables show."""
    scores = clf_scores(p, truth_of(items), thresholds, vocab)
    return {k: scores[k] for k in _HEADLINES}
