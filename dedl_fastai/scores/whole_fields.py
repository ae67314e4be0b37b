"""Metrics of a segmentation model over whole fields, of pixels and of nuclei, beside trivial baselines."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from ..cells.options import NucleiOptions
from ..cells.watershed import find_nuclei
from ..data.cache import CachedField
from ..data.pixels import pick_channels
from ..io.fields.readers import open_field
from ..io.files import written_whole
from ..io.masks import holds_ids, read_labels
from .object_matches import Matches, count_matches, pool_matches
from .pixel_counts import BoundaryCounts, Counts

log = logging.getLogger(__name__)

STEPS = 200  # probabilities are kept in steps of 1/200, and so are thresholds


@dataclass(frozen=True)
class FieldPrediction:
    """A field with its quantised probability map on disk: a pixel is foreground at threshold k/200 if it holds >= k."""

    source: CachedField
    patient: str
    image: str  # the cohort's files
    truth: str
    channels: Sequence[str]  # that were predicted from, by their names in this file
    file: Path

    def steps(self) -> np.ndarray:
        """The map, uint8 (H, W) of 0..200."""
        return np.load(self.file, mmap_mode="r")

    def mask(self, threshold: float) -> np.ndarray:
        """The predicted mask at a threshold that is a multiple of 1/200."""
        return self.steps() >= round(threshold * STEPS)

    def nuclei(self, mask: np.ndarray, options: NucleiOptions) -> np.ndarray:
        """Labels of the nuclei in a mask of this field, as `predict_field` finds them."""
        with open_field(self.image) as field:
            return find_nuclei(mask, 0.5, field, pick_channels(field, self.channels)[0], options)

    def histograms(self) -> np.ndarray:
        """(2, 201) pixel counts of each step, for true background and true nuclei."""
        steps, truth = self.steps(), self.source.open_mask()
        both = np.bincount((steps + (STEPS + 1) * truth.astype(np.int64)).ravel(), minlength=2 * (STEPS + 1))
        return both.reshape(2, STEPS + 1)


def quantise(probability: np.ndarray) -> np.ndarray:
    """Probabilities as uint8 steps of 1/200, rounded down: `quantise(p) >= k` is `p >= k/200`."""
    return np.floor(probability.astype(np.float64) * STEPS + 1e-9).astype(np.uint8)


def predict_fields(
    fields: Iterable[CachedField],
    table: pd.DataFrame,  # of the cohort: the same fields
    channels: Sequence[str],  # their names in these files
    predict: Callable[[np.ndarray], np.ndarray],  # (C, H, W) in [0, 1] -> probability (H, W)
    folder: str | Path,
) -> list[FieldPrediction]:
    """Predict every field once and keep the maps in `folder`: one field in memory at a time."""
    done = []
    for i, (field, row) in enumerate(zip(fields, table.itertuples(), strict=True)):
        file = Path(folder) / f"{i}.npy"
        with written_whole(file) as tmp, tmp.open("wb") as f:
            np.save(f, quantise(predict(field.open_pixels())))
        done.append(FieldPrediction(field, row.patient, row.image, row.mask, channels, file))
    return done


def counts_by_step(histograms: np.ndarray) -> list[Counts]:
    """Counts at each threshold k/200, k = 0..200, from (2, 201) histograms."""
    positive = histograms[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels at or above each step
    total = histograms.sum(axis=1)
    return [Counts(int(t), int(f), int(total[1] - t), int(total[0] - f)) for f, t in positive.T]


def tune_threshold(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """The threshold with the best pooled IoU on these fields, and the curve; where several are best, the middle one."""
    counts = counts_by_step(sum(p.histograms() for p in predictions))
    iou = np.array([c.iou for c in counts])
    best = np.flatnonzero(iou[1:] >= iou[1:].max() - 1e-12) + 1  # a threshold of 0 would call everything a nucleus
    k = int(best[len(best) // 2])
    return {
        "value": k / STEPS,
        "metric": "pooled iou",
        "fields": len(predictions),
        "iou": float(iou[k]),
        "iou_at_0.5": float(iou[STEPS // 2]),
        "curve": {
            "threshold": [i / STEPS for i in range(0, STEPS + 1, 4)],
            "iou": [round(float(v), 5) for v in iou[::4]],
        },
    }


def score(predictions: list[FieldPrediction], threshold: float) -> dict[str, Any]:
    """Metrics over these fields at a threshold, pooled; with per-field rows and their mean under "fields"."""
    return _scored([(p, lambda p=p: p.mask(threshold)) for p in predictions])


def score_background(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """The same metrics for a mask that is empty everywhere."""
    return _scored([(p, lambda p=p: np.zeros(p.source.shape, bool)) for p in predictions])


def score_otsu(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """The same metrics for Otsu's threshold on each field's first channel."""
    return _scored([(p, lambda p=p: otsu_mask(p.source)) for p in predictions])


def otsu_mask(field: CachedField) -> np.ndarray:
    """Pixels above Otsu's threshold of the field's first channel; empty for a constant one."""
    plane = np.asarray(field.open_pixels()[0])
    if plane.min() == plane.max():
        return np.zeros(plane.shape, bool)
    return plane > threshold_otsu(plane)


def _scored(masks: list[tuple[FieldPrediction, Callable[[], np.ndarray]]]) -> dict[str, Any]:
    rows, pooled, boundary = [], Counts(), BoundaryCounts()
    patients: dict[str, tuple[Counts, BoundaryCounts]] = {}
    for prediction, make in masks:
        mask, truth = make(), prediction.source.open_mask()
        c, b = Counts.of(mask, truth), BoundaryCounts.of(mask, truth)
        rows.append({"field": prediction.source.field, "patient": prediction.patient, **_rounded(c, b)})
        pooled, boundary = pooled + c, boundary + b
        before = patients.get(prediction.patient, (Counts(), BoundaryCounts()))
        patients[prediction.patient] = (before[0] + c, before[1] + b)
    return {
        **_rounded(pooled, boundary),
        "mean_field_iou": round(float(np.mean([r["iou"] for r in rows])), 6),
        "mean_field_dice": round(float(np.mean([r["dice"] for r in rows])), 6),
        "foreground": round((pooled.tp + pooled.fn) / max(1, pooled.tp + pooled.fp + pooled.fn + pooled.tn), 6),
        "n_fields": len(rows),
        "per_patient": {p: _rounded(*cb) for p, cb in sorted(patients.items())},
        "fields": rows,
    }


def _rounded(counts: Counts, boundary: BoundaryCounts) -> dict[str, float]:
    return {k: round(v, 6) for k, v in {**counts.scores(), "boundary_f1": boundary.f1}.items()}


@dataclass(frozen=True)
class FieldMatches:
    """Nuclei of a field against its true ones, at each IoU: the model's, and those of Otsu's threshold."""

    prediction: FieldPrediction
    has_ids: bool | None  # None: a single nucleus or none, which may be a binary mask as well
    model: dict[float, Matches]
    otsu: dict[float, Matches]


def score_objects(
    predictions: list[FieldPrediction], threshold: float, options: NucleiOptions | None = None
) -> dict[str, Any]:
    """Nuclei found, invented and missed at IoU 0.5 to 0.9, of the fields whose masks hold ids of nuclei.

    Pieces of a binary mask are no nuclei: such fields are left out and counted in "n_without_ids". Counts of fields
    and patients are added before ratios are taken. The labels of one field are in memory at a time.
    """
    options = options or NucleiOptions()
    fields = [_match_field(p, threshold, options) for p in predictions]
    if not any(f.has_ids for f in fields):
        return {"part_by": options.part_by, "n_fields": 0, "n_without_ids": len(fields)}
    kept = [f for f in fields if f.has_ids is not False]
    patients = sorted({f.prediction.patient for f in kept})
    names = [{"field": f.prediction.source.field, "patient": f.prediction.patient} for f in kept]
    return {
        "part_by": options.part_by,
        "n_fields": len(kept),
        "n_without_ids": len(fields) - len(kept),
        **_object_scores(f.model for f in kept),
        "baselines": {"otsu": _object_scores(f.otsu for f in kept)},
        "per_patient": {p: _object_scores(f.model for f in kept if f.prediction.patient == p) for p in patients},
        "fields": [{**n, **_object_scores([f.model])} for n, f in zip(names, kept, strict=True)],
    }


def _match_field(prediction: FieldPrediction, threshold: float, options: NucleiOptions) -> FieldMatches:
    truth = read_labels(prediction.truth)
    has_ids = holds_ids(prediction.truth, truth)
    if has_ids is False:
        return FieldMatches(prediction, False, {}, {})
    masks = (prediction.mask(threshold), otsu_mask(prediction.source))
    model, otsu = (count_matches(prediction.nuclei(m, options), truth) for m in masks)
    return FieldMatches(prediction, has_ids, model, otsu)


def _object_scores(fields: Iterable[dict[float, Matches]]) -> dict[str, Any]:
    """How many nuclei there are and were found, and a row of scores an IoU, fields pooled."""
    pooled = pool_matches(fields)
    any_iou = next(iter(pooled.values()))
    return {
        "n_true": any_iou.tp + any_iou.fn,
        "n_predicted": any_iou.tp + any_iou.fp,
        "matching": [{"iou": i, **{k: round(v, 6) for k, v in m.scores().items()}} for i, m in pooled.items()],
    }


def temporary_maps() -> tempfile.TemporaryDirectory:
    """A folder for probability maps that goes away with the evaluation."""
    return tempfile.TemporaryDirectory(prefix="dedl-maps-")
