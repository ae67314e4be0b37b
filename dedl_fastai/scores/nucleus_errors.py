"""`nucleus_errors`: which nuclei are found, missed, split and merged, from the overlaps of two label images."""

from dataclasses import dataclass

import numpy as np

FOUND, MISSED, SPLIT, MERGED, FALSE = "found", "missed", "split", "merged", "false"
_MOST = 0.5  # share of an object from which another one holds it


@dataclass(frozen=True)
class NucleusErrors:
    """What became of each nucleus: names by id. Those of true ones: found, missed, split, merged; of others: false."""

    true: dict[int, str]
    predicted: dict[int, str]  # found, false, or part of a split or merged nucleus

    def counts(self) -> dict[str, int]:
        """Return the numbers of true nuclei found, missed, split and merged, and of false ones."""
        names = list(self.true.values())
        return {
            **{name: names.count(name) for name in (FOUND, MISSED, SPLIT, MERGED)},
            FALSE: list(self.predicted.values()).count(FALSE),
        }


def nucleus_errors(predicted: np.ndarray, truth: np.ndarray, iou: float = 0.5) -> NucleusErrors:
    """Compare labels (H, W) of one field, 0 is background.

    A true nucleus is found if a predicted one has at least this `iou` with it. Of the others, it is split if two or
    more predicted nuclei lie for the most part in it, merged if it lies for the most part in a predicted nucleus that
    holds another true one too, and missed otherwise. A predicted nucleus that is none of these is false.
    """
    pairs, shared = np.unique(np.stack([truth.ravel(), predicted.ravel()]), axis=1, return_counts=True)
    area_t, area_p = np.bincount(truth.ravel()), np.bincount(predicted.ravel())
    rows = [(t, p, n) for (t, p), n in zip(pairs.T.tolist(), shared.tolist(), strict=True) if t and p]
    true = {int(i): MISSED for i in np.flatnonzero(area_t)[np.flatnonzero(area_t) > 0]}
    found = {int(i): FALSE for i in np.flatnonzero(area_p)[np.flatnonzero(area_p) > 0]}
    for t, p, n in rows:
        if n >= iou * (area_t[t] + area_p[p] - n):
            true[t] = found[p] = FOUND
    _mark(rows, true, found, area=area_p, name=SPLIT)
    _mark([(p, t, n) for t, p, n in rows], found, true, area=area_t, name=MERGED)
    return NucleusErrors(true, found)


def _mark(
    rows: list[tuple[int, int, int]], wholes: dict[int, str], parts: dict[int, str], area: np.ndarray, name: str
) -> None:
    """Mark wholes that hold the most of two or more parts, and those parts, unless they are found."""
    held: dict[int, list[int]] = {}
    for whole, part, n in rows:
        if n > _MOST * area[part]:
            held.setdefault(whole, []).append(part)
    for whole, inside in held.items():
        if len(inside) < 2:
            continue
        for marks, ids in ((wholes, [whole]), (parts, inside)):
            marks.update({i: name for i in ids if marks[i] != FOUND})
