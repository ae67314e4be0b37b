"""Metrics of a segmentation model over whole fields, at 0.5 and at the tuned threshold, beside trivial baselines."""

import logging
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.filters import threshold_otsu

from ..data.cache import CachedField
from ..io.files import written_whole
from ..training.metrics import BoundaryCounts, Counts

log = logging.getLogger(__name__)

STEPS = 200  # probabilities are kept in steps of 1/200, and so are thresholds


@dataclass(frozen=True)
class FieldPrediction:
    """A field with its quantised probability map on disk: a pixel is foreground at threshold k/200 if it holds >= k."""

    source: CachedField
    patient: str
    file: Path

    def steps(self) -> np.ndarray:
        """The map, uint8 (H, W) of 0..200."""
        return np.load(self.file, mmap_mode="r")

    def mask(self, threshold: float) -> np.ndarray:
        """The predicted mask at a threshold that is a multiple of 1/200."""
        return self.steps() >= round(threshold * STEPS)

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
    patients: Iterable[str],
    predict: Callable[[np.ndarray], np.ndarray],  # (C, H, W) in [0, 1] -> probability (H, W)
    folder: str | Path,
) -> list[FieldPrediction]:
    """Predict every field once and keep the maps in `folder`: one field in memory at a time."""
    done = []
    for i, (field, patient) in enumerate(zip(fields, patients, strict=True)):
        file = Path(folder) / f"{i}.npy"
        with written_whole(file) as tmp, tmp.open("wb") as f:
            np.save(f, quantise(predict(field.open_pixels())))
        done.append(FieldPrediction(field, patient, file))
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


def temporary_maps() -> tempfile.TemporaryDirectory:
    """A folder for probability maps that goes away with the evaluation."""
    return tempfile.TemporaryDirectory(prefix="dedl-maps-")
