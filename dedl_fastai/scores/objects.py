"""How many nuclei are found, invented and missed in whole fields: by a model, by Otsu, and from the true mask."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cells.maps import true_maps
from ..cells.options import NucleiOptions
from ..io.masks import holds_ids, read_labels
from .known_part import known_objects
from .nucleus_errors import nucleus_errors
from .object_matches import Matches, count_matches, mean_f1, pool_matches
from .whole_fields import FieldPrediction, otsu_mask, with_thresholds


@dataclass(frozen=True)
class FieldMatches:
    """Predicted nuclei of a field matched with the true ones at each IoU: the model's, and those of the baselines."""

    prediction: FieldPrediction
    has_ids: bool | None  # None: the mask has at most one nucleus, so it may also be a binary mask
    model: dict[float, Matches]
    otsu: dict[float, Matches]
    errors: dict[str, int]  # of the model: nuclei found, missed, split and merged at IoU 0.5, and false ones
    ceiling: dict[float, Matches]  # found in the true mask (and from the true maps of a head): what separation allows


def score_objects(
    predictions: list[FieldPrediction],
    threshold: float | Sequence[float],  # one for all fields, or one for each
    options: NucleiOptions | None = None,
) -> dict[str, Any]:
    """Nuclei found, invented and missed at IoU 0.5 to 0.9, in the fields whose masks hold ids of nuclei.

    The components of a binary mask are not nuclei: fields with such masks are left out and counted in "n_without_ids".
    Counts of fields and patients are pooled before ratios are computed. Parts where the truth is unknown do not count.
    The labels of one field are in memory at a time.
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
        "errors": {name: sum(f.errors[name] for f in kept) for name in kept[0].errors},
        "baselines": {
            "otsu": _object_scores(f.otsu for f in kept),
            "ceiling": _object_scores(f.ceiling for f in kept),
        },
        "per_patient": {p: _object_scores(f.model for f in kept if f.prediction.patient == p) for p in patients},
        "fields": [{**n, **_object_scores([f.model]), "errors": f.errors} for n, f in zip(names, kept, strict=True)],
    }


def found_nuclei(prediction: FieldPrediction, threshold: float, options: NucleiOptions) -> np.ndarray:
    """Return the labels of the nuclei that a model finds in a field, as `predict` does."""
    options = options.filled(prediction.own)
    mask = prediction.mask(threshold if options.threshold is None else options.threshold)
    return prediction.nuclei(mask, options, prediction.maps())


def _match_field(prediction: FieldPrediction, threshold: float, options: NucleiOptions) -> FieldMatches:
    labels = read_labels(prediction.truth)
    has_ids = holds_ids(prediction.truth, labels)
    if has_ids is False:
        return FieldMatches(prediction, False, model={}, otsu={}, errors={}, ceiling={})
    found = found_nuclei(prediction, threshold, options)
    options = options.filled(prediction.own)
    maps, known = prediction.maps(), np.maximum(labels, 0)
    otsu = prediction.nuclei(otsu_mask(prediction.source), options)
    ceiling = prediction.nuclei(known > 0, options, true_maps(known, len(maps)))
    return FieldMatches(
        prediction,
        has_ids,
        model=count_matches(*known_objects(found, labels)),
        otsu=count_matches(*known_objects(otsu, labels)),
        errors=nucleus_errors(*known_objects(found, labels)).counts(),
        ceiling=count_matches(*known_objects(ceiling, labels)),
    )


def _object_scores(fields: Iterable[dict[float, Matches]]) -> dict[str, Any]:
    """Numbers of true and predicted nuclei, and one row of scores per IoU, with the fields pooled."""
    pooled = pool_matches(fields)
    any_iou = next(iter(pooled.values()))
    return {
        "n_true": any_iou.tp + any_iou.fn,
        "n_predicted": any_iou.tp + any_iou.fp,
        "f1_50": round(pooled[0.5].scores()["f1"], 6),
        "f1_mean": mean_f1(pooled),
        "matching": [{"iou": i, **{k: round(v, 6) for k, v in m.scores().items()}} for i, m in pooled.items()],
    }
