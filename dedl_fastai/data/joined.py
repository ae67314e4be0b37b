"""`load_cohorts`: the fields of several cohorts as one, such as corrections and the fields a model was trained on."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..io.corrections import log_of
from .cohort import Cohort, check_unique

log = logging.getLogger(__name__)


def load_cohorts(paths: Sequence[str | Path], patient: str | None = None) -> Cohort:
    """Load cohorts and return their fields as one; of an image in several of them, the first has it.

    So corrections of a field, given first, replace the truth that it had; the field keeps its name, patient and split.
    Raises `UserError` as `Cohort.load` does, and for different images of the same name.
    """
    cohorts = [Cohort.load(path, patient) for path in paths]
    if len(cohorts) == 1:
        return cohorts[0]
    table = pd.concat([c.table for c in cohorts], ignore_index=True).fillna("")
    same = table.image.map(lambda p: str(Path(p).resolve()))
    is_again = same.duplicated()
    if is_again.any():
        log.info("%d fields are in several of the cohorts: the first with each is used", is_again.sum())
    table = _with_names_of_replaced(table, same)[~is_again]
    check_unique(table, cohorts[0].root)
    return Cohort(
        table.sort_values("field", kind="stable").reset_index(drop=True),
        cohorts[0].root,
        "+".join(c.layout for c in cohorts),
        [problem for c in cohorts for problem in c.problems],
    )


def with_training_fields(cohort: Cohort, more: Cohort) -> Cohort:
    """Return the split cohort with further training fields. Raises `UserError` if it has an image of the same name."""
    table = pd.concat([cohort.table, more.table.assign(split="train")]).fillna("")
    table = table.sort_values("field", kind="stable").reset_index(drop=True)
    check_unique(table, more.root)
    return replace(cohort, table=table, layout=f"{cohort.layout}+{more.layout}")


def _with_names_of_replaced(table: pd.DataFrame, same: pd.Series) -> pd.DataFrame:
    """Give corrected fields the name, patient and split of the row with the same image that they replace.

    Results know only the name of the image file, and a manifest may have other names, patients and splits.
    """
    is_corrected = table["mask"].map(lambda path: bool(path) and log_of(path) is not None)
    known = table[~is_corrected].assign(same=same[~is_corrected]).drop_duplicates("same").set_index("same")
    replaces = is_corrected & same.isin(known.index)
    names = [c for c in ("field", "patient", "split") if c in table]
    table.loc[replaces, names] = known.loc[same[replaces], names].to_numpy()
    return table
