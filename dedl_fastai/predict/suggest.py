"""`suggested`: which fields to look at and correct next, from their records."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist

from ..io.corrections import actions_on, checks, corrected_files
from .record import Record

_TYPICAL_DOUBT = 0.05  # of fields that an earlier version predicted


def suggested(records: Sequence[Record], n: int, done: Sequence[str] = ()) -> list[str]:
    """Return up to `n` fields, the most useful first, without those that are `done`.

    The use of a field is its uncertainty (mean entropy of the probability) times the doubt in the separation of its
    nuclei (mean of 1 - solidity: merged nuclei have notches). Fields are chosen one by one. The use of a field that is
    similar to a chosen one, in number and size of nuclei and in uncertainty, is reduced by how close they are.
    """
    open_ = [r for r in records if r["field"] not in done and r["cells"]]
    if not open_ or n < 1:
        return []
    use = np.array([r["uncertainty"] * r.get("doubt", _TYPICAL_DOUBT) for r in open_])
    distance = _distances(open_)
    chosen: list[int] = []
    nearest = np.ones(len(open_))  # to a chosen field, relative to the median distance of two fields, at most 1
    for _ in range(min(n, len(open_))):
        value = np.where(np.isin(np.arange(len(open_)), chosen), -1.0, use * nearest)
        chosen.append(int(value.argmax()))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return [open_[i]["field"] for i in chosen]


def _distances(records: Sequence[Record]) -> np.ndarray:
    """Distances between fields (n, n) in standardised features, relative to their median."""
    rows = [(np.log1p(r["cells"]), _mean_area(r), np.log(r["uncertainty"] + 1e-3)) for r in records]
    features = np.array(rows, float)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-9)
    found = cdist(features, features)
    between = found[np.triu_indices(len(records), 1)]
    return found / max(float(np.median(between)), 1e-9) if len(between) else found


def _mean_area(record: Record) -> float:
    """The mean bin of the histogram of nuclear areas."""
    counts = np.array(record["areas"]["counts"], float)
    return float((counts * np.arange(len(counts))).sum() / max(counts.sum(), 1))


def checked_fields(out: Path) -> list[str]:
    """Return the fields of which a part is checked already."""
    return [name for name, labels in corrected_files(out).items() if checks(actions_on(labels))]
