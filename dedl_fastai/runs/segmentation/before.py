"""`scores_before`: how good the run was from which a training continued, on the fields that both do not train on."""

import logging
from typing import Any

from ...data.cohort import Cohort
from ...data.pixels import parse_channels
from ...inference.load import load_segmenter
from ...training.run_folder import RunFolder
from ..options.seg import SegConfig
from .evaluation import tune_and_evaluate

log = logging.getLogger(__name__)


def scores_before(options: SegConfig, cohort: Cohort) -> dict[str, Any]:
    """Return the threshold and the scores of the run that `weights` names on the same validation and test fields.

    It is tuned on the validation fields as the new run is. "seen" counts the held-out fields that it was trained on.
    """
    segmenter = load_segmenter(options.weights, "best", options.device, options.overlap)
    metrics = tune_and_evaluate(segmenter, cohort, parse_channels(options.channel))
    seen = _seen(RunFolder.existing(options.weights), cohort)
    if seen:
        log.warning("%s was trained on %d of the held-out fields: its scores are too good", options.weights, seen)
    return {"weights": options.weights, "seen": seen, **headlines(metrics), "objects": object_headlines(metrics)}


def warn_if_worse(metrics: dict[str, Any], before: dict[str, Any]) -> None:
    """Log a warning if the validation fields say that the run before was better: by F1 of nuclei, else by the IoU."""
    old, new = before.get("objects", {}).get("valid"), object_headlines(metrics).get("valid")
    name, was, now = "F1 of nuclei", old and old["f1_50"], new and new["f1_50"]
    if was is None or now is None:
        name, was, now = "IoU of pixels", before["valid"]["iou"], metrics["valid"]["iou"]
    if now < was:
        log.warning(
            "on the validation fields, %s is better than the run that continues it (%s %.3f against %.3f): correct "
            "more or other fields, or add the fields of its training with another `data`",
            *(before["weights"], name, was, now),
        )


def headlines(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the threshold and the pooled scores of each split, from what metrics.json holds."""
    splits = {s: metrics[s] for s in ("valid", "test") if s in metrics}
    return {
        "threshold": metrics["threshold"],
        **{s: {k: v for k, v in row.items() if isinstance(v, float)} for s, row in splits.items()},
    }


def object_headlines(metrics: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return F1 at an IoU of 0.5 and its mean over IoUs, of each split whose masks tell nuclei apart."""
    found = metrics.get("objects", {})
    return {s: {k: row[k] for k in ("f1_50", "f1_mean")} for s, row in found.items() if row["n_fields"]}


def _seen(run: RunFolder, cohort: Cohort) -> int:
    fields = run.read("splits")["fields"] if (run.path / "splits.json").is_file() else {}
    held_out = cohort.table.field[cohort.table.split.isin(["valid", "test"])]
    return sum(fields.get(name, {}).get("split") == "train" for name in held_out)
