"""Out-of-fold scores of segmentation: each field is predicted by the run of the fold that tests its patient."""

from collections.abc import Sequence
from typing import Any

from ...cells.options import NucleiOptions
from ...inference.load import load_segmenter
from ...scores.whole_fields import STEPS, FieldPrediction, score, temporary_maps
from ..outer_fold import OuterFold
from .evaluation import predict_splits, seg_metrics


def score_seg_folds(
    folds: Sequence[OuterFold], which: str = "best", device: str = "auto", nuclei: NucleiOptions | None = None
) -> dict[str, Any]:
    """Return pooled metrics over the test fields of all folds, each field at the threshold tuned in its fold.

    Counts of pixels and nuclei are added up before scores are computed. "folds" has the scores of each fold.
    """
    predictions: list[FieldPrediction] = []
    thresholds: list[float] = []
    rows: dict[str, Any] = {}
    with temporary_maps() as folder:
        for fold in folds:
            segmenter = load_segmenter(fold.runs[0].path, which, device)
            threshold = round(segmenter.threshold * STEPS) / STEPS
            own = predict_splits(segmenter, fold.cohort, ["test"], f"{folder}/{fold.name}")["test"]
            scores = {k: v for k, v in score(own, threshold).items() if isinstance(v, float)}
            rows[fold.name] = {**fold.facts(), "threshold": threshold, **scores}
            predictions += own
            thresholds += [threshold] * len(own)
        metrics = seg_metrics({"test": predictions}, thresholds, nuclei=nuclei)
    del metrics["threshold"]  # each fold has its own
    fold_of = {patient: name for name, row in rows.items() for patient in row["patients"]}
    metrics["per_patient"] = {p: {"fold": fold_of[p], **row} for p, row in metrics["per_patient"].items()}
    return {**metrics, "members": [m for row in rows.values() for m in row["members"]], "folds": rows}
