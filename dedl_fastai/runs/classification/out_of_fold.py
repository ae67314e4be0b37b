"""Out-of-fold scores of classification: each field is predicted by the runs of the fold that tests its patient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.classification.items import ClfItem
from ...inference.load import load_classifier
from ...scores.class_labels import pooled_constant_scores
from ..outer_fold import OuterFold
from .baselines import forest_predictions
from .evaluation import items_by_split
from .item_scores import headlines, patient_scores, split_scores, truth_of


@dataclass(frozen=True)
class _TestedFold:
    """The test items of a fold, with the predictions for them and the decisions' thresholds, for each item."""

    fold: OuterFold
    classes: list[str]
    items: list[ClfItem]
    train_truth: np.ndarray  # (M, K) bool
    probabilities: np.ndarray  # (N, K), mean over the seeds
    thresholds: np.ndarray  # (N, K)
    forest: np.ndarray  # (N, K)
    forest_thresholds: np.ndarray  # (N, K)

    def row(self) -> dict[str, Any]:
        """Return what metrics.json has for the fold."""
        scores = headlines(self.items, self.probabilities, self.thresholds, self.classes)
        return {**self.fold.facts(), "thresholds": self.thresholds[0].tolist(), **scores}


def score_clf_folds(folds: Sequence[OuterFold], which: str = "best", device: str = "auto") -> dict[str, Any]:
    """Return metrics over the pooled test items of all folds, each item at the thresholds tuned in its fold.

    Average precision and AUROC rank the pooled probabilities. "folds" has the scores of each fold.
    """
    known: dict[tuple, np.ndarray] = {}
    tested = [_tested(fold, which, device, known) for fold in folds]
    items = [item for t in tested for item in t.items]
    vocab = tested[0].classes
    p, thresholds, forest, forest_thresholds = (
        np.concatenate([getattr(t, name) for t in tested])
        for name in ("probabilities", "thresholds", "forest", "forest_thresholds")
    )
    rows = {t.fold.name: t.row() for t in tested}
    fold_of = {patient: name for name, row in rows.items() for patient in row["patients"]}
    patients = patient_scores(items, p, thresholds, vocab)
    constant = pooled_constant_scores([(t.train_truth, truth_of(t.items)) for t in tested], vocab)
    by_forest = split_scores(items, forest, forest_thresholds, vocab)
    baselines = {"constant": constant, "forest": by_forest}
    return {
        "task": "classification",
        "classes": vocab,
        "test": split_scores(items, p, thresholds, vocab),
        "per_patient": {name: {"fold": fold_of[name], "split": "test", **row} for name, row in patients.items()},
        "baselines": {name: {**row, "split": "test", "test": row} for name, row in baselines.items()},
        "members": [m for row in rows.values() for m in row["members"]],
        "folds": rows,
    }


def _tested(fold: OuterFold, which: str, device: str, known: dict[tuple, np.ndarray]) -> _TestedFold:
    classifiers = [load_classifier(run.path, which, device) for run in fold.runs]
    items = items_by_split(classifiers[0], fold.cohort)
    test = items["test"]
    p = np.mean([c.probabilities(test) for c in classifiers], axis=0)
    forest, forest_thresholds = forest_predictions(items, ["test"], known)
    return _TestedFold(
        fold=fold,
        classes=classifiers[0].classes,
        items=test,
        train_truth=truth_of(items["train"]),
        probabilities=p,
        thresholds=np.tile(np.mean([c.thresholds for c in classifiers], axis=0), (len(test), 1)),
        forest=forest["test"],
        forest_thresholds=np.tile(forest_thresholds, (len(test), 1)),
    )
