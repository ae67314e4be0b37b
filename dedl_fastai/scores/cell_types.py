"""Scores of the types of single cells, from confusion matrices, which add up over fields, patients and folds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .confidence import UNDECIDED
from .intervals import weighted_patients
from .label_metrics import decision_scores, ratio


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Return counts (K, K + 1) of true and predicted classes (N,); the last column counts undecided cells."""
    column = np.where(predicted == UNDECIDED, k, predicted)
    return np.bincount(truth * (k + 1) + column, minlength=k * (k + 1)).reshape(k, k + 1)


def patient_matrices(
    truth: np.ndarray, predicted: np.ndarray, patients: Sequence[str], k: int
) -> dict[str, np.ndarray]:
    """Return the confusion matrix of each patient."""
    owner = np.asarray(patients)
    own = {str(name): owner == name for name in sorted(set(patients))}
    return {name: confusion_matrix(truth[at], predicted[at], k) for name, at in own.items()}


def type_scores(counts: np.ndarray, vocab: Sequence[str]) -> dict[str, Any]:
    """Return the scores of a confusion matrix (K, K + 1), and the matrix itself.

    An undecided cell is missed by its class and found by none. F1 macro is the mean over the classes that the true
    cells have; accuracy counts all cells, `accuracy_decided` those with a type.
    """
    f1, recall, precision = _class_scores(counts)
    rows = {
        name: {
            "n": int(counts[k].sum()),
            "found": int(counts[:, k].sum()),
            "f1": round(float(f1[k]), 6),
            "recall": round(float(recall[k]), 6),
            "precision": round(float(precision[k]), 6),
            "undecided": int(counts[k, -1]),
        }
        for k, name in enumerate(vocab)
    }
    return {**overall_scores(counts), "per_class": rows, "confusion": counts.tolist()}


def overall_scores(counts: np.ndarray) -> dict[str, Any]:
    """Return the number of cells, F1 macro, accuracy and the share of undecided cells."""
    f1 = _class_scores(counts)[0][counts.sum(axis=1) > 0]
    n, right, undecided = counts.sum(), np.trace(counts), counts[:, -1].sum()
    values = {
        "f1_macro": f1.mean() if len(f1) else 0.0,
        "accuracy": ratio(right, n),
        "accuracy_decided": ratio(right, n - undecided),
        "undecided": ratio(undecided, n),
    }
    return {"n": int(n), **{name: round(float(v), 6) for name, v in values.items()}}


def kappa(counts: np.ndarray) -> float:
    """Cohen's kappa of a confusion matrix (K, K + 1): the agreement beyond chance; undecided cells are a class too."""
    n = counts.sum()
    agreed, by_chance = np.trace(counts) * n, (counts.sum(axis=1) * counts.sum(axis=0)[:-1]).sum()
    return float(ratio(agreed - by_chance, n * n - by_chance))


def type_intervals(matrices: Mapping[str, np.ndarray]) -> dict[str, list[float]] | None:
    """95 % intervals of F1 macro and accuracy, with whole patients resampled; None for a single patient."""
    if len(matrices) < 2:
        return None
    shape = next(iter(matrices.values())).shape
    resamples = weighted_patients(np.stack([m.ravel() for m in matrices.values()])).reshape(-1, *shape)
    rows = [overall_scores(counts) for counts in resamples]
    return {
        name: [round(float(v), 6) for v in np.percentile([row[name] for row in rows], [2.5, 97.5])]
        for name in ("f1_macro", "accuracy")
    }


def _class_scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tp = np.diagonal(counts)
    return decision_scores(tp, counts[:, :-1].sum(axis=0) - tp, counts.sum(axis=1) - tp)
