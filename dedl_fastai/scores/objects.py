"""How many nuclei are found, invented and missed in whole fields, by a model and by Otsu's threshold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..cells.options import NucleiOptions
from ..io.masks import holds_ids, read_labels
from .object_matches import Matches, count_matches, pool_matches
from .whole_fields import FieldPrediction, otsu_mask, with_thresholds


@dataclass(frozen=True)
class FieldMatches:
    """Predicted nuclei of a field matched with the true ones at each IoU, for the model and for Otsu's threshold."""

    prediction: FieldPrediction
    has_ids: bool | None  # None: the mask has at most one nucleus, so it may also be a binary mask
    model: dict[float, Matches]
    otsu: dict[float, Matches]


def score_objects(
    predictions: list[FieldPrediction],
    threshold: float | Sequence[float],  # one for all fields, or one for each
    options: NucleiOptions | None = None,
) -> dict[str, Any]:
    """Nuclei found, invented and missed at IoU 0.5 to 0.9, in the fields whose masks hold ids of nuclei.

    The components of a binary mask are not nuclei: fields with such masks are left out and counted in "n_without_ids".
    Counts of fields and patients are pooled before ratios are computed. The labels of one field are in memory at a
    time.
    """
    options = options or NucleiOptions()
    fields = [_match_field(p, t, options) for p, t in with_thresholds(predictions, threshold)]
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
    """Numbers of true and predicted nuclei, and one row of scores per IoU, with the fields pooled."""
    pooled = pool_matches(fields)
    any_iou = next(iter(pooled.values()))
    return {
        "n_true": any_iou.tp + any_iou.fn,
        "n_predicted": any_iou.tp + any_iou.fp,
        "matching": [{"iou": i, **{k: round(v, 6) for k, v in m.scores().items()}} for i, m in pooled.items()],
    }
