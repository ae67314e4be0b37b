"""Splits of a cohort into training, validation and test fields, or into K folds, always by whole patients."""

import logging
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from ..errors import UserError
from ..io.files import read_json, write_json
from .cohort import SPLITS, Cohort
from .options import SEED

log = logging.getLogger(__name__)

PAPER_PATIENTS = {  # Van Buren's segmentation notebooks, kept by the paper (its 3.1)
    "train": ("Myo089", "Myo253", "Myo368"),
    "valid": ("Myo208", "Myo388"),
    "test": ("Myo231", "Myo511"),
}
METHODS = ("auto", "random", "paper", "column")


def split_cohort(
    cohort: Cohort,
    method: str = "auto",  # auto (the split column if it has entries, else random), random, paper or column
    seed: int = SEED,
    valid: float = 0.15,  # share of the fields
    test: float = 0.15,  # share of the fields
    folds: int = 0,  # number of folds over the patients outside the test split; 0: none
    fold: int = 0,  # index of the fold that validates
) -> Cohort:
    """Return the cohort with its `split` column filled by patient; `UserError` if a patient is in two splits."""
    if method == "auto":
        method = "column" if (cohort.table.split != "").any() else "random"
    if method == "column":
        splits = _from_column(cohort)
    elif method == "paper":
        splits = _paper(cohort)
    elif method == "random":
        splits = _random(cohort, seed, valid, test)
    else:
        raise UserError(f"split={method!r} is unknown; it may be {', '.join(METHODS)}.")
    cohort = _with_valid(cohort.with_split(splits), seed, valid)
    if folds:
        cohort = cohort.with_split(_fold(cohort, folds, fold, seed))
    return check_no_leak(cohort)


def check_no_leak(cohort: Cohort) -> Cohort:
    """Return the cohort, or raise a `UserError` with a patient who has fields in two of train, valid and test."""
    used = cohort.table[cohort.table.split.isin(["train", "valid", "test"])]
    splits_of_patient = used.groupby("patient").split.agg(lambda s: sorted(set(s)))
    leaks = splits_of_patient[splits_of_patient.map(len) > 1]
    if len(leaks):
        patient, splits = leaks.index[0], " and ".join(leaks.iloc[0])
        raise UserError(
            f"patient {patient!r} has fields in {splits}: the scores would be too good. Put all fields of a patient "
            f"into one split (if the fields are of different patients, give `patient` or a patient column)."
        )
    if not (used.split == "train").any():
        raise UserError(f"{cohort.root}: no field is left for training.")
    return cohort


def _from_column(cohort: Cohort) -> list[str]:
    if not (cohort.table.split != "").any():
        raise UserError(f"{cohort.root} has no split column: use split=random, or splits=FILE.")
    empty = cohort.table.split == ""
    if empty.any():
        log.warning("%d fields have no split in the table and are left out", empty.sum())
    return list(cohort.table.split.replace("", "ignore"))


def _paper(cohort: Cohort) -> list[str]:
    split_of = {p.lower(): s for s, patients in PAPER_PATIENTS.items() for p in patients}
    splits = [split_of.get(p.lower(), "ignore") for p in cohort.table.patient]
    absent = [s for s in ("train", "test") if s not in splits]
    if absent:
        raise UserError(
            f"split=paper is for the patients {', '.join(split_of)}; {cohort.root} has no {absent[0]} patient of "
            f"these. Use split=random."
        )
    return splits


def _random(cohort: Cohort, seed: int, valid: float, test: float) -> list[str]:
    """Assign patients in random order to test, then valid, up to their share of the fields; the others train."""
    shares = {name: share for name, share in (("test", test), ("valid", valid)) if share > 0}
    sizes = cohort.table.groupby("patient").size()
    if len(sizes) < len(shares) + 1:
        raise UserError(
            f"{cohort.root} has {len(sizes)} patient(s) ({', '.join(sizes.index[:3])}); a split by patient into train"
            f"{''.join(', ' + name for name in reversed(shares))} needs {len(shares) + 1}. Add patients, give a "
            f"cohort.csv with a split column, or patient=field to count each field as its own patient (the test "
            f"scores are then too good if several fields are of one patient)."
        )
    waiting = shuffled(sizes.index, seed)
    split_of: dict[str, str] = {}
    for i, (name, share) in enumerate(shares.items()):
        n_later = len(shares) - i  # splits that are filled after this one, train included
        split_of |= dict.fromkeys(_take(waiting, sizes, share * len(cohort), leave=n_later), name)
    return [split_of.get(p, "train") for p in cohort.table.patient]


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """Return the distinct names in an order that depends on them and on the seed alone."""
    order = sorted(set(names))
    random.Random(seed).shuffle(order)
    return order


