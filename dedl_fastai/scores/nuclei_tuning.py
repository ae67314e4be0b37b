"""`tune_nuclei`: how to find nuclei in the maps of a model with a head, tuned on validation nuclei."""

from typing import Any

from ..cells.options import DEFAULT_H, NucleiOptions
from ..io.masks import holds_ids, read_labels
from .object_matches import count_matches, mean_f1, pool_matches
from .whole_fields import FieldPrediction

_H = (0.03, 0.06, 0.1, 0.2)  # beside the default
_THRESHOLDS = (0.4, 0.6)  # beside 0.5
_GAIN = 0.01  # of the mean F1, from which another value is taken: smaller ones did not carry over to other tissue


def tune_nuclei(predictions: list[FieldPrediction]) -> dict[str, Any]:
    """Return `h` and `threshold` of `NucleiOptions` with the best F1 on these fields, averaged over IoU 0.5 to 0.9.

    First `h` is chosen, then the threshold; each stays at its default unless another value is clearly better. Fields
    whose masks hold no ids are left out; without any other, both are the defaults.
    """
    truths = [(p, read_labels(p.truth)) for p in predictions]
    known = [(p, truth) for p, truth in truths if holds_ids(p.truth, truth)]
    tried: list[dict[str, float]] = []

    def f1_of(h: float, threshold: float) -> float:
        options = NucleiOptions(h=h)
        pooled = pool_matches(
            count_matches(p.nuclei(p.mask(threshold), options, p.maps()), truth) for p, truth in known
        )
        score = mean_f1(pooled)
        tried.append({"h": h, "threshold": threshold, "f1_mean": score})
        return score

    h, threshold = DEFAULT_H, 0.5
    if known:
        best = f1_of(h, threshold)
        for other in _H:
            score = f1_of(other, 0.5)
            if score >= best + _GAIN:
                h, best = other, score
        for other in _THRESHOLDS:
            score = f1_of(h, other)
            if score >= best + _GAIN:
                threshold, best = other, score
    return {"value": {"h": h, "threshold": threshold}, "fields": len(known), "tried": tried}
