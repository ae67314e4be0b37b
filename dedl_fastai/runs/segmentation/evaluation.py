"""Metrics of segmentation runs, from their saved weights, over whole fields: splits, patients, nuclei, baselines."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...cells.none_found import warn_if_all_empty, warn_of_empty_field
from ...cells.options import NucleiOptions
from ...data.cache import CachedField, cache_cohort
from ...data.cohort import Cohort
from ...data.pixels import pixel_sizes
from ...errors import UserError
from ...inference.ensemble import Ensemble
from ...inference.options import SCALE
from ...inference.scale import Scale, choose_scale, sample_of
from ...inference.segmenter import Segmenter
from ...io.files import written_whole
from ...scores.annotators.against import score_against
from ...scores.nuclei_tuning import tune_nuclei
from ...scores.objects import score_objects
from ...scores.whole_fields import (
    STEPS,
    FieldPrediction,
    predict_fields,
    score,
    score_background,
    score_otsu,
    temporary_maps,
    tune_threshold,
)

log = logging.getLogger(__name__)

_DETAILS = ("per_patient", "fields")
Predictions = dict[str, list[FieldPrediction]]


def predict_splits(
    model: Segmenter | Ensemble,
    cohort: Cohort,
    splits: list[str],
    folder: str,
    channels: Sequence[str] = (),  # names of the model's channels in these files; default: as in training
    scales: Mapping[str, Scale] | None = None,  # of each split; default: none
) -> Predictions:
    """Predict the fields of each split into probability maps in `folder`; splits without fields are left out."""
    predictions = {}
    for split in splits:
        part = _with_masks(cohort, split)
        if not len(part):
            continue
        fields, channels = _pixels_of(model, part, channels)
        log.info("predicting %d fields of %s", len(fields), split)
        predict = partial(model.planes, scale=scales[split].factor if scales else 1.0)
        predictions[split] = predict_fields(
            fields, part.table, channels, predict=predict, folder=f"{folder}/{split}", own=model.separation
        )
    return predictions


def scales_of_splits(
    model: Segmenter | Ensemble, cohort: Cohort, splits: list[str], channels: Sequence[str], scale: str | float
) -> dict[str, Scale]:
    """The scale of the fields of each split, which are predicted at the same one; see `choose_scale`."""
    scales = {}
    for split in [s for s in splits if len(_with_masks(cohort, s))]:
        part = _with_masks(cohort, split)
        part = part.where(np.isin(np.arange(len(part)), sample_of(len(part))))
        fields, _ = _pixels_of(model, part, channels)
        scales[split] = choose_scale(model, [f.open_pixels() for f in fields], pixel_sizes(part.table.image), scale)
    return scales


def _with_masks(cohort: Cohort, split: str) -> Cohort:
    part = cohort.part(split)
    return part.where(part.table["mask"] != "")


def _pixels_of(
    model: Segmenter | Ensemble, cohort: Cohort, channels: Sequence[str]
) -> tuple[list[CachedField], Sequence[str]]:
    """The decoded fields, and the names of the model's channels in these files."""
    facts = model.facts
    if channels and len(channels) != len(facts.channels):
        raise UserError(f"the model sees {len(facts.channels)} channels, not {len(channels)}: check `channel`.")
    channels = channels or facts.channels
    return cache_cohort(cohort, channels, facts.scaling), channels


def seg_metrics(
    predictions: Predictions,
    threshold: float | Sequence[float],  # one for all fields, or one for each field of the only split
    tuning: dict[str, Any] | None = None,
    nuclei: NucleiOptions | None = None,
) -> dict[str, Any]:
    """Return the contents of metrics.json: splits at the threshold and at 0.5, patients, fields, baselines, nuclei."""
    scores = {s: score(p, threshold) for s, p in predictions.items()}
    return {
        "task": "segmentation",
        "threshold": threshold,
        **{
            s: {
                **_flat(v),
                "at_0.5": _flat(score(predictions[s], 0.5)),
                **({"tuned_here": True} if tuning and s == "valid" else {}),
            }
            for s, v in scores.items()
        },
        "per_patient": {p: {"split": s, **v} for s, x in scores.items() for p, v in x["per_patient"].items()},
        "baselines": {
            "background": _baseline(predictions, score_background),
            "otsu": _baseline(predictions, score_otsu),
        },
        **({"threshold_tuning": tuning} if tuning else {}),
        "fields": [{"split": s, **row} for s, x in scores.items() for row in x["fields"]],
        "objects": {s: score_objects(p, threshold, nuclei) for s, p in predictions.items()},
    }


