"""The agreement of annotators as a table for the terminal."""

import pandas as pd

from .lines import line

_COLUMNS = {"n_fields": "fields", "iou": "IoU", "dice": "Dice", "kappa": "kappa", "f1_50": "F1 0.5"}
_WIDTH = 9


def agreement_table(agreement: pd.DataFrame) -> str:
    """Return a line for each pair of annotators, and for each annotator and the consensus."""
    rows = [(f"{row['annotator']} - {row['other']}", row) for row in agreement.to_dict("records")]
    lines = [line(name, (_cell(row[c]) for c in _COLUMNS), _WIDTH) for name, row in rows]
    return "\n".join([line("", _COLUMNS.values(), _WIDTH), *lines])


def _cell(value: float | None) -> str:
    return "-" if pd.isna(value) else f"{value:.4f}" if isinstance(value, float) else str(value)
