"""Metrics of classification runs, from their saved weights: thresholds, splits, intervals, baselines, figures."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.classification.items import ClfItem, clf_items, labels_for
from ...data.classification.labels import Labels
from ...data.cohort import Cohort
from ...inference.classifier import Classifier
from ...inference.load import load_run
from ...scores.class_labels import clf_scores, constant_scores
from ...scores.forest import forest_probabilities, picture_statistics
from ...scores.intervals import bootstrap_intervals
from ...scores.thresholds import tune_thresholds
from ...training.model_card import WEIGHT_FILES
from ...training.run_folder import RunFolder
from ..figures import curves_figure, save_figure
from ..options.clf import ClfConfig
from .figures import draw_clf_figures

log = logging.getLogger(__name__)

_HEADLINES = ("f1_macro", "f1_micro", "recall_macro", "map", "auroc", "brier", "ece")
Items = dict[str, list[ClfItem]]
Probabilities = dict[str, np.ndarray]


def items_by_split(classifier: Classifier, cohort: Cohort, labels: Labels | None = None) -> Items:
    """The labelled items of train, valid and test; a split without any is left out."""
    labels = labels or labels_for(cohort, classifier.facts)
    there = set(labels.cohort.table.split)
    splits = [s for s in ("train", "valid", "test") if s in there]
    return {s: clf_items(cohort, classifier.facts, s, labels=labels) for s in splits}


def truth_of(items: Sequence[ClfItem]) -> np.ndarray:
    """(N, K) bool."""
    return np.array([i.target for i in items], dtype=bool)


def evaluate_clf_run(run: RunFolder, options: ClfConfig, cohort: Cohort, labels: Labels) -> dict[str, Any]:
    """Tune thresholds on the validation items, score best, last and averaged weights, write metrics and figures."""
    classifier = load_run(run.path, "best", options.device)
    items = items_by_split(classifier, cohort, labels)
    p = {s: classifier.probabilities(items[s]) for s in items}
    metrics = clf_metrics(items, p, classifier.classes)
    metrics["weights"] = _scores_of_weights(run, options, items, p)
    metrics["labels"] = {"how": labels.how, "warnings": labels.warnings}
    classifier.card["thresholds"] = metrics["thresholds"]
    run.write("model", classifier.card)
    _draw(run, classifier, items, p)
    run.write("metrics", metrics)
    return metrics


def clf_metrics(
    items: Items, p: Probabilities, vocab: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """What metrics.json holds; thresholds that are not given are tuned on the validation items."""
    if thresholds is None:
        tuned = tune_thresholds(p["valid"], truth_of(items["valid"]))
        thresholds = [round(float(t), 6) for t in tuned]
    scored = [s for s in p if s != "train" or len(p) == 1]
    return {
        "task": "classification",
        "classes": list(vocab),
        "thresholds": list(thresholds),
        "threshold": dict(zip(vocab, thresholds, strict=True)),
        **{s: split_scores(items[s], p[s], thresholds, vocab) for s in scored},
        "per_patient": _per_patient(items, p, thresholds, vocab, scored),
        "baselines": baselines(items, vocab, scored),
    }


def split_scores(items: list[ClfItem], p: np.ndarray, thresholds, vocab: Sequence[str]) -> dict[str, Any]:
    """Scores at the tuned thresholds with intervals over patients, and the headline numbers at 0.5."""
    truth = truth_of(items)
    at_half = clf_scores(p, truth, 0.5, vocab)
    return {
        **clf_scores(p, truth, thresholds, vocab),
        "intervals": bootstrap_intervals(p, truth, [i.patient for i in items], thresholds),
        "at_0.5": {k: v for k, v in at_half.items() if isinstance(v, float)},
    }


def _per_patient(items: Items, p: Probabilities, thresholds, vocab: Sequence[str], splits: list[str]) -> dict[str, Any]:
    found = {}
    for split in splits:
        patients = np.array([i.patient for i in items[split]])
        for patient in sorted(set(patients)):
            own = patients == patient
            scores = clf_scores(p[split][own], truth_of(items[split])[own], thresholds, vocab)
            found[str(patient)] = {"split": split, **{k: scores[k] for k in ("n", "f1_micro", "f1_macro")}}
    return found


def baselines(items: Items, vocab: Sequence[str], splits: list[str]) -> dict[str, Any]:
    """The constant predictor and the random forest, both made of the training items; the last split on top."""
    if "train" not in items or not splits:
        return {}
    train = truth_of(items["train"])
    features = {s: np.array([picture_statistics(i.pixels()) for i in items[s]]) for s in ("train", *splits)}
    forest = {s: forest_probabilities(features["train"], train, features[s]) for s in splits}
    rows = {
        "constant": {s: constant_scores(train, truth_of(items[s]), vocab) for s in splits},
        "forest": {s: clf_scores(forest[s], truth_of(items[s]), 0.5, vocab) for s in splits},
    }
    return {name: {**row[splits[-1]], "split": splits[-1], **row} for name, row in rows.items()}


def evaluate_clf_again(classifier: Classifier, cohort: Cohort, split: str) -> dict[str, Any]:
    """Score the items of one split (or of all) with the thresholds stored in the model; baselines where it can."""
    labels = labels_for(cohort, classifier.facts)
    items = {split: clf_items(cohort, classifier.facts, split, labels=labels)}
    if split != "train" and (labels.cohort.table.split == "train").any():
        items = {"train": clf_items(cohort, classifier.facts, "train", labels=labels), **items}
    p = {split: classifier.probabilities(items[split])}
    return clf_metrics(items, p, classifier.classes, classifier.thresholds.tolist())


def _scores_of_weights(run: RunFolder, options: ClfConfig, items: Items, best: Probabilities) -> dict[str, Any]:
    """Headline numbers of every set of weights there is, with thresholds tuned for it and at 0.5.

    `best` is predicted already.
    """
    found = {}
    for which in WEIGHT_FILES:
        if not (run.path / f"{which}.safetensors").is_file():
            continue
        classifier = load_run(run.path, which, options.device)
        scored = [s for s in items if s != "train"]
        p = best if which == "best" else {s: classifier.probabilities(items[s]) for s in scored}
        thresholds = tune_thresholds(p["valid"], truth_of(items["valid"]))
        vocab = classifier.classes
        found[which] = {
            s: {**_headlines(p[s], items[s], thresholds, vocab), "at_0.5": _headlines(p[s], items[s], 0.5, vocab)}
            for s in scored
        }
    return found


def _headlines(p: np.ndarray, items: list[ClfItem], thresholds, vocab: Sequence[str]) -> dict[str, float]:
    scores = clf_scores(p, truth_of(items), thresholds, vocab)
    return {k: scores[k] for k in _HEADLINES}


class _Pictures:
    """The items' pictures, read when they are asked for."""

    def __init__(self, items: list[ClfItem]):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.items[index].pixels()


def _draw(run: RunFolder, classifier: Classifier, items: Items, p: Probabilities) -> None:
    split = "test" if "test" in p else "valid"
    save_figure(curves_figure(run.history(), ("f1_macro", "f1_micro", "map")), run.figure("curves"))
    draw_clf_figures(
        p[split],
        truth_of(items[split]),
        classifier.thresholds,
        classifier.classes,
        _Pictures(items[split]),
        [i.field for i in items[split]],
        run.figure,
    )
