"""Scores of multi-label predictions: overall and per class, tuned thresholds, constant predictors, intervals."""

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from ..errors import UserError

BINS = 10  # of the calibration error
_DECIDED = ("f1", "recall", "precision")
_BLOCK = 1_000_000  # item weights of resamples held at a time


def clf_scores(
    probabilities: np.ndarray,  # (N, K) in [0, 1]
    truth: np.ndarray,  # (N, K) bool
    thresholds: np.ndarray | Sequence[float] | float,  # (K,), or one for all classes
    vocab: Sequence[str],  # K names
) -> dict[str, Any]:
    """Headline numbers, the same without classes that are always or never present here, and a row per class.

    F1, recall and precision are scikit-learn's with zero_division=0. Average precision and AUROC of a class with
    items of one kind only are None, and it is left out of their means.
    """
    p, y = _checked(probabilities, truth)
    t = np.broadcast_to(np.asarray(thresholds, dtype=np.float64), len(vocab))
    rows = [_class_scores(p[:, k], y[:, k], t[k]) for k in range(len(vocab))]
    varying, constant = varying_classes(y), {"always": y.all(axis=0), "never": ~y.any(axis=0)}
    kept = list(compress(rows, varying))
    scores = {
        "n": len(y),
        **_headlines(p, y, t, rows),
        "without_constant": _headlines(p[:, varying], y[:, varying], t[varying], kept) if kept else None,
        "constant_classes": {k: list(compress(vocab, mask)) for k, mask in constant.items()},
        "per_class": dict(zip(vocab, rows, strict=True)),
    }
    return _rounded(scores)


def predicted_labels(probabilities: np.ndarray, thresholds: np.ndarray | Sequence[float] | float) -> np.ndarray:
    """(N, K) bool: a class is present where its probability reaches its threshold."""
    # in float64 like the tuning: 0.7 as float32 and as float64 are two numbers
    return np.asarray(probabilities, dtype=np.float64) >= np.asarray(thresholds, dtype=np.float64)


def varying_classes(truth: np.ndarray) -> np.ndarray:
    """(K,) bool: classes that some items have and others have not."""
    return truth.any(axis=0) & ~truth.all(axis=0)


def tune_thresholds(probabilities: np.ndarray, truth: np.ndarray, standard_errors: float = 2.0) -> np.ndarray:
    """Per class a threshold with a good F1: 0.5 unless another one is better by more than chance.

    That is, where the F1 at 0.5 is less than `standard_errors` (of the best F1, from resampled items) below the best,
    0.5 stays: with few items the best threshold is mostly noise. Else the best; of several the middle one. 0.5 too
    where a class is always or never there.
    """
    p, y = _checked(probabilities, truth)
    varying = varying_classes(y)
    columns = [(p[:, k], y[:, k]) for k in range(p.shape[1])]
    return np.array([_tuned(*c, standard_errors) if v else 0.5 for c, v in zip(columns, varying, strict=True)])


def _tuned(p: np.ndarray, y: np.ndarray, standard_errors: float) -> float:
    best = _best_threshold(p, y)
    reached, at_half = (_f1(p >= t, y, np.ones((1, len(y))))[0] for t in (best, 0.5))
    weights = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), size=200)
    error = _f1(p >= best, y, weights).std()
    return 0.5 if at_half > 0 and reached - at_half < standard_errors * error else best


