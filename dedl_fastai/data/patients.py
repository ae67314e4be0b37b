"""Assign each field to a patient: by a regular expression, the manifest, the field's name or the slide."""

import logging
import re
from pathlib import Path

import pandas as pd

from ..io.field_names import patient_by

log = logging.getLogger(__name__)

MYO = re.compile(r"Myo\d+", re.IGNORECASE)  # Van Buren's patients: 121919_Myo089_[7559,39143]
_POSITION = re.compile(r"_\[\d+(\.\d+)?,\d+(\.\d+)?\].*$")  # inForm's stage position, which follows the slide's name


def assign_patients(table: pd.DataFrame, rule: str | None = None) -> pd.DataFrame:
    """Fill the `patient` column.

    `rule` is a regular expression that is searched for in the field's name (the patient is its first group, or the
    whole match if it has no group), or "field" to count each field as its own patient. Without a rule, the patient is
    the manifest's, else `Myo<digits>` in the name, else the slide (from inForm's cell table, else the name before
    `_[x,y]`), else the field itself, which is logged.
    """
    if rule:
        return table.assign(patient=[patient_by(rule, f) for f in table.field])
    patients = [str(row.patient) or patient_of(str(row.field), getattr(row, "cells", "")) for row in table.itertuples()]
    n_alone = sum(p == f for p, f in zip(patients, table.field, strict=True))
    if n_alone and n_alone == len(table) > 1:
        log.warning(
            "no patient could be determined from the %d field names: each field counts as its own patient. "
            "If several fields are of one patient, give patient=REGEX or a patient column in cohort.csv.",
            len(table),
        )
    return table.assign(patient=patients)


def patient_of(field: str, cells: str = "") -> str:
    """Return the patient of a field by its name, else its slide; `cells` is the path of its inForm table, if any."""
    match = MYO.search(field)
    return match[0] if match else slide_of(field, cells)


def slide_of(field: str, cells: str = "") -> str:
    """Return the slide of a field: that of its inForm table, else its name before `_[x,y]`."""
    return _slide_of_table(cells) or _POSITION.sub("", field)


def _slide_of_table(path: str) -> str:
    """Return the `Slide ID` of the first cell of an inForm table ("" if it has none), from its first two lines."""
    if not path or not Path(path).is_file():
        return ""
    with Path(path).open(encoding="latin-1") as f:
        header, first_row = (f.readline().rstrip("\r\n").split("\t") for _ in range(2))
    return dict(zip(header, first_row, strict=False)).get("Slide ID", "").strip()
