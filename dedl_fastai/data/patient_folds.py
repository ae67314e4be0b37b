"""Outer folds: each patient is tested exactly once, by a model that is trained and validated on other patients."""

import logging

import pandas as pd

from ..errors import UserError
from .balance import balanced_groups
from .cohort import Cohort
from .options import EACH_PATIENT, SEED
from .splits import check_no_leak, draw_valid

log = logging.getLogger(__name__)


def outer_folds(
    cohort: Cohort,  # fields with the split "ignore" keep it; other entries of the column are not used
    n: int | str = EACH_PATIENT,  # number of folds, or "patients": as many as there are patients
    seed: int = SEED,
    valid: float = 0.15,  # share of the fields, drawn by patient from those that a fold does not test
    classes: pd.DataFrame | None = None,  # (fields, classes), to balance too; fields without a row are ignored
) -> list[Cohort]:
    """Return the split cohort of each fold: its patients are the test split, and the other patients validate and train.

    Every patient is in the test split of exactly one fold. The folds are about equally large in fields and, if given,
    in each class. The same seed gives the same folds. Raises `UserError` if a fold would leave fewer than two patients
    to train and validate.
    """
    given = set(cohort.table.split) - {"", "ignore"}
    if given:
        log.warning("the splits in the table of %s are not used: each patient is tested once", cohort.root)
    is_used = cohort.table.split != "ignore"
    if classes is not None:
        is_used &= cohort.table.field.isin(classes.index)
    used = cohort.where(is_used)
    fold_of = _fold_of_patient(used, _number_of_folds(used, n), seed, classes)
    folds = sorted(set(fold_of.values()))
    return [_fold(cohort, is_used, fold_of, fold=fold, seed=seed, valid=valid) for fold in folds]


def _number_of_folds(cohort: Cohort, n: int | str) -> int:
    patients = sorted(set(cohort.table.patient))
    if len(patients) < 3:
        raise UserError(
            f"{cohort.root} has {len(patients)} patient(s) ({', '.join(patients)}): test_folds={n} needs 3, to test, "
            f"validate and train. Add patients, or give patient=field to count each field as its own patient (the "
            f"scores are then too good if several fields are of one patient)."
        )
    number = len(patients) if n == EACH_PATIENT else int(n)
    if not 2 <= number <= len(patients):
        raise UserError(
            f"test_folds={n} is not possible: it must be between 2 and the number of patients, {len(patients)}."
        )
    return number


def _fold_of_patient(cohort: Cohort, n: int, seed: int, classes: pd.DataFrame | None) -> dict[str, int]:
    patients = sorted(set(cohort.table.patient))
    if n == len(patients):
        return {patient: i for i, patient in enumerate(patients)}
    quantities = pd.DataFrame({"fields": 1.0}, index=cohort.table.index)
    if classes is not None:
        quantities = quantities.join(classes.loc[cohort.table.field].astype(float).set_axis(cohort.table.index))
    fold_of = balanced_groups(quantities.groupby(cohort.table.patient).sum(), n, seed)
    others = min(len(patients) - list(fold_of.values()).count(fold) for fold in range(n))
    if others < 2:
        raise UserError(
            f"test_folds={n} leaves one of the {len(patients)} patients of {cohort.root} to train and validate, and "
            f"two are needed: use test_folds={EACH_PATIENT}."
        )
    return fold_of


def _fold(cohort: Cohort, is_used: pd.Series, fold_of: dict[str, int], *, fold: int, seed: int, valid: float) -> Cohort:
    is_tested = cohort.table.patient.map(fold_of) == fold
    splits = pd.Series("train", index=cohort.table.index).mask(is_tested, "test").where(is_used, "ignore")
    n_valid = valid * int(is_used.sum())  # the share of a usual split
    return check_no_leak(draw_valid(cohort.with_split(list(splits)), n_valid, seed + fold))
