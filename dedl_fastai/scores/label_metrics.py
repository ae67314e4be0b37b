"""Metrics that the scores, thresholds and intervals of class labels share: F1, recall, precision, AP and AUROC."""

from typing import Any

import numpy as np

from ..errors import UserError


def checked_labels(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (items, classes) as float64 and truth as bool; `UserError` if they cannot be scored."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth).astype(bool)
    if p.shape != y.shape or p.ndim != 2:
        raise UserError(f"probabilities {p.shape} and truth {y.shape}: both must have the shape (items, classes).")
    if not p.size:
        raise UserError("there is no item to score: choose a split with labelled items.")
    if not ((p >= 0) & (p <= 1)).all():
        raise UserError("some probabilities are NaN or outside 0 to 1: train again with a lower learning rate.")
    return p, y


def varying_classes(truth: np.ndarray) -> np.ndarray:
    """(K,) bool: classes that are present in some items and absent in others."""
    return np.asarray(truth.any(axis=0) & ~truth.all(axis=0))


def confusion_counts(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false positives and false negatives of labels (N, ...), counted over the items."""
    return (predicted & truth).sum(axis=0), (predicted & ~truth).sum(axis=0), (~predicted & truth).sum(axis=0)


def decision_scores(tp: Any, fp: Any, fn: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1, recall and precision from counts or weights; 0 where they are undefined."""
    return ratio(2 * tp, 2 * tp + fp + fn), ratio(tp, tp + fn), ratio(tp, tp + fp)


def ranking_scores(p: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and AUROC of a class, for each row of item weights (n, N).

    They are NaN for a row of weights without positive or without negative items.
    """
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.diff(p[order], append=-1))  # the last item of each run of equal probabilities
    true = (weights[:, order] * y[order]).cumsum(axis=1)[:, ends]
    false = (weights[:, order] * ~y[order]).cumsum(axis=1)[:, ends]
    both = (true[:, -1] > 0) & (false[:, -1] > 0)
    tpr = true / np.where(both, true[:, -1], np.nan)[:, None]
    fpr = false / np.where(both, false[:, -1], np.nan)[:, None]
    step = np.diff(tpr, prepend=0)
    ap = (step * ratio(true, true + false)).sum(axis=1)
    auroc = (np.diff(fpr, prepend=0) * (tpr - step / 2)).sum(axis=1)
    return ap, auroc


def ratio(part: Any, whole: Any) -> np.ndarray:
    """`part / whole`, and 0 where `whole` is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
