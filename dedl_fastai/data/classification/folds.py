"""Folds for classification: by patient and balanced over the classes, or the paper's, by image."""

import logging
import random
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, train_test_split

from ...errors import UserError
from ..cohort import Cohort
from .labels import Labels

log = logging.getLogger(__name__)

_TRIES = 20  # orders of the patients that are tried; the most even folds win


def clf_folds(
    cohort: Cohort,  # fields for testing or ignored stay what they are, those without labels are ignored
    labels: Labels,  # of its fields
    n: int = 6,
    seed: int = 26,
) -> list[list[str]]:
    """For each of n folds the split column, in table order: the fold validates, the rest of the pool trains.

    No patient is in two folds; within that, fields and classes are spread as evenly as a greedy search finds. Same
    seed, same folds. Raises `UserError` if there are fewer patients than folds.
    """
    table = cohort.table
    has_labels = table.field.isin(labels.matrix.index)
    in_pool = ~table.split.isin(["test", "ignore"]) & has_labels
    held = labels.matrix.loc[table.field[in_pool]].to_numpy(float)
    patients = table.patient[in_pool].to_numpy()
    sums = pd.DataFrame(np.column_stack([np.ones(len(held)), held])).groupby(patients).sum()
    if not 2 <= n <= len(sums):
        raise UserError(f"folds={n} is not possible: {len(sums)} patients are not for testing; use 2 to that.")
    fold_of = _balanced(sums, n, seed)
    column = np.where(in_pool, table.patient.map(fold_of).fillna(-1), -1)
    splits = table.split.where(has_labels, "ignore")
    return [_split_column(splits, in_pool, column == k) for k in range(n)]


def _split_column(splits: pd.Series, in_pool: pd.Series, is_fold: np.ndarray) -> list[str]:
    return list(splits.mask(in_pool, "train").mask(is_fold, "valid"))


def _balanced(sums: pd.DataFrame, n: int, seed: int) -> dict[str, int]:
    """patient -> fold: the most even of several greedy assignments."""
    rng = random.Random(seed)
    weights = sums.to_numpy() / np.maximum(sums.to_numpy().sum(axis=0), 1)  # shares, so that rare classes count alike
    best: tuple[float, list[int]] | None = None
    for _ in range(_TRIES):
        order = list(range(len(sums)))
        rng.shuffle(order)
        order.sort(key=lambda i: -weights[i].sum().round(9))
        cost, folds = _greedy(weights, order, n)
        if best is None or cost < best[0] - 1e-12:
            best = cost, folds
    return dict(zip(sums.index, best[1], strict=True))


def _greedy(weights: np.ndarray, order: Sequence[int], n: int) -> tuple[float, list[int]]:
    """Each patient goes where the folds become most even; no fold stays empty."""
    filled, sizes, folds = np.zeros((n, weights.shape[1])), np.zeros(n, dtype=int), [0] * len(order)
    for done, i in enumerate(order):
        cost = (2 * filled * weights[i] + weights[i] ** 2).sum(axis=1)  # what the sum of squares grows by
        if (sizes == 0).sum() >= len(order) - done:
            cost[sizes > 0] = np.inf
        k = int(np.argmin(cost))
        filled[k] += weights[i]
        sizes[k] += 1
        folds[i] = k
    return float((filled**2).sum()), folds


def paper_clf_split(cohort: Cohort, folds: int = 6, fold: int = 0, seed: int = 26) -> Cohort:
    """The paper's split of images: a fifth for testing, K folds on the rest of which one validates.

    Images of one patient come to lie on several sides, so results are too good to be true; that is logged.
    """
    n = len(cohort)
    if not 2 <= folds <= n * 4 // 5:
        raise UserError(f"folds={folds} is not possible with {n} fields: four fifths of them are folded.")
    if not 0 <= fold < folds:
        raise UserError(f"fold={fold} does not exist: the {folds} folds are counted from 0 to {folds - 1}.")
    pool, test = train_test_split(np.arange(n), test_size=0.2, shuffle=True, random_state=seed)
    pool = np.sort(pool)
    splits = np.full(n, "train", dtype=object)
    splits[test] = "test"
    parts = list(KFold(folds, shuffle=True, random_state=seed).split(pool))
    splits[pool[parts[fold][1]]] = "valid"
    done = cohort.with_split(splits)
    sides = done.table.groupby("patient").split.nunique()
    if (sides > 1).any():
        log.warning(
            "split=paper is by image: %d of %d patients have fields on several sides, so the scores leak between "
            "them and are too good for a new patient",
            (sides > 1).sum(),
            len(sides),
        )
    return done
