"""Which field is for training, validation and testing: by patient, never across one; and K folds."""

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from ..errors import UserError
from ..io.files import read_json, write_json
from .cohort import SPLITS, Cohort

log = logging.getLogger(__name__)

PAPER_PATIENTS = {  # Van Buren's segmentation notebooks, kept by the paper (its 3.1)
    "train": ("Myo089", "Myo253", "Myo368"),
    "valid": ("Myo208", "Myo388"),
    "test": ("Myo231", "Myo511"),
}
METHODS = ("auto", "random", "paper", "column")


def split_cohort(
    cohort: Cohort,
    method: str = "auto",  # auto (the split column if it is filled, else random), random, paper, column
    seed: int = 26,
    valid: float = 0.15,  # share of the fields
    test: float = 0.15,  # share of the fields
    folds: int = 0,  # K folds over the patients that are not for testing; 0: none
    fold: int = 0,  # which of them validates
) -> Cohort:
    """The cohort with its `split` column filled, whole patients at a time; `UserError` if a patient is on two sides."""
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
    done = _with_valid(cohort.with_split(splits), seed, valid)
    if folds:
        done = done.with_split(_fold(done, folds, fold, seed))
    return check_no_leak(done)


def check_no_leak(cohort: Cohort) -> Cohort:
    """The cohort itself, or a `UserError` naming a patient with fields in two of train, valid and test."""
    used = cohort.table[cohort.table.split.isin(["train", "valid", "test"])]
    sides = used.groupby("patient").split.agg(lambda s: sorted(set(s)))
    leaks = sides[sides.map(len) > 1]
    if len(leaks):
        patient, both = leaks.index[0], " and ".join(leaks.iloc[0])
        raise UserError(
            f"patient {patient!r} has fields in {both}: the result would be too good to be true. Put all fields of "
            f"a patient on one side (if they are not of one patient, say so with `patient` or a patient column)."
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
    side = {p.lower(): s for s, patients in PAPER_PATIENTS.items() for p in patients}
    splits = [side.get(p.lower(), "ignore") for p in cohort.table.patient]
    absent = [s for s in ("train", "test") if s not in splits]
    if absent:
        raise UserError(
            f"split=paper is for the patients {', '.join(side)}; {cohort.root} has none of those for {absent[0]}. "
            f"Use split=random."
        )
    return splits


def _random(cohort: Cohort, seed: int, valid: float, test: float) -> list[str]:
    """Patients in random order fill test, then valid, up to their share of the fields; the rest trains."""
    shares = {name: share for name, share in (("test", test), ("valid", valid)) if share > 0}
    sizes = cohort.table.groupby("patient").size()
    if len(sizes) < len(shares) + 1:
        raise UserError(
            f"{cohort.root} has {len(sizes)} patient(s) ({', '.join(sizes.index[:3])}); a split by patient into train"
            f"{''.join(', ' + name for name in reversed(shares))} needs {len(shares) + 1}. Add patients, give a "
            f"cohort.csv with a split column, or patient=field to count each field as its own patient (the test "
            f"result is then too good where fields are of one patient)."
        )
    waiting = _shuffled(sizes.index, seed)
    side = {}
    for i, (name, share) in enumerate(shares.items()):
        later = len(shares) - i  # sides still to be filled after this one, training among them
        side |= dict.fromkeys(_take(waiting, sizes, share * len(cohort), leave=later), name)
    return [side.get(p, "train") for p in cohort.table.patient]


def _shuffled(patients: pd.Index, seed: int) -> list[str]:
    order = sorted(patients)
    random.Random(seed).shuffle(order)
    return order


def _take(waiting: list[str], sizes: pd.Series, n_fields: float, leave: int) -> list[str]:
    """Remove patients from the end of `waiting` until they have about `n_fields` fields; always one, and leave some."""
    taken = [waiting.pop()]
    while len(waiting) > leave and sizes[taken].sum() + sizes[waiting[-1]] / 2 <= n_fields:
        taken.append(waiting.pop())
    return taken


def _with_valid(cohort: Cohort, seed: int, valid: float) -> Cohort:
    """Where a table names training and test fields only, some training patients validate."""
    training = cohort.table[cohort.table.split == "train"]
    if valid <= 0 or (cohort.table.split == "valid").any() or training.empty:
        return cohort
    sizes = training.groupby("patient").size()
    if len(sizes) < 2:
        raise UserError(f"{cohort.root} has no validation fields and one training patient only: mark some as valid.")
    chosen = _take(_shuffled(sizes.index, seed), sizes, valid * len(training), leave=1)
    log.info("no field is marked valid: %d of %d training patients validate", len(chosen), len(sizes))
    moved = (cohort.table.split == "train") & cohort.table.patient.isin(chosen)
    return cohort.with_split(cohort.table.split.mask(moved, "valid"))


def _fold(cohort: Cohort, folds: int, fold: int, seed: int) -> list[str]:
    """Fold `fold` of `folds` validates, the other patients of train and valid train, test stays as it is."""
    table = cohort.table
    pool = table.index[table.split.isin(["train", "valid"])]
    n_patients = table.loc[pool, "patient"].nunique()
    if not 2 <= folds <= n_patients:
        raise UserError(f"folds={folds} is not possible: {n_patients} patients are not for testing; use 2 to that.")
    if not 0 <= fold < folds:
        raise UserError(f"fold={fold} does not exist: the {folds} folds are counted from 0 to {folds - 1}.")
    kfold = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    parts = list(kfold.split(pool, groups=table.loc[pool, "patient"]))
    splits = table.split.to_numpy(dtype=object, copy=True)
    splits[pool] = "train"
    splits[pool[parts[fold][1]]] = "valid"
    return list(splits)


def save_splits(cohort: Cohort, path: str | Path) -> None:
    """Write `splits.json`: the split and patient of every field."""
    fields = {r.field: {"split": r.split, "patient": r.patient} for r in cohort.table.itertuples()}
    write_json(path, {"counts": split_counts(cohort), "fields": fields})


def apply_splits(cohort: Cohort, path: str | Path, may_leak: bool = False) -> Cohort:
    """The cohort split as a `splits.json` says; `UserError` for unknown fields, or a patient leak if it may not be."""
    value = read_json(path)
    fields = value.get("fields") if isinstance(value, dict) else None
    if not isinstance(fields, dict) or not all(
        isinstance(v, dict) and v.get("split") in SPLITS for v in fields.values()
    ):
        raise UserError(f'{path} is not a splits file: {{"fields": {{"NAME": {{"split": "train"}}}}}} is needed.')
    unknown = sorted(set(fields) - set(cohort.table.field))
    if unknown:
        raise UserError(f"{path} names the field {unknown[0]!r}, which {cohort.root} does not hold.")
    missing = [f for f in cohort.table.field if f not in fields]
    if missing:
        log.warning("%d fields are not in %s and are left out (the first: %s)", len(missing), path, missing[0])
    patients = [fields.get(r.field, {}).get("patient") or r.patient for r in cohort.table.itertuples()]
    cohort = cohort.with_split([fields.get(f, {}).get("split", "ignore") for f in cohort.table.field])
    cohort.table["patient"] = patients
    return cohort if may_leak else check_no_leak(cohort)


def split_counts(cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Per split: how many fields, and the patients."""
    by_split: dict[str, pd.DataFrame] = dict(iter(cohort.table.groupby("split")))
    return {
        s: {"fields": len(by_split[s]), "patients": sorted(np.unique(by_split[s].patient))}
        for s in SPLITS
        if s in by_split
    }
