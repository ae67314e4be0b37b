"""Metrics of a segmentation run, from its saved weights, over whole fields: valid, test, per patient, baselines."""

import logging
from typing import Any

from ..data.cache import cache_cohort
from ..data.cohort import Cohort
from ..inference.evaluate import (
    FieldPrediction,
    predict_fields,
    score,
    score_background,
    score_otsu,
    temporary_maps,
    tune_threshold,
)
from ..inference.segmenter import Segmenter

log = logging.getLogger(__name__)

_DETAILS = ("per_patient", "fields")
Predictions = dict[str, list[FieldPrediction]]


def predict_splits(segmenter: Segmenter, cohort: Cohort, splits: list[str], folder: str) -> Predictions:
    """Probability maps of the fields of each split that has any, in `folder`."""
    predictions = {}
    for split in splits:
        part = cohort.part(split)
        part = part.where(part.table["mask"] != "")
        if not len(part):
            continue
        fields = cache_cohort(part, segmenter.facts.channels, segmenter.facts.scaling)
        log.info("predicting %d fields of %s", len(fields), split)
        maps = f"{folder}/{split}"
        predictions[split] = predict_fields(fields, part.table.patient, segmenter.probability, maps)
    return predictions


def evaluate_splits(predictions: Predictions, threshold: float, tuning: dict[str, Any] | None = None) -> dict[str, Any]:
    """What metrics.json holds: every split at the tuned threshold and at 0.5, patients, fields, baselines."""
    scores = {s: score(p, threshold) for s, p in predictions.items()}
    return {
        "task": "segmentation",
        "threshold": threshold,
        **{s: {**_flat(v), "at_0.5": _flat(score(predictions[s], 0.5))} for s, v in scores.items()},
        "per_patient": {p: {"split": s, **v} for s, x in scores.items() for p, v in x["per_patient"].items()},
        "baselines": {
            "background": _baseline(predictions, score_background),
            "otsu": _baseline(predictions, score_otsu),
        },
        **({"threshold_tuning": tuning} if tuning else {}),
        "fields": [{"split": s, **row} for s, x in scores.items() for row in x["fields"]],
    }


def _flat(scored: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in scored.items() if k not in _DETAILS}


def _baseline(predictions: Predictions, scorer) -> dict[str, Any]:
    """The trivial predictor's scores: those of the last split (test, where there is one) on top, every split below."""
    by_split = {s: _flat(scorer(p)) for s, p in predictions.items()}
    last = list(by_split)[-1]
    return {**by_split[last], "split": last, **by_split}


def tune_and_evaluate(segmenter: Segmenter, cohort: Cohort) -> dict[str, Any]:
    """Tune the threshold on the validation fields, then score validation and test fields with it."""
    with temporary_maps() as folder:
        predictions = predict_splits(segmenter, cohort, ["valid", "test"], folder)
        tuning = tune_threshold(predictions["valid"])
        return evaluate_splits(predictions, tuning["value"], tuning)


def evaluate_again(segmenter: Segmenter, cohort: Cohort, splits: list[str]) -> dict[str, Any]:
    """Score the fields of these splits with the threshold stored in the model."""
    with temporary_maps() as folder:
        predictions = predict_splits(segmenter, cohort, splits, folder)
        return evaluate_splits(predictions, segmenter.threshold) if predictions else {}
