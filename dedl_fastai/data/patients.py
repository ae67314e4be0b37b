"""Which patient a field is of: by a rule on its name, the manifest, the slide, or each field its own."""

import logging
import re
from pathlib import Path

import pandas as pd

from ..errors import UserError

log = logging.getLogger(__name__)

MYO = re.compile(r"Myo\d+", re.IGNORECASE)  # Van Buren's patients: 121919_Myo089_[7559,39143]
_POSITION = re.compile(r"_\[\d+(\.\d+)?,\d+(\.\d+)?\].*$")  # inForm's stage position: what is before it is the slide


def assign_patients(table: pd.DataFrame, rule: str | None = None) -> pd.DataFrame:
    """Fill the `patient` column.

    `rule` is a regular expression searched in the field's name (its first group, else the whole match is the patient),
    or "field" for each field its own patient. Without a rule: what the manifest says, then `Myo<digits>`, then the
    slide (inForm's cell table, else the name before `_[x,y]`), then the field itself, which is logged.
    """
    if rule == "field":
        return table.assign(patient=table.field)
    if rule:
        return table.assign(patient=[_by_regex(f, _compiled(rule)) for f in table.field])
    patients = [row.patient or _guessed(row) for row in table.itertuples()]
    alone = sum(p == f for p, f in zip(patients, table.field, strict=True))
    if alone and alone == len(table) > 1:
        log.warning(
            "no patient could be told from the %d field names: each field counts as its own patient. "
            "If some are of one patient, give patient=REGEX or a patient column in cohort.csv.",
            len(table),
        )
    return table.assign(patient=patients)


def _compiled(rule: str) -> re.Pattern:
    try:
        return re.compile(rule)
    except re.error as e:
        raise UserError(f"patient={rule!r} is not a regular expression ({e}).") from e


def _by_regex(name: str, rule: re.Pattern) -> str:
    match = rule.search(name)
    patient = match and match[1 if rule.groups else 0]  # None or "" too where the group took no part or is empty
    if not patient:
        raise UserError(f"patient={rule.pattern!r} finds no patient in the field name {name!r}.")
    return patient


def _guessed(row) -> str:
    if match := MYO.search(row.field):
        return match[0]
    return _slide_of_table(getattr(row, "cells", "")) or _POSITION.sub("", row.field)


def _slide_of_table(path: str) -> str:
    """`Slide ID` of the first cell of an inForm table ("" if there is none), read from its first two lines."""
    if not path or not Path(path).is_file():
        return ""
    with Path(path).open(encoding="latin-1") as f:
        header, first = (f.readline().rstrip("\r\n").split("\t") for _ in range(2))
    return dict(zip(header, first, strict=False)).get("Slide ID", "").strip()
