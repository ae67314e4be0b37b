"""Predicted nuclei against true ones: matching at an IoU, with AP, F1 and panoptic quality from counts that add up."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import UserError

IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@dataclass(frozen=True)
class Matches:
    """Objects found, invented and missed, and the sum of the IoU of the found ones; counts of fields add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: "Matches") -> "Matches":
        return Matches(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou_sum + other.iou_sum)

    def scores(self) -> dict[str, float]:
        """Counts and ratios, named as in StarDist's `matching`; ratios are 1 where there is no object at all.

        `ap` is TP / (TP + FP + FN), `mean_matched_iou` the mean over the found objects, `mean_true_score` over all true
        ones, a missed one counting 0.
        """
        return {
            "tp": self.tp,
            "fp": self.fp,
            "fn": self.fn,
            "precision": self._ratio(self.tp, self.tp + self.fp),
            "recall": self._ratio(self.tp, self.tp + self.fn),
            "f1": self._ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn),
            "ap": self._ratio(self.tp, self.tp + self.fp + self.fn),
            "pq": self._ratio(self.iou_sum, self.tp + (self.fp + self.fn) / 2),
            "mean_matched_iou": self.iou_sum / self.tp if self.tp else 0.0,
            "mean_true_score": self._ratio(self.iou_sum, self.tp + self.fn),
        }

    def _ratio(self, part: float, whole: float) -> float:
        """Nothing predicted, or nothing there, is perfect only where the other side is empty too."""
        if whole:
            return part / whole
        return 0.0 if self.tp + self.fp + self.fn else 1.0


def count_matches(
    predicted: np.ndarray,  # labels (H, W), 0 is background
    truth: np.ndarray,
    ious: Sequence[float] = IOUS,
) -> dict[float, Matches]:
    """Matches at each IoU, of one field; an object matches at most one other, at IoU >= the threshold.

    Raises `UserError` for labels of two shapes or an IoU outside (0, 1].
    """
    if predicted.shape != truth.shape:
        raise UserError(f"predicted labels are {predicted.shape} and true ones {truth.shape}: give the same field.")
    bad = [iou for iou in ious if not 0 < iou <= 1]
    if bad:
        raise UserError(f"an IoU of {bad[0]:g} matches nothing or everything: take one above 0 and up to 1.")
    rows, columns, values, n_predicted, n_true = _overlaps(predicted, truth)
    counts = {}
    for iou in ious:
        near = values >= iou - 1e-12
        matched = _assign(rows[near], columns[near], values[near])
        counts[iou] = Matches(len(matched), n_predicted - len(matched), n_true - len(matched), float(matched.sum()))
    return counts


def match(predicted: np.ndarray, truth: np.ndarray, iou: float = 0.5) -> dict[str, float]:
    """The counts and ratios of `Matches.scores`, of one field at an IoU."""
    return count_matches(predicted, truth, [iou])[iou].scores()


def matching_table(
    predicted: np.ndarray | Sequence[np.ndarray],  # labels of one field or of several
    truth: np.ndarray | Sequence[np.ndarray],
    ious: Sequence[float] = IOUS,
) -> pd.DataFrame:
    """One row an IoU with the columns of `match`, the objects of all fields pooled."""
    if isinstance(predicted, np.ndarray) and predicted.ndim == 2:
        predicted, truth = [predicted], [truth]
    totals = pool_matches(count_matches(p, t, ious) for p, t in zip(predicted, truth, strict=True))
    return pd.DataFrame([{"iou": iou, **total.scores()} for iou, total in totals.items()])


def pool_matches(fields: Iterable[Mapping[float, Matches]]) -> dict[float, Matches]:
    """The matches of several fields added up, IoU by IoU: what `count_matches` would give for one large field."""
    totals: dict[float, Matches] = {}
    for counts in fields:
        for iou, matches in counts.items():
            totals[iou] = totals.get(iou, Matches()) + matches
    return totals


def _overlaps(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Pairs of objects that overlap as (row, column, IoU), and how many objects each side has."""
    (p, n_predicted), (t, n_true) = _dense(predicted), _dense(truth)
    area_p, area_t = np.bincount(p, minlength=n_predicted + 1), np.bincount(t, minlength=n_true + 1)
    both = (p > 0) & (t > 0)
    keys, shared = np.unique(p[both] * np.int64(n_true + 1) + t[both], return_counts=True)
    rows, columns = keys // (n_true + 1), keys % (n_true + 1)
    return rows, columns, shared / (area_p[rows] + area_t[columns] - shared), n_predicted, n_true


def _dense(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Flat labels as 0..n, whatever ids they had, and n."""
    flat = labels.ravel().astype(np.int64)
    ids = np.unique(flat[flat > 0])
    dense = np.zeros(len(flat), np.int64)
    inside = flat > 0
    dense[inside] = np.searchsorted(ids, flat[inside]) + 1
    return dense, len(ids)


def _assign(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """IoU of the pairs that are matched: as many pairs as can be, and of these the best.

    Above 0.5 no object has two partners; below, groups of rivals are few and small and are solved one by one.
    """
    if not len(rows):
        return values
    rivals = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
    rows, columns, clear, values = rows[rivals], columns[rivals], values[~rivals], values[rivals]
    if not len(rows):
        return clear
    offset = rows.max() + 1
    size = offset + columns.max() + 1
    group = connected_components(coo_array((values, (rows, columns + offset)), shape=(size, size)), directed=False)[1]
    of_pair = group[rows]
    solved = [_best(rows[g], columns[g], values[g]) for g in (of_pair == k for k in np.unique(of_pair))]
    return np.concatenate([clear, *solved])


def _best(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """IoU of the pairs chosen in one group of rivals."""
    (names, r), (others, c) = np.unique(rows, return_inverse=True), np.unique(columns, return_inverse=True)
    gain = np.zeros((len(names), len(others)))
    gain[r, c] = 1 + values / (2 * min(gain.shape))  # another pair is worth more than any gain in IoU
    i, j = linear_sum_assignment(gain, maximize=True)
    iou = np.zeros(gain.shape)
    iou[r, c] = values
    return iou[i, j][iou[i, j] > 0]
