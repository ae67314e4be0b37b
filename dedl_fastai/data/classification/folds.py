"""Folds for classification: by patient and balanced over the classes, or by image as in the paper."""

import logging

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, train_test_split

from ...errors import UserError
from ..balance import balanced_groups
from ..cohort import Cohort
from ..options import SEED
from .labels import Labels

log = logging.getLogger(__name__)


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
    fold_of = balanced_groups(sums, n, seed)
    column = np.where(in_pool, table.patient.map(fold_of).fillna(-1), -1)
    splits = table.split.where(has_labels, "ignore")
    return [_split_column(splits, in_pool, column == k) for k in range(n)]


def _split_column(splits: pd.Series, in_pool: pd.Series, is_fold: np.ndarray) -> list[str]:
    return list(splits.mask(in_pool, "train").mask(is_fold, "valid"))


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
