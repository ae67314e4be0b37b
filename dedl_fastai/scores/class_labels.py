"""Scores of multi-label predictions, overall and per class, and of constant predictors as baselines."""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from .calibration import calibration_error
from .label_metrics import checked_labels, confusion_counts, decision_scores, ranking_scores, varying_classes

_DECISION_SCORES = ("f1", "recall", "precision")


def clf_scores(
    probabilities: np.ndarray,  # (N, K) in [0, 1]
    truth: np.ndarray,  # (N, K) bool
    thresholds: np.ndarray | Sequence[float] | float,  # (K,), one for all classes, or (N, K)
    vocab: Sequence[str],  # K names
    ranked_by: np.ndarray | None = None,  # (N, K), for average precision and AUROC; default: the probabilities
) -> dict[str, Any]:
    """Overall scores, the same without classes that are always or never present here, and the scores of each class.

    F1, recall and precision are scikit-learn's with zero_division=0. Average precision and AUROC are None for a class
    whose items are all positive or all negative, and such a class is left out of their means. The threshold of a class
    is None if its items have different ones.
    """
    p, y = checked_labels(probabilities, truth)
    t = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), p.shape)
    ranks = p if ranked_by is None else checked_labels(ranked_by, y)[0]
    rows = [_class_scores(p[:, k], y[:, k], t[:, k], ranks[:, k]) for k in range(len(vocab))]
    varying = varying_classes(y)
    constant = {"always": np.all(y, axis=0), "never": ~np.any(y, axis=0)}
    varying_rows = list(compress(rows, varying))
    without_constant = _overall(p[:, varying], y[:, varying], t[:, varying], varying_rows) if varying_rows else None
    scores = {
        "n": len(y),
        **_overall(p, y, t, rows),
        "without_constant": without_constant,
        "constant_classes": {k: list(compress(vocab, mask)) for k, mask in constant.items()},
        "per_class": dict(zip(vocab, rows, strict=True)),
    }
    return _rounded(scores)


def constant_probabilities(train_truth: np.ndarray, n: int) -> np.ndarray:
    """(n, K): the class prevalences of the training split, for every item.

    At a threshold of 0.5 this is the majority predictor: a class is present if at least half of the training items
    have it.
    """
    return np.tile(np.asarray(train_truth, dtype=np.float64).mean(axis=0), (n, 1))


def best_constant(train_truth: np.ndarray) -> np.ndarray:
    """(K,) bool: the single label set with the best micro-F1 for all items; the smallest one of several."""
    counts = np.asarray(train_truth, dtype=bool).sum(axis=0)
    order = np.argsort(-counts, kind="stable")  # of all sets of a given size, the most frequent classes are best
    sizes = np.arange(len(counts) + 1)
    tp = np.concatenate([[0], counts[order].cumsum()])
    f1 = 2 * tp / np.maximum(1, sizes * len(train_truth) + counts.sum())
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[order[: int(f1.argmax())]] = True
    return chosen


def constant_scores(train_truth: np.ndarray, truth: np.ndarray, vocab: Sequence[str]) -> dict[str, Any]:
    """Scores of the majority predictor, and of the constant label sets with the best micro-F1 and macro-F1.

    All constants are chosen on the training split. The best macro-F1 of a constant is reached by predicting every class
    that occurs, because a class that is never predicted has an F1 of 0.
    """
    train = np.asarray(train_truth, dtype=bool)
    sets = {"best_micro": best_constant(train), "best_macro": np.any(train, axis=0)}
    best = {k: {"labels": list(compress(vocab, s)), **_set_scores(s, truth)} for k, s in sets.items()}
    return {
        "labels": list(compress(vocab, train.mean(axis=0) >= 0.5)),
        **clf_scores(constant_probabilities(train, len(truth)), truth, 0.5, vocab),
        **_rounded(best),
    }


def pooled_constant_scores(folds: Sequence[tuple[np.ndarray, np.ndarray]], vocab: Sequence[str]) -> dict[str, Any]:
    """As `constant_scores`, for folds of (training truth, test truth) whose test items are pooled.

    A constant does not rank items. Its prevalences differ between folds, and are lowest where the tested items have a
    class most often, so that they are not taken as a ranking: AUROC is 0.5, average precision the share of positives.
    """
    parts = [(np.asarray(train, dtype=bool), len(test)) for train, test in folds]
    truth = np.concatenate([test for _, test in folds]).astype(bool)
    p = np.concatenate([constant_probabilities(train, n) for train, n in parts])
    sets = {
        "best_micro": np.concatenate([np.tile(best_constant(train), (n, 1)) for train, n in parts]),
        "best_macro": np.concatenate([np.tile(np.any(train, axis=0), (n, 1)) for train, n in parts]),
    }
    best = {name: _set_scores(labels, truth) for name, labels in sets.items()}
    return {**clf_scores(p, truth, 0.5, vocab, ranked_by=np.zeros_like(p)), **_rounded(best)}


def _class_scores(p: np.ndarray, y: np.ndarray, threshold: np.ndarray, ranks: np.ndarray) -> dict[str, Any]:
    decided = (float(v) for v in decision_scores(*confusion_counts(p >= threshold, y)))
    ap, auroc = (float(v[0]) for v in ranking_scores(ranks, y, np.ones((1, len(p)))))
    return {
        "n": int(y.sum()),
        "prevalence": float(y.mean()),
        **dict(zip(_DECISION_SCORES, decided, strict=True)),
        "ap": None if np.isnan(ap) else ap,
        "auroc": None if np.isnan(auroc) else auroc,
        "brier": float(((p - y) ** 2).mean()),
        "ece": calibration_error(p, y),
        "threshold": float(threshold[0]) if (threshold == threshold[0]).all() else None,
    }


def _overall(p: np.ndarray, y: np.ndarray, t: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Any]:
    ranked = {name: [row[k] for row in rows if row[k] is not None] for name, k in (("map", "ap"), ("auroc", "auroc"))}
    return {
        **_set_scores(p >= t, y),
        **{name: float(np.mean(v)) if v else None for name, v in ranked.items()},
        "brier": float(((p - y) ** 2).mean()),
        "ece": calibration_error(p, y),
    }


def _set_scores(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of predicted label sets (N, K), or of a single set (K,) for all items."""
    truth = np.asarray(truth).astype(bool)
    predicted = np.broadcast_to(predicted, truth.shape)
    counts = confusion_counts(predicted, truth)
    micro = zip(_DECISION_SCORES, decision_scores(*(c.sum() for c in counts)), strict=True)
    macro = zip(_DECISION_SCORES, decision_scores(*counts), strict=True)
    scores = {f"{k}_micro": float(v) for k, v in micro} | {f"{k}_macro": float(v.mean()) for k, v in macro}
    return {**dict(sorted(scores.items())), "exact_match": float((predicted == truth).all(axis=1).mean())}


def _rounded(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v, k) for k, v in value.items()}
    return round(value, 6) if isinstance(value, float) and key != "threshold" else value