def _take(waiting: list[str], sizes: pd.Series, n_fields: float, leave: int) -> list[str]:
    """Take patients from the end of `waiting` with about `n_fields` fields: at least one, and leave `leave` of them."""
    taken = [waiting.pop()]
    while len(waiting) > leave and sizes[taken].sum() + sizes[waiting[-1]] / 2 <= n_fields:
        taken.append(waiting.pop())
    return taken


def _with_valid(cohort: Cohort, seed: int, valid: float) -> Cohort:
    """Move some training patients to the validation split if it is empty."""
    training = cohort.table[cohort.table.split == "train"]
    if valid <= 0 or (cohort.table.split == "valid").any() or training.empty:
        return cohort
    n_patients = training.patient.nunique()
    if n_patients < 2:
        raise UserError(
            f"{cohort.root} has no validation fields and only one training patient: mark some fields as valid."
        )
    drawn = draw_valid(cohort, valid * len(training), seed)
    n_valid = drawn.part("valid").table.patient.nunique()
    log.info("no field is marked as valid: %d of %d training patients validate", n_valid, n_patients)
    return drawn


def draw_valid(cohort: Cohort, n_fields: float, seed: int) -> Cohort:
    """Move random training patients with about `n_fields` fields, at least one patient, to the validation split."""
    is_train = cohort.table.split == "train"
    sizes = cohort.table[is_train].groupby("patient").size()
    chosen = _take(shuffled(sizes.index, seed), sizes, n_fields, leave=1)
    return cohort.with_split(list(cohort.table.split.mask(is_train & cohort.table.patient.isin(chosen), "valid")))


def _fold(cohort: Cohort, folds: int, fold: int, seed: int) -> list[str]:
    """Return splits in which fold `fold` validates, the other folds train, and the test fields stay."""
    table = cohort.table
    pool = table.index[table.split.isin(["train", "valid"])]
    n_patients = table.loc[pool, "patient"].nunique()
    if not 2 <= folds <= n_patients:
        raise UserError(
            f"folds={folds} is not possible: it must be between 2 and the number of patients outside the test split, "
            f"{n_patients}."
        )
    if not 0 <= fold < folds:
        raise UserError(f"fold={fold} does not exist: the {folds} folds are counted from 0 to {folds - 1}.")
    kfold = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    parts = list(kfold.split(pool, groups=table.loc[pool, "patient"]))
    splits = table.split.to_numpy(dtype=object, copy=True)
    splits[pool] = "train"
    splits[pool[parts[fold][1]]] = "valid"
    return list(splits)


def save_splits(cohort: Cohort, path: str | Path) -> None:
    """Write `splits.json`, with the split and patient of every field."""
    fields = {r.field: {"split": r.split, "patient": r.patient} for r in cohort.rows()}
    write_json(path, {"counts": split_counts(cohort), "fields": fields})


def apply_splits(cohort: Cohort, path: str | Path, may_leak: bool = False) -> Cohort:
    """Return the cohort with the splits of a `splits.json`.

    Raises `UserError` for unknown fields and, unless `may_leak`, for patients in two splits.
    """
    value = read_json(path)
    fields = value.get("fields") if isinstance(value, dict) else None
    if not isinstance(fields, dict) or not all(
        isinstance(v, dict) and v.get("split") in SPLITS for v in fields.values()
    ):
        raise UserError(
            f'{path} is not a splits file: it must look like {{"fields": {{"NAME": {{"split": "train"}}}}}}.'
        )
    unknown = sorted(set(fields) - set(cohort.table.field))
    if unknown:
        raise UserError(f"{path} names the field {unknown[0]!r}, which is not in {cohort.root}.")
    missing = [f for f in cohort.table.field if f not in fields]
    if missing:
        log.warning("%d fields are not in %s and are left out (the first: %s)", len(missing), path, missing[0])
    patients = [fields.get(r.field, {}).get("patient") or r.patient for r in cohort.rows()]
    cohort = cohort.with_split([fields.get(f, {}).get("split", "ignore") for f in cohort.table.field])
    cohort.table["patient"] = patients
    return cohort if may_leak else check_no_leak(cohort)


def split_counts(cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Return the number of fields and the patients of each split."""
    by_split = {str(name): table for name, table in cohort.table.groupby("split")}
    return {
        s: {"fields": len(by_split[s]), "patients": sorted(np.unique(by_split[s].patient))}
        for s in SPLITS
        if s in by_split
    }