def _f1(guess: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 under each row of item weights."""
    return _decision_scores(weights @ (guess & y), weights @ (guess & ~y), weights @ (~guess & y))[0]


def constant_probabilities(train_truth: np.ndarray, n: int) -> np.ndarray:
    """(n, K): every item gets the prevalences of the training part.

    At 0.5 this is the majority predictor: a class is present when half of the training items or more have it.
    """
    return np.tile(np.asarray(train_truth, dtype=np.float64).mean(axis=0), (n, 1))


def best_constant(train_truth: np.ndarray) -> np.ndarray:
    """(K,) bool: the one label set for all items with the best micro-F1; of several the smallest."""
    counts = np.asarray(train_truth, dtype=bool).sum(axis=0)
    order = np.argsort(-counts, kind="stable")  # among sets of one size, the most frequent classes are best
    sizes = np.arange(len(counts) + 1)
    found = np.concatenate([[0], counts[order].cumsum()])
    f1 = 2 * found / np.maximum(1, sizes * len(train_truth) + counts.sum())
    chosen = np.zeros(len(counts), dtype=bool)
    chosen[order[: int(f1.argmax())]] = True
    return chosen


def constant_scores(train_truth: np.ndarray, truth: np.ndarray, vocab: Sequence[str]) -> dict[str, Any]:
    """Scores of the majority predictor, and of the constant label sets with the best micro-F1 and macro-F1.

    All constants are chosen on the training part. The macro-F1 of a constant is best when it predicts every class
    that occurs: a class that is never predicted has F1 0.
    """
    train = np.asarray(train_truth, dtype=bool)
    sets = {"best_micro": best_constant(train), "best_macro": train.any(axis=0)}
    best = {k: {"labels": list(compress(vocab, s)), **_set_scores(s, truth)} for k, s in sets.items()}
    return {
        "labels": list(compress(vocab, train.mean(axis=0) >= 0.5)),
        **clf_scores(constant_probabilities(train, len(truth)), truth, 0.5, vocab),
        **_rounded(best),
    }


def bootstrap_intervals(
    probabilities: np.ndarray,  # (N, K) in [0, 1]
    truth: np.ndarray,  # (N, K) bool
    patients: Sequence[str],  # of each item
    thresholds: np.ndarray | Sequence[float] | float,
    n: int = 1000,  # resamples
    seed: int = 0,
) -> dict[str, list[float] | None] | None:
    """95 % percentile intervals of the headline numbers when whole patients are drawn anew; None for one patient.

    A class that a resample has lost is left out of that resample's means.
    """
    p, y = _checked(probabilities, truth)
    names, member = np.unique([str(patient) for patient in patients], return_inverse=True)
    if len(names) < 2:
        return None
    guess = predicted_labels(p, thresholds)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    blocks = np.array_split(draws, 1 + n * len(y) // _BLOCK)
    parts = [_resampled(p, y, guess, block[:, member].astype(np.float64)) for block in blocks]
    return {metric: _interval(np.concatenate([part[metric] for part in parts])) for metric in parts[0]}


def ranking_scores(p: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and AUROC of a class under each row of item weights (n, N); NaN without both kinds."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.diff(p[order], append=-1))  # the last one of each run of equal probabilities
    true = (weights[:, order] * y[order]).cumsum(axis=1)[:, ends]
    false = (weights[:, order] * ~y[order]).cumsum(axis=1)[:, ends]
    both = (true[:, -1] > 0) & (false[:, -1] > 0)
    hit = true / np.where(both, true[:, -1], np.nan)[:, None]
    alarm = false / np.where(both, false[:, -1], np.nan)[:, None]
    step = np.diff(hit, prepend=0)
    ap = (step * _ratio(true, true + false)).sum(axis=1)
    auroc = (np.diff(alarm, prepend=0) * (hit - step / 2)).sum(axis=1)
    return ap, auroc


def calibration_bins(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, mean probability and share of labels that are present, of each of 10 equal bins of probability."""
    where = np.minimum((p.ravel() * BINS).astype(int), BINS - 1)
    n = np.bincount(where, minlength=BINS)
    expected, present = (np.bincount(where, weights=v.ravel(), minlength=BINS) for v in (p, y))
    return n, _ratio(expected, n), _ratio(present, n)


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error: mean probability against share present, over the bins, weighted by their size."""
    n, expected, present = calibration_bins(p, y)
    return float((n * np.abs(expected - present)).sum() / n.sum())


def _checked(probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth).astype(bool)
    if p.shape != y.shape or p.ndim != 2:
        raise UserError(f"probabilities {p.shape} and truth {y.shape}: both have to be (items, classes).")
    if not p.size:
        raise UserError("there is no item to score: choose a part that has labelled ones.")
    if not ((p >= 0) & (p <= 1)).all():
        raise UserError("some probabilities are NaN or outside 0 to 1: train again with a lower learning rate.")
    return p, y


def _class_scores(p: np.ndarray, y: np.ndarray, threshold: float) -> dict[str, Any]:
    decided = (float(v) for v in _decision_scores(*_counts(p >= threshold, y)))
    ap, auroc = (float(v[0]) for v in ranking_scores(p, y, np.ones((1, len(p)))))
    return {
        "n": int(y.sum()),
        "prevalence": float(y.mean()),
        **dict(zip(_DECIDED, decided, strict=True)),
        "ap": None if np.isnan(ap) else ap,
        "auroc": None if np.isnan(auroc) else auroc,
        "brier": float(((p - y) ** 2).mean()),
        "ece": calibration_error(p, y),
        "threshold": float(threshold),
    }


def _headlines(p: np.ndarray, y: np.ndarray, t: np.ndarray, rows: list[dict[str, Any]]) -> dict[str, Any]:
    ranked = {name: [row[k] for row in rows if row[k] is not None] for name, k in (("map", "ap"), ("auroc", "auroc"))}
    return {
        **_set_scores(p >= t, y),
        **{name: float(np.mean(v)) if v else None for name, v in ranked.items()},
        "brier": float(((p - y) ** 2).mean()),
        "ece": calibration_error(p, y),
    }


def _set_scores(guess: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of predicted label sets (N, K), or of one set (K,) for all items."""
    truth = np.asarray(truth).astype(bool)
    guess = np.broadcast_to(guess, truth.shape)
    counts = _counts(guess, truth)
    micro = zip(_DECIDED, _decision_scores(*(c.sum() for c in counts)), strict=True)
    macro = zip(_DECIDED, _decision_scores(*counts), strict=True)
    scores = {f"{k}_micro": float(v) for k, v in micro} | {f"{k}_macro": float(v.mean()) for k, v in macro}
    return {**dict(sorted(scores.items())), "exact_match": float((guess == truth).all(axis=1).mean())}


def _counts(guess: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (guess & y).sum(axis=0), (guess & ~y).sum(axis=0), (~guess & y).sum(axis=0)


def _decision_scores(tp, fp, fn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1, recall and precision."""
    return _ratio(2 * tp, 2 * tp + fp + fn), _ratio(tp, tp + fn), _ratio(tp, tp + fp)


def _ratio(part, whole) -> np.ndarray:
    """`part / whole`, and 0 where `whole` is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _best_threshold(p: np.ndarray, y: np.ndarray) -> float:
    steps, where = np.unique(p, return_inverse=True)
    predicted, tp = (np.bincount(where, weights=w)[::-1].cumsum()[::-1] for w in (None, y))
    f1 = 2 * tp / (predicted + y.sum())
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    k = best[len(best) // 2]
    below = steps[k - 1] if k else 0.0
    middle = (steps[k] + below) / 2
    return float(middle if middle > below else steps[k])  # between neighbouring floats there is no middle


def _resampled(p: np.ndarray, y: np.ndarray, guess: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Headline numbers under each row of item weights."""
    tp, fp, fn = (weights @ m for m in (guess & y, guess & ~y, ~guess & y))
    lost = (tp + fp + fn == 0) & (guess | y).any(axis=0)
    ap, auroc = np.stack([ranking_scores(p[:, k], y[:, k], weights) for k in range(p.shape[1])], axis=-1)
    total = weights.sum(axis=1)
    return {
        "f1_micro": _decision_scores(*(c.sum(axis=1) for c in (tp, fp, fn)))[0],
        "f1_macro": _mean_of_known(np.where(lost, np.nan, _decision_scores(tp, fp, fn)[0])),
        "map": _mean_of_known(ap),
        "auroc": _mean_of_known(auroc),
        "exact_match": weights @ (guess == y).all(axis=1) / total,
        "brier": weights @ ((p - y) ** 2).mean(axis=1) / total,
    }


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    return np.ma.masked_invalid(values).mean(axis=1).filled(np.nan)


def _interval(values: np.ndarray) -> list[float] | None:
    values = values[~np.isnan(values)]
    return [round(float(v), 6) for v in np.percentile(values, [2.5, 97.5])] if len(values) else None


def _rounded(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v, k) for k, v in value.items()}
    return round(value, 6) if isinstance(value, float) and key != "threshold" else value
