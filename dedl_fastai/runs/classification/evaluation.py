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
from ...training.model_card import WEIGHT_FILES
from ...training.run_folder import RunFolder
from ..figures import curves_figure, save_figure
from ..options.clf import ClfConfig
from .baselines import baselines
from .figures import draw_clf_figures
from .item_scores import (
    Items,
    Predictions,
    headlines,
    patient_scores,
    split_scores,
    truth_of,
    tuned_thresholds,
)

log = logging.getLogger(__name__)


def items_by_split(classifier: Classifier, cohort: Cohort, labels: Labels | None = None) -> Items:
    """Return the labelled items of train, valid and test; splits without items are left out."""
    labels = labels or labels_for(cohort, classifier.facts)
    present = set(labels.cohort.table.split)
    splits = [s for s in ("train", "valid", "test") if s in present]
    return {s: clf_items(cohort, classifier.facts, s, labels=labels) for s in splits}


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
            for patient, scores in patient_scores(items[s], predictions[s], thresholds, vocab).items()
        },
        "baselines": baselines(items, vocab, splits),
    }


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
                s: {**headlines(items[s], p[s], thresholds, vocab), "at_0.5": headlines(items[s], p[s], 0.5, vocab)}
                for s in splits
            },
        }
    return scores


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
