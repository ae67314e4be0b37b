"""`Cells`: the table of cells of a field, looked up by label and by place."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..predict.edited_labels import Box

_TEXT = {"phenotype": "category"}


class Cells:
    """The table of cells that `predict` wrote; empty if it wrote none."""

    def __init__(self, path: Path):
        self.table = _read(path) if path.is_file() else pd.DataFrame({"label": np.zeros(0, np.int64)})
        self._index = pd.Index(self.table["label"])

    def row(self, label: int) -> dict[str, Any]:
        """The row of a nucleus, without missing values; {} for one that is not in the table."""
        if label not in self._index:
            return {}
        row = self.table.iloc[self._index.get_loc(label)]
        return {name: value for name, value in ((str(n), _plain(v)) for n, v in row.items()) if value is not None}

    def inside(self, box: Box, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels of the cells in a box of a reduced level, and their rows and columns in it."""
        if "x_px" not in self.table:
            empty = np.zeros(0, np.int64)
            return empty, empty, empty
        rows, columns = ((self.table[c].to_numpy() / (1 << level)).astype(np.int64) for c in ("y_px", "x_px"))
        found = (rows >= box[0]) & (rows < box[2]) & (columns >= box[1]) & (columns < box[3])
        return self._index.to_numpy()[found], rows[found] - box[0], columns[found] - box[1]

    def colors(
        self, colors: Mapping[str, tuple[int, int, int]], rest: tuple[int, int, int], highest: int
    ) -> np.ndarray:
        """The colour of each label up to `highest` by its type, as uint8 (highest + 1, 3); `rest` for those without."""
        table = np.tile(np.array(rest, np.uint8), (highest + 1, 1))
        if "phenotype" not in self.table:
            return table
        for name, color in colors.items():
            labels = self._index.to_numpy()[(self.table["phenotype"] == name).to_numpy()]
            table[labels[labels <= highest]] = color
        return table

    def by_label(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows as an array indexed by label, with 0 for labels that are not in the table."""
        labels = self._index.to_numpy()
        table = np.zeros(int(labels.max(initial=0)) + 1, values.dtype)
        table[labels] = values
        return table


def _read(path: Path) -> pd.DataFrame:
    """Read a table with intensities as float32, half the memory of a slide's."""
    names = pd.read_csv(path, nrows=0).columns
    small = {n: np.float32 for n in names if n.endswith((" mean", " median", " sum"))}
    table = pd.read_csv(path, dtype=small | {n: t for n, t in _TEXT.items() if n in names})
    table.attrs["path"] = str(path)
    return table


def _plain(value: Any) -> Any:
    """A value as JSON has it, with six digits; None for missing ones."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return None if pd.isna(value) else str(value)
