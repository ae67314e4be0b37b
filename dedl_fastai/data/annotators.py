"""The masks of several annotators: columns `mask_NAME` of a cohort's table, beside `mask`, which training uses."""

import pandas as pd

PREFIX = "mask_"


def annotators_of(table: pd.DataFrame) -> dict[str, str]:
    """Return name -> column of the annotators of whom a cohort's table has masks, in the order of the columns."""
    return {column.removeprefix(PREFIX): column for column in mask_columns(table) if table[column].ne("").any()}


def mask_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of annotators' masks."""
    return [str(c) for c in table.columns if str(c).startswith(PREFIX)]
