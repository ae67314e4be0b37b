"""`tune_nuclei`: how to find nuclei in the maps of a model with a head, tuned on validation nuclei."""

from typing import Any

from ..cells.options import DEFAULT_H, NucleiOptions
from ..io.masks import holds_ids, read_labels
from .known_part import known_objects
from .object_matches import count_matches, mean_f1, pool_matches
from .whole_fields import FieldPrediction

_H = (0.06, DEFAULT_H, 0.15, 0.2)
_THRESHOLDS = (0.5, 0.4, 0.6)
_NO_LOSS = 0.02  # of the mean F1: less than what two seeds differ by
_GAIN = 0.01  # of the mean F1, from which another threshold is taken


def tune_nuclei(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """Return `h` and `threshold` of `NucleiOptions` for these fields, by F1 averaged over IoU 0.5 to 0.9.

    `h` is the smallest value whose score is within 0.02 of the best: nuclei of other tissue are often more densely
    packed, and the dips between them less deep. Then the threshold is tuned: it stays at 0.5 unless another one gains
    0.01. Fields whose masks hold no ids are left out; without any other, both have their defaults.
    """
    truths = [(p, read_labels(p.truth)) for p in predictions]
    known = [(p, truth) for p, truth in truths if holds_ids(p.truth, truth)]
    if not known:
        return {"value": {"h": DEFAULT_H, "threshold": 0.5}, "fields": 0, "tried": []}
    tried: list[dict[str, float]] = []

    def f1_of(h: float, threshold: float) -> float:
        options = NucleiOptions(h=h)
        pooled = pool_matches(
            count_matches(*known_objects(p.nuclei(p.mask(threshold), options, p.maps()), truth)) for p, truth in known
        )
        score = mean_f1(pooled)
        tried.append({"h": h, "threshold": threshold, "f1_mean": score})
        return score

    of_h = {h: f1_of(h, 0.5) for h in _H} if _has_h(known[0][0]) else {DEFAULT_H: f1_of(DEFAULT_H, 0.5)}
    h = next(h for h, score in of_h.items() if score >= max(of_h.values()) - _NO_LOSS)
    of_threshold = {0.5: of_h[h], **{t: f1_of(h, t) for t in _THRESHOLDS[1:]}}
    best = max(of_threshold, key=of_threshold.__getitem__)
    threshold = best if of_threshold[best] >= of_threshold[0.5] + _GAIN else 0.5
    return {"value": {"h": h, "threshold": threshold}, "fields": len(known), "tried": tried}


def _has_h(prediction: FieldPrediction) -> bool:
    """Return whether nuclei are separated by a distance: a flow has no dips."""
    return len(prediction.maps()) == 1
