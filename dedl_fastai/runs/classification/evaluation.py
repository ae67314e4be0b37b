"""Metrics of classification runs, from their saved weights: thresholds, splits, patients, intervals, baselines."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.classification.items import ClfItem, clf_items, labels_for
from ...data.classification.labels import Labels
from ...data.cohort import Cohort
from ...inference.classifier import Classifier
from ...inference.classifier_ensemble import ClassifierEnsemble
from ...inference.load import load_classifier
from ...scores.class_labels import clf_scores, constant_scores
from ...scores.forest import forest_probabilities, picture_statistics
from ...scores.intervals import bootstrap_intervals
from ...scores.thresholds import tune_thresholds
from ...training.model_card import WEIGHT_FILES
from ...training.run_folder import RunFolder
from ..figures import curves_figure, save_figure
from ..options.clf import ClfConfig
from .figures import Thresholds, draw_clf_figures

log = logging.getLogger(__name__)

_HEADLINES = ("f1_macro", "f1_micro", "recall_macro", "map", "auroc", "brier", "ece")
Items = dict[str, list[ClfItem]]  # split -> its items
Predictions = dict[str, np.ndarray]  # split -> probabilities (N, K)


def items_by_split(classifier: Classifier, cohort: Cohort, labels: Labels | None = None) -> Items:
    """Return the labelled items of train, valid and test; splits without items are left out."""
    labels = labels or labels_for(cohort, classifier.facts)
    present = set(labels.cohort.table.split)
    splits = [s for s in ("train", "valid", "test") if s in present]
    return {s: clf_items(cohort, classifier.facts, s, labels=labels) for s in splits}


def truth_of(items: Sequence[ClfItem]) -> np.ndarray:
    """Return the true labels of the items as bool (N, K)."""
    return np.array([i.target for i in items], dtype=bool)


def evaluate_clf_run(run: RunFolder, options: ClfConfig, cohort: Cohort, labels: Labels) -> dict[str, Any]:
    """Tune the thresholds, score best, last and averaged weights, and write metrics and figures."""
    classifier = load_classifier(run.path, "best", options.device)
    items = items_by_split(classifier, cohort, labels)
    predictions = {s: classifier.probabilities(items[s]) for s in items}
    metrics = clf_metrics(items, predictions, classifier.classes)
    scores = _scores_of_weights(run, options, items, predictions)
    metrics["weights"] = scores
    metrics["labels"] = {"how": labels.how, "warnings": labels.warnings}
    classifier.card["thresholds"] = metrics["thresholds"]
    classifier.card["thresholds_of_weights"] = {which: row["thresholds"] for which, row in scores.items()}
    run.write("model", classifier.card)
    _draw(run, classifier, items, predictions)
    run.write("metrics", metrics)
    return metrics


def clf_metrics(
    items: Items, predictions: Predictions, vocab: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """Return the contents of metrics.json. Thresholds that are not given are tuned on the validation items."""
    is_tuned_here = thresholds is None
    if thresholds is None:
        thresholds = tuned_thresholds(predictions["valid"], items["valid"])
    splits = [s for s in predictions if s != "train" or len(predictions) == 1]
    return {
        "task": "classification",
        "classes": list(vocab),
        "thresholds": list(thresholds),
        "threshold": dict(zip(vocab, thresholds, strict=True)),
        **{
            s: {
                **split_scores(items[s], predictions[s], thresholds, vocab),
                **({"tuned_here": True} if is_tuned_here and s == "valid" else {}),
            }
            for s in splits
        },
        "per_patient": {
            patient: {"split": s, **scores}
            for s in splits
            for patient, scores in _patient_scores(items[s], predictions[s], thresholds, vocab).items()
        },
        "baselines": baselines(items, vocab, splits),
    }


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


def _patient_scores(
    items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]
) -> dict[str, dict[str, Any]]:
    patients = np.array([i.patient for i in items])
    rows = {}
    for patient in sorted(set(patients)):
        own = patients == patient
        scores = clf_scores(p[own], truth_of(items)[own], thresholds, vocab)
        rows[str(patient)] = {k: scores[k] for k in ("n", "f1_micro", "f1_macro")}
    return rows


def baselines(items: Items, vocab: Sequence[str], splits: list[str]) -> dict[str, Any]:
    """Score a constant predictor and a random forest, fitted to the training items; the last split on top.

    The forest's thresholds are tuned on the validation items, as the model's are.
    """
    if "train" not in items or not splits:
        return {}
    train = truth_of(items["train"])
    used = list(dict.fromkeys([*(s for s in ("valid",) if s in items), *splits]))
    features = {
        s: np.array([picture_statistics(i.pixels()) for i in items[s]]) for s in dict.fromkeys(["train", *used])
    }
    forest = {s: forest_probabilities(features["train"], train, features[s]) for s in used}
    thresholds = tuned_thresholds(forest["valid"], items["valid"]) if "valid" in forest else [0.5] * len(vocab)
    rows = {
        "constant": {s: constant_scores(train, truth_of(items[s]), vocab) for s in splits},
        "forest": {s: _tuned_and_at_half(items[s], forest[s], thresholds, vocab) for s in splits},
    }
    return {name: {**row[splits[-1]], "split": splits[-1], **row} for name, row in rows.items()}


def _tuned_and_at_half(
    items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]
) -> dict[str, Any]:
    return {**clf_scores(p, truth_of(items), thresholds, vocab), "at_0.5": _headlines(items, p, 0.5, vocab)}


def evaluate_clf_again(classifier: Classifier | ClassifierEnsemble, cohort: Cohort, split: str) -> dict[str, Any]:
    """Score the items of one split (or all) with the thresholds in the model; with baselines if possible."""
    labels = labels_for(cohort, classifier.facts)
    present = set(labels.cohort.table.split)
    for_baselines = [s for s in ("train", "valid") if s in present and s != split]
    items = {s: clf_items(cohort, classifier.facts, s, labels=labels) for s in (*for_baselines, split)}
    predictions = {split: classifier.probabilities(items[split])}
    return clf_metrics(items, predictions, classifier.classes, classifier.thresholds.tolist())


def _scores_of_weights(run: RunFolder, options: ClfConfig, items: Items, best: Predictions) -> dict[str, Any]:
    """Score each file of weights, at thresholds tuned for it and at 0.5; `best` are the predictions of the best one."""
    splits = [s for s in items if s != "train"]
    scores: dict[str, dict[str, Any]] = {}
    for which in WEIGHT_FILES:
        if not (run.path / f"{which}.safetensors").is_file():
            continue
        classifier = load_classifier(run.path, which, options.device)
        p = best if which == "best" else {s: classifier.probabilities(items[s]) for s in splits}
        if not all(np.isfinite(p[s]).all() for s in splits):
            log.warning("the %s weights give probabilities that are not finite: they are not scored", which)
            continue
        thresholds = tuned_thresholds(p["valid"], items["valid"])
        vocab = classifier.classes
        scores[which] = {
            "thresholds": thresholds,
            **{
                s: {**_headlines(items[s], p[s], thresholds, vocab), "at_0.5": _headlines(items[s], p[s], 0.5, vocab)}
                for s in splits
            },
        }
    return scores


def _headlines(items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]) -> dict[str, float]:
    scores = clf_scores(p, truth_of(items), thresholds, vocab)
    return {k: scores[k] for k in _HEADLINES}


class _Pictures:
    """The items' pictures, which are read on access."""

    def __init__(self, items: list[ClfItem]):
        self.items = items

    def __getitem__(self, index: int) -> np.ndarray:
        return self.items[index].pixels()


def _draw(run: RunFolder, classifier: Classifier, items: Items, predictions: Predictions) -> None:
    split = "test" if "test" in predictions else "valid"
    save_figure(curves_figure(run.history(), ("f1_macro", "f1_micro", "map")), run.figure("curves"))
    draw_clf_figures(
        predictions[split],
        truth_of(items[split]),
        thresholds=classifier.thresholds,
        vocab=classifier.classes,
        pictures=_Pictures(items[split]),
        names=[i.field for i in items[split]],
        path_of=run.figure,
    )
