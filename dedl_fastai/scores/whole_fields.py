"""Segmentation models over whole fields: probability maps, tuned threshold, pixel metrics and trivial baselines."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from ..cells.options import NucleiOptions
from ..cells.watershed import find_nuclei
from ..data.cache import CachedField
from ..data.pixels import channels_of_row, pick_channels
from ..io.fields.readers import open_field
from ..io.files import written_whole
from .intervals import pixel_intervals
from .pixel_counts import BoundaryCounts, Counts, pixel_scores

STEPS = 200  # probabilities are stored in steps of 1/200, and thresholds are multiples of 1/200


@dataclass(frozen=True)
class FieldPrediction:
    """A field with its quantised planes on disk: pixels >= k are foreground at threshold k/200."""

    source: CachedField
    patient: str
    image: str  # image file of the cohort
    truth: str  # mask file of the cohort
    channels: Sequence[str]  # channels that the model was given, by their names in the image file
    file: Path
    own: NucleiOptions = field(default_factory=NucleiOptions)  # how the model itself separates nuclei

    def steps(self) -> np.ndarray:
        """The probability, uint8 (H, W) with values 0..200."""
        return np.load(self.file, mmap_mode="r")[0]

    def maps(self) -> np.ndarray:
        """The maps of the model's head, float32 (maps, H, W) in 0..1; no maps without a head."""
        return np.load(self.file, mmap_mode="r")[1:] / np.float32(STEPS)

    def mask(self, threshold: float) -> np.ndarray:
        """The predicted mask at a threshold that is a multiple of 1/200."""
        return self.steps() >= round(threshold * STEPS)

    def nuclei(self, mask: np.ndarray, options: NucleiOptions, maps: np.ndarray | None = None) -> np.ndarray:
        """Labels of the nuclei in a mask of this field, found as in `predict_field`; `maps` are those of a head."""
        with open_field(self.image) as field:
            channel = pick_channels(field, self.channels)[0]
            options = replace(options, threshold=0.5)  # of a mask
            return find_nuclei(mask, threshold=0.5, field=field, channel=channel, options=options, maps=maps)

    def histograms(self) -> np.ndarray:
        """(2, 201) pixel counts of each step, for true background and for true nuclei; unknown pixels are left out."""
        steps, truth = self.steps(), self.source.open_mask()
        both = (steps + (STEPS + 1) * (truth > 0).astype(np.int64))[truth >= 0]
        both = np.bincount(both, minlength=2 * (STEPS + 1))
        return both.reshape(2, STEPS + 1)


def quantise(probability: np.ndarray) -> np.ndarray:
    """Probabilities as uint8 steps of 1/200, rounded down: `quantise(p) >= k` is equivalent to `p >= k/200`."""
    return np.floor(probability.astype(np.float64) * STEPS + 1e-9).astype(np.uint8)


def predict_fields(
    fields: Iterable[CachedField],
    table: pd.DataFrame,  # cohort table of the same fields
    channels: Sequence[str],  # their names in these files; the table may have others (`channels_of_row`)
    predict: Callable[[np.ndarray], np.ndarray],  # (C, H, W) in [0, 1] -> probability and maps (1 + maps, H, W)
    folder: str | Path,
    own: NucleiOptions | None = None,  # how the model itself separates nuclei
) -> list[FieldPrediction]:
    """Predict every field once and store the planes in `folder`, with one field in memory at a time."""
    predictions = []
    rows: list[Any] = list(table.itertuples())
    for i, (source, row) in enumerate(zip(fields, rows, strict=True)):
        file = Path(folder) / f"{i}.npy"
        with written_whole(file) as tmp, tmp.open("wb") as f:
            np.save(f, quantise(predict(source.open_pixels())))
        predictions.append(
            FieldPrediction(
                source,
                patient=row.patient,
                image=row.image,
                truth=row.mask,
                channels=channels_of_row(row, channels),
                file=file,
                own=own or NucleiOptions(),
            )
        )
    return predictions


def counts_by_step(histograms: np.ndarray) -> list[Counts]:
    """Counts at each threshold k/200, k = 0..200, from histograms (2, 201)."""
    positive = histograms[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels at or above each step
    total = histograms.sum(axis=1)
    return [Counts(int(t), int(f), int(total[1] - t), int(total[0] - f)) for f, t in positive.T]


def tune_threshold(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """The threshold with the best pooled IoU on these fields, and the curve; the middle one of several best ones."""
    counts = counts_by_step(np.sum([p.histograms() for p in predictions], axis=0))
    iou = np.array([c.iou for c in counts])
    best = np.flatnonzero(iou[1:] >= iou[1:].max() - 1e-12) + 1  # at a threshold of 0 everything would be a nucleus
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


def score(predictions: list[FieldPrediction], threshold: float | Sequence[float]) -> dict[str, Any]:
    """Pooled metrics of these fields at a threshold (one for all, or one for each field).

    Intervals are by bootstrap over patients. There is one row per field under "fields", and the mean of the rows.
    """
    return _pixel_scores(predictions, (p.mask(t) for p, t in with_thresholds(predictions, threshold)))


def with_thresholds(
    predictions: list[FieldPrediction], threshold: float | Sequence[float]
) -> Iterator[tuple[FieldPrediction, float]]:
    """Yield each field with its threshold, from one for all or one for each."""
    yield from zip(predictions, np.broadcast_to(threshold, len(predictions)).tolist(), strict=True)


def score_background(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """The same metrics for masks without any nucleus."""
    return _pixel_scores(predictions, (np.zeros(p.source.shape, bool) for p in predictions))


def score_otsu(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """The same metrics for Otsu's threshold on the first channel of each field."""
    return _pixel_scores(predictions, (otsu_mask(p.source) for p in predictions))


def otsu_mask(field: CachedField) -> np.ndarray:
    """Pixels above Otsu's threshold of the field's first channel; none if the channel is constant."""
    plane = np.asarray(field.open_pixels()[0])
    if plane.min() == plane.max():
        return np.zeros(plane.shape, bool)
    return plane > threshold_otsu(plane)


def _pixel_scores(predictions: list[FieldPrediction], masks: Iterable[np.ndarray]) -> dict[str, Any]:
    rows, pooled, boundary = [], Counts(), BoundaryCounts()
    patients: dict[str, tuple[Counts, BoundaryCounts]] = {}
    for prediction, mask in zip(predictions, masks, strict=True):
        truth = prediction.source.open_mask()
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
        "intervals": pixel_intervals(patients),
        "per_patient": {p: _rounded(*cb) for p, cb in sorted(patients.items())},
        "fields": rows,
    }


def _rounded(counts: Counts, boundary: BoundaryCounts) -> dict[str, float]:
    return {k: round(v, 6) for k, v in pixel_scores(counts, boundary).items()}


def temporary_maps() -> tempfile.TemporaryDirectory:
    """A temporary folder for probability maps, removed at the end of the context."""
    return tempfile.TemporaryDirectory(prefix="dedl-maps-")
