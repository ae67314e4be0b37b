"""Matching of predicted and true nuclei at IoU thresholds: counts that add up over fields, AP, F1, panoptic quality."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import UserError

IOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@dataclass(frozen=True)
class Matches:
    """Objects found, invented and missed, and the IoU sum of the objects found; counts of several fields add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: "Matches") -> "Matches":
        return Matches(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.iou_sum + other.iou_sum)

    def scores(self) -> dict[str, float]:
        """Counts and ratios, named as in StarDist's `matching`; ratios are 1 if there are no objects at all.

        `ap` is TP / (TP + FP + FN), `mean_matched_iou` the mean IoU over the objects found, and `mean_true_score` the
        mean over all true objects, where missed ones count as 0.
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
        """`part / whole`; a ratio of 0 / 0 is perfect only if there are neither predicted nor true objects."""
        if whole:
            return part / whole
        return 0.0 if self.tp + self.fp + self.fn else 1.0


def count_matches(
    predicted: np.ndarray,  # labels (H, W), 0 is background
    truth: np.ndarray,  # labels (H, W)
    ious: Sequence[float] = IOUS,
) -> dict[float, Matches]:
    """Match the objects of one field at each IoU threshold; an object matches at most one other, at IoU >= threshold.

    Raises `UserError` for labels of different shapes or an IoU outside (0, 1].
    """
    if predicted.shape != truth.shape:
        raise UserError(
            f"predicted labels have shape {predicted.shape} and true ones {truth.shape}: give labels of the same field."
        )
    bad = [iou for iou in ious if not 0 < iou <= 1]
    if bad:
        raise UserError(f"an IoU of {bad[0]:g} matches nothing or everything: give one above 0 and up to 1.")
    rows, columns, values, n_predicted, n_true = overlaps(predicted, truth)
    counts = {}
    for iou in ious:
        near = values >= iou - 1e-12
        matched = _assign(rows[near], columns[near], values[near])
        counts[iou] = Matches(len(matched), n_predicted - len(matched), n_true - len(matched), float(matched.sum()))
    return counts


def match(predicted: np.ndarray, truth: np.ndarray, iou: float = 0.5) -> dict[str, float]:
    """Counts and ratios of one field at an IoU threshold, as in `Matches.scores`."""
    return count_matches(predicted, truth, [iou])[iou].scores()


def pool_matches(fields: Iterable[Mapping[float, Matches]]) -> dict[float, Matches]:
    """Add up the matches of several fields at each IoU, as if the fields were one large field."""
    totals: dict[float, Matches] = {}
    for counts in fields:
        for iou, matches in counts.items():
            totals[iou] = totals.get(iou, Matches()) + matches
    return totals


def mean_f1(pooled: Mapping[float, Matches]) -> float:
    """Return F1, averaged over the IoU thresholds."""
    return round(float(np.mean([m.scores()["f1"] for m in pooled.values()])), 6)


def overlaps(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Predicted object, true object and IoU of each overlapping pair, and the numbers of predicted and true objects.

    Objects are numbered as by `dense_labels`.
    """
    (p, n_predicted), (t, n_true) = dense_labels(predicted), dense_labels(truth)
    area_p, area_t = np.bincount(p, minlength=n_predicted + 1), np.bincount(t, minlength=n_true + 1)
    both = (p > 0) & (t > 0)
    keys, shared = np.unique(p[both] * np.int64(n_true + 1) + t[both], return_counts=True)
    rows, columns = keys // (n_true + 1), keys % (n_true + 1)
    return rows, columns, shared / (area_p[rows] + area_t[columns] - shared), n_predicted, n_true


def dense_labels(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Flat labels renumbered 0..n without gaps, in the order of their ids, and n."""
    flat = labels.ravel().astype(np.int64)
    ids = np.unique(flat[flat > 0])
    dense = np.zeros(len(flat), np.int64)
    inside = flat > 0
    dense[inside] = np.searchsorted(ids, flat[inside]) + 1
    return dense, len(ids)


def _assign(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """IoU of the matched pairs: as many pairs as possible and, among such matchings, the largest IoU sum.

    Above an IoU of 0.5 no object has two candidates; below it, groups of competing pairs are few and small, and each is
    solved on its own.
    """
    if not len(rows):
        return values
    competing = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
    rows, columns, unrivalled, values = rows[competing], columns[competing], values[~competing], values[competing]
    if not len(rows):
        return unrivalled
    offset = rows.max() + 1
    size = offset + columns.max() + 1
    group = connected_components(coo_array((values, (rows, columns + offset)), shape=(size, size)), directed=False)[1]
    of_pair = group[rows]
    solved = [_best(rows[g], columns[g], values[g]) for g in (of_pair == k for k in np.unique(of_pair))]
    return np.concatenate([unrivalled, *solved])


def _best(rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> np.ndarray:
    """IoU of the pairs chosen in one group of competing pairs."""
    predicted, r = np.unique(rows, return_inverse=True)
    true, c = np.unique(columns, return_inverse=True)
    gain = np.zeros((len(predicted), len(true)))
    gain[r, c] = 1 + values / (2 * min(gain.shape))  # another pair is worth more than any gain in IoU
    i, j = linear_sum_assignment(gain, maximize=True)
    iou = np.zeros(gain.shape)
    iou[r, c] = values
    return iou[i, j][iou[i, j] > 0]
