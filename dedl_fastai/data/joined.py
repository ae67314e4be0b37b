"""`load_cohorts`: the fields of several cohorts as one, such as corrections and the fields a model was trained on."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .cohort import Cohort, check_unique

log = logging.getLogger(__name__)


def load_cohorts(paths: Sequence[str | Path], patient: str | None = None) -> Cohort:
    """Load cohorts and return their fields as one; of an image in several of them, the first has it.

    So corrections of a field, given first, replace the truth that it had. Raises `UserError` as `Cohort.load` does, and
    for different images of the same name.
    """
    cohorts = [Cohort.load(path, patient) for path in paths]
    if len(cohorts) == 1:
        return cohorts[0]
    table = pd.concat([c.table for c in cohorts], ignore_index=True).fillna("")
    is_again = table.image.map(lambda p: str(Path(p).resolve())).duplicated()
    if is_again.any():
        log.info("%d fields are in several of the cohorts: the first with each is used", is_again.sum())
    table = table[~is_again]
    check_unique(table, cohorts[0].root)
    return Cohort(
        table.sort_values("field", kind="stable").reset_index(drop=True),
        cohorts[0].root,
        "+".join(c.layout for c in cohorts),
        [problem for c in cohorts for problem in c.problems],
    )
