"""Folds for classification: by patient and balanced over the classes, or by image as in the paper."""

import logging
import random
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, train_test_split

from ...errors import UserError
from ..cohort import Cohort
from ..options import SEED
from .labels import Labels

log = logging.getLogger(__name__)

_TRIES = 20  # number of patient orders that are tried; the most even folds are used


def clf_folds(
    cohort: Cohort,  # test and ignored fields keep their split; fields without labels become ignored
    labels: Labels,  # labels of the fields
    n: int = 6,
    seed: int = SEED,
) -> list[list[str]]:
    """Return one split column per fold, in table order, in which this fold validates and the other folds train.

    No patient is in two folds. Under this constraint a greedy search distributes fields and classes evenly. The same
    seed gives the same folds. Raises `UserError` if there are fewer patients than folds.
    """
    table = cohort.table
    has_labels = table.field.isin(labels.matrix.index)
    in_pool = ~table.split.isin(["test", "ignore"]) & has_labels
    matrix = labels.matrix.loc[table.field[in_pool]].to_numpy(float)
    patients = table.patient[in_pool].to_numpy()
    sums = pd.DataFrame(np.column_stack([np.ones(len(matrix)), matrix])).groupby(patients).sum()
    if not 2 <= n <= len(sums):
        raise UserError(
            f"folds={n} is not possible: it must be between 2 and the number of patients outside the test split, "
            f"{len(sums)}."
        )
    fold_of = _balanced(sums, n, seed)
    column = np.where(in_pool, table.patient.map(fold_of).fillna(-1), -1)
    splits = table.split.where(has_labels, "ignore")
    return [_split_column(splits, in_pool, column == k) for k in range(n)]


def _split_column(splits: pd.Series, in_pool: pd.Series, is_fold: np.ndarray) -> list[str]:
    return list(splits.mask(in_pool, "train").mask(is_fold, "valid"))


def _balanced(sums: pd.DataFrame, n: int, seed: int) -> dict[str, int]:
    """Return patient -> fold, the most even of several greedy assignments."""
    rng = random.Random(seed)
    weights = sums.to_numpy() / np.maximum(sums.to_numpy().sum(axis=0), 1)  # shares, so that all classes count equally
    best: tuple[float, list[int]] = (float("inf"), [])
    for _ in range(_TRIES):
        order = list(range(len(sums)))
        rng.shuffle(order)
        order.sort(key=lambda i: -weights[i].sum().round(9))
        cost, folds = _greedy(weights, order, n)
        if cost < best[0] - 1e-12:
            best = cost, folds
    return dict(zip(sums.index, best[1], strict=True))


def _greedy(weights: np.ndarray, order: Sequence[int], n: int) -> tuple[float, list[int]]:
    """Assign each patient to the fold that keeps the folds most even; no fold stays empty."""
    filled, sizes, folds = np.zeros((n, weights.shape[1])), np.zeros(n, dtype=int), [0] * len(order)
    for n_assigned, i in enumerate(order):
        cost = (2 * filled * weights[i] + weights[i] ** 2).sum(axis=1)  # increase of the sum of squares
        if (sizes == 0).sum() >= len(order) - n_assigned:
            cost[sizes > 0] = np.inf
        k = int(np.argmin(cost))
        filled[k] += weights[i]
        sizes[k] += 1
        folds[i] = k
    return float((filled**2).sum()), folds


def paper_clf_split(cohort: Cohort, folds: int = 6, fold: int = 0, seed: int = SEED) -> Cohort:
    """Split by image as the paper does: a fifth for testing, and one of K folds of the rest for validation.

    Images of one patient are then in several splits, so the scores are too good; this is logged.
    """
    n = len(cohort)
    if not 2 <= folds <= n * 4 // 5:
        raise UserError(f"folds={folds} is not possible with {n} fields: only four fifths of them are in the folds.")
    if not 0 <= fold < folds:
        raise UserError(f"fold={fold} does not exist: the {folds} folds are counted from 0 to {folds - 1}.")
    pool, test = train_test_split(np.arange(n), test_size=0.2, shuffle=True, random_state=seed)
    pool = np.sort(pool)
    splits = np.full(n, "train", dtype=object)
    splits[test] = "test"
    parts = list(KFold(folds, shuffle=True, random_state=seed).split(pool))
    splits[pool[parts[fold][1]]] = "valid"
    cohort = cohort.with_split(list(splits))
    n_splits = cohort.table.groupby("patient").split.nunique()
    if (n_splits > 1).any():
        log.warning(
            "split=paper is by image: %d of %d patients have fields in several splits; by this leak the scores are "
            "too good for a new patient",
            (n_splits > 1).sum(),
            len(n_splits),
        )
    return cohort