def write_objects(path: str | Path, metrics: dict[str, Any]) -> None:
    """Write the matching of nuclei as CSV, if there is any: one row per split, patient or field and IoU threshold."""
    rows = _object_rows(metrics.get("objects", {}))
    if rows:
        with written_whole(path) as tmp:
            pd.DataFrame(rows).to_csv(tmp, index=False)


def _object_rows(objects: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for split, pooled in objects.items():
        levels = [("all", "", "", pooled), ("all, otsu", "", "", pooled.get("baselines", {}).get("otsu", {}))]
        levels += [("patient", p, "", scores) for p, scores in pooled.get("per_patient", {}).items()]
        levels += [("field", f["patient"], f["field"], f) for f in pooled.get("fields", [])]
        for level, patient, field, scores in levels:
            names = {"split": split, "level": level, "patient": patient, "field": field}
            rows += [{**names, **row} for row in scores.get("matching", [])]
    return rows


def _flat(scored: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in scored.items() if k not in _DETAILS}


def _baseline(predictions: Predictions, scorer: Callable[[list[FieldPrediction]], dict[str, Any]]) -> dict[str, Any]:
    """Return the scores of a trivial predictor: those of the last split (test, if present) on top, then each split."""
    by_split = {s: _flat(scorer(p)) for s, p in predictions.items()}
    last = list(by_split)[-1]
    return {**by_split[last], "split": last, **by_split}


def tune_and_evaluate(segmenter: Segmenter, cohort: Cohort, channels: Sequence[str] = ()) -> dict[str, Any]:
    """Tune the threshold on the validation fields, then score the validation and test fields with it."""
    with temporary_maps() as folder:
        predictions = predict_splits(segmenter, cohort, ["valid", "test"], folder, channels=channels)
        tuning = tune_threshold(predictions["valid"])
        if segmenter.head == "mask":
            return seg_metrics(predictions, tuning["value"], tuning)
        found = tune_nuclei(predictions["valid"])
        nuclei = NucleiOptions(**found["value"])
        return {**seg_metrics(predictions, tuning["value"], tuning, nuclei=nuclei), "nuclei_tuning": found}


def evaluate_seg_again(
    model: Segmenter | Ensemble,
    cohort: Cohort,
    splits: list[str],
    channels: Sequence[str] = (),
    nuclei: NucleiOptions | None = None,
    scale: str | float = SCALE,  # at which the fields are predicted, see `choose_scale`
) -> dict[str, Any]:
    """Score the fields of these splits with the threshold stored in the model (in an ensemble: the mean threshold).

    Where fields have masks of several annotators, "annotators" has the scores against each of them.
    """
    threshold = round(model.threshold * STEPS) / STEPS  # a mean threshold can be between two steps of the maps
    scales = scales_of_splits(model, cohort, splits, channels=channels, scale=scale)
    with temporary_maps() as folder:
        predictions = predict_splits(model, cohort, splits, folder=folder, channels=channels, scales=scales)
        if not predictions:
            return {}
        _warn_of_empty(predictions, threshold)
        found = {split: asdict(scales[split]) for split in predictions}
        metrics = {**seg_metrics(predictions, threshold, nuclei=nuclei), "scale": found}
        against = {s: score_against(p, cohort.table, threshold, nuclei) for s, p in predictions.items()}
        return {**metrics, "annotators": against} if any(against.values()) else metrics


def _warn_of_empty(predictions: Predictions, threshold: float) -> None:
    counts = {f.image: int(f.mask(threshold).sum()) for fields in predictions.values() for f in fields}
    for image, n in counts.items():
        if n == 0:
            warn_of_empty_field(image)
    warn_if_all_empty(counts.values())
