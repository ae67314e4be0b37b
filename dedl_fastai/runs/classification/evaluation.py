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
from ...scores.class_labels import bootstrap_intervals, clf_scores, constant_scores, tune_thresholds
from ...scores.forest import forest_probabilities, picture_statistics
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
    scores = _scores_of_weights(run, options, items, p)
    metrics["weights"] = scores
    metrics["labels"] = {"how": labels.how, "warnings": labels.warnings}
    classifier.card["thresholds"] = metrics["thresholds"]
    classifier.card["thresholds_of_weights"] = {which: row["thresholds"] for which, row in scores.items()}
    run.write("model", classifier.card)
    _draw(run, classifier, items, p)
    run.write("metrics", metrics)
    return metrics


def clf_metrics(
    items: Items, p: Probabilities, vocab: Sequence[str], thresholds: Sequence[float] | None = None
) -> dict[str, Any]:
    """What metrics.json holds; thresholds that are not given are tuned on the validation items."""
    is_tuned_here = thresholds is None
    if thresholds is None:
        thresholds = tuned_thresholds(p["valid"], items["valid"])
    scored = [s for s in p if s != "train" or len(p) == 1]
    return {
        "task": "classification",
        "classes": list(vocab),
        "thresholds": list(thresholds),
        "threshold": dict(zip(vocab, thresholds, strict=True)),
        **{
            s: {
                **split_scores(items[s], p[s], thresholds, vocab),
                **({"tuned_here": True} if is_tuned_here and s == "valid" else {}),
            }
            for s in scored
        },
        "per_patient": _per_patient(items, p, thresholds, vocab, scored),
        "baselines": baselines(items, vocab, scored),
    }


def tuned_thresholds(p: np.ndarray, items: Sequence[ClfItem]) -> list[float]:
    """The threshold of each class that is tuned on these items, rounded as it is stored."""
    return [round(float(t), 6) for t in tune_thresholds(p, truth_of(items))]


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
    """The constant predictor and the random forest, both from the training items; the last split's scores on top.

    The forest's thresholds are tuned on the validation items as the model's are, where there are any.
    """
    if "train" not in items or not splits:
        return {}
    train = truth_of(items["train"])
    used = dict.fromkeys(("train", *(s for s in ("valid",) if s in items), *splits))
    features = {s: np.array([picture_statistics(i.pixels()) for i in items[s]]) for s in used}
    forest = {
        s: forest_probabilities(features["train"], train, features[s]) for s in used if s != "train" or s in splits
    }
    thresholds = tuned_thresholds(forest["valid"], items["valid"]) if "valid" in forest else [0.5] * len(vocab)
    rows = {
        "constant": {s: constant_scores(train, truth_of(items[s]), vocab) for s in splits},
        "forest": {s: _forest_scores(forest[s], items[s], thresholds, vocab) for s in splits},
    }
    return {name: {**row[splits[-1]], "split": splits[-1], **row} for name, row in rows.items()}


def _forest_scores(
    p: np.ndarray, items: list[ClfItem], thresholds: list[float], vocab: Sequence[str]
) -> dict[str, Any]:
    at_half = _headlines(p, items, 0.5, vocab)
    return {**clf_scores(p, truth_of(items), thresholds, vocab), "at_0.5": at_half}


def evaluate_clf_again(classifier: Classifier, cohort: Cohort, split: str) -> dict[str, Any]:
    """Score the items of one split (or of all) with the thresholds stored in the model; baselines where it can."""
    labels = labels_for(cohort, classifier.facts)
    there = set(labels.cohort.table.split)
    behind = [s for s in ("train", "valid") if s in there and s != split]  # what the baselines are made of
    items = {s: clf_items(cohort, classifier.facts, s, labels=labels) for s in (*behind, split)}
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
        if not all(np.isfinite(p[s]).all() for s in scored):
            log.warning("the %s weights give probabilities that are not finite: they are not scored", which)
            continue
        thresholds = tuned_thresholds(p["valid"], items["valid"])
        vocab = classifier.classes
        found[which] = {
            "thresholds": thresholds,
            **{
                s: {**_headlines(p[s], items[s], thresholds, vocab), "at_0.5": _headlines(p[s], items[s], 0.5, vocab)}
                for s in scored
            },
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
