"""`suggested` and `suggested_regions`: what to look at and correct next, from the records of predicted fields."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from ..io.corrections import Action, actions_on, checks, corrected_files, is_checked
from .record import Record

_TYPICAL_DOUBT = 0.05  # of fields that an earlier version predicted
_MOST = 2000  # candidates; all pairs of them are compared


def suggested(records: Sequence[Record], n: int, done: Sequence[str] = ()) -> list[str]:
    """Return up to `n` fields, the most useful first, without those that are `done`.

    The use of a field is its uncertainty (mean entropy of the probability) times the doubt in the separation of its
    nuclei (mean of 1 - solidity: merged nuclei have notches). Fields are chosen one by one. The use of a field that is
    similar to a chosen one, in number and size of nuclei and in uncertainty, is reduced by how close they are.
    """
    open_ = [r | {"area": _mean_area(r)} for r in records if r["field"] not in done and r["cells"]]
    return [r["field"] for r in _chosen(open_, n)]


def suggested_regions(
    records: Sequence[Record], n: int, actions: Mapping[str, Sequence[Action]] | None = None
) -> list[dict[str, Any]]:
    """Return up to `n` regions of the fields, the most useful first, chosen as `suggested` chooses fields.

    They are the regions in the records (`regions_of`) with the name of their `field`, without those whose middle is
    checked already, by the `actions` on each field.
    """
    checked = {name: checks(on_field) for name, on_field in (actions or {}).items()}
    open_ = [
        {"field": record["field"], **region}
        for record in records
        for region in record.get("regions", [])
        if not is_checked(checked.get(record["field"], ()), _middle(region))
    ]
    return _chosen(open_, n)


def _middle(region: Mapping[str, Any]) -> tuple[float, float]:
    return (region["x0"] + region["x1"]) / 2, (region["y0"] + region["y1"]) / 2


def _chosen(candidates: Sequence[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """Choose up to `n` candidates one by one: useful ones that are unlike those that are chosen already."""
    if not candidates or n < 1:
        return []
    use = np.array([c["uncertainty"] * c.get("doubt", _TYPICAL_DOUBT) for c in candidates])
    kept = np.sort(np.argsort(-use, kind="stable")[:_MOST])
    candidates, use = [candidates[i] for i in kept], use[kept]
    distance = _distances(candidates)
    chosen: list[int] = []
    nearest = np.ones(len(candidates))  # to a chosen one, relative to the median distance of two, at most 1
    for _ in range(min(n, len(candidates))):
        value = np.where(np.isin(np.arange(len(candidates)), chosen), -1.0, use * nearest)
        chosen.append(int(value.argmax()))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return [candidates[i] for i in chosen]


def _distances(candidates: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Distances between candidates (n, n) in standardised features, relative to their median."""
    rows = [(np.log1p(c["cells"]), c["area"], np.log(c["uncertainty"] + 1e-3)) for c in candidates]
    features = np.array(rows, float)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    found = cdist(features, features)
    between = found[np.triu_indices(len(candidates), 1)]
    return found / max(float(np.median(between)), 1e-9) if len(between) else found


def _mean_area(record: Record) -> float:
    """The mean bin of the histogram of nuclear areas."""
    counts = np.array(record["areas"]["counts"], float)
    return float((counts * np.arange(len(counts))).sum() / max(counts.sum(), 1))


def checked_fields(out: Path) -> list[str]:
    """Return the fields of which a part is checked already."""
    return with_checks(corrections_of(out))


def with_checks(actions: Mapping[str, Sequence[Action]]) -> list[str]:
    """Return the fields whose actions say that a part is checked."""
    return [name for name, on_field in actions.items() if checks(on_field)]


def corrections_of(out: Path) -> dict[str, list[Action]]:
    """Return the actions on each field of a folder of results that has a log of corrections."""
    return {name: actions_on(labels) for name, labels in corrected_files(out).items()}
