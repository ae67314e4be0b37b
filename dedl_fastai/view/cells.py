"""`Cells`: the table of cells of a field: places and types in memory, whole rows read from the file when asked for."""

import csv
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..predict.edited_labels import Box
from .stamps import stamp_of, stamp_of_open

_PROBABILITY = "phenotype_probability"
_IN_MEMORY = ("label", "x_px", "y_px", "phenotype", _PROBABILITY)
_WAIT_S = 0.3  # for a table, before a tile is drawn without it
_BLOCK = 1 << 24  # bytes


class Cells:
    """The table of cells as the file is now, read in the background; empty without a file.

    That of a slide has hundreds of thousands of rows, which would need a gigabyte.
    """

    def __init__(self, path: Path):
        self.path, self.is_ready = path, False
        self.stamp = stamp_of(path)
        self.types: list[str] = []
        self.type_codes = np.zeros(1, np.int32)  # by label: 1 + index in `types`; 0 for cells without a type
        self._places = np.zeros((0, 3), np.float32)  # label, y, x
        self._probability: np.ndarray | None = None  # of the type of each cell, if a classifier gave it
        self._rows: dict[str, Any] = {"label": np.zeros(0, np.int64), "start": np.zeros(1, np.int64), "names": []}
        self._thread = threading.Thread(target=self._read, name=f"cells of {path.name}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            if self.path.is_file():
                self._take(pd.read_csv(self.path, usecols=lambda name: name in _IN_MEMORY))
        finally:
            self.is_ready = True

    def _take(self, table: pd.DataFrame) -> None:
        label = table["label"].to_numpy(np.int64)
        starts = _line_starts(self.path)
        self._rows = {"label": label, "order": np.argsort(label), "start": starts, "names": _first_line(self.path)}
        if {"x_px", "y_px"} <= set(table):
            self._places = table[["label", "y_px", "x_px"]].to_numpy(np.float64)
        if _PROBABILITY in table:
            self._probability = table[_PROBABILITY].to_numpy(np.float32)
        if "phenotype" in table:
            found = table["phenotype"].astype("category")
            codes = np.zeros(int(label.max(initial=0)) + 1, np.int32)
            codes[label] = found.cat.codes + 1
            self.types, self.type_codes = [str(c) for c in found.cat.categories], codes

    def wait(self, most_s: float = _WAIT_S) -> None:
        """Wait for the table, but not longer than this."""
        self._thread.join(most_s)

    def row(self, label: int) -> dict[str, Any]:
        """The row of a nucleus, without missing values; {} for one that is not in the table, or not read yet.

        There are none either when another process has written the file since, as all lines are in other places then.
        """
        rows = self._rows
        if not len(rows["label"]):
            return {}
        order = rows["order"]
        place = int(np.searchsorted(rows["label"], label, sorter=order))
        if place == len(order) or rows["label"][order[place]] != label:
            return {}
        with self.path.open("rb") as f:
            if stamp_of_open(f) != self.stamp:
                return {}
            f.seek(rows["start"][order[place]])
            values = next(csv.reader([f.readline().decode("utf-8", errors="replace")]))
        pairs = ((name, _value(text)) for name, text in zip(rows["names"], values, strict=False))
        return {name: value for name, value in pairs if value is not None}

    @property
    def version(self) -> str:
        """Another text for each content of the file: a part of addresses, so that browsers ask for pictures again."""
        return "-".join(f"{n:x}" for n in self.stamp or ())

    @property
    def has_probability(self) -> bool:
        """Whether the types have a probability, which the table's first line says before the rest is read."""
        return self.path.is_file() and _PROBABILITY in _first_line(self.path)

    def unsure(self, n: int) -> list[dict[str, Any]]:
        """The n cells with the least probable types, as label, place (x, y) and value; none if that is not known."""
        self.wait()
        if self._probability is None or not len(self._places):
            return []
        order = np.argsort(np.nan_to_num(self._probability, nan=-1.0), kind="stable")[:n]
        return [listed(self._places[i], float(self._probability[i])) for i in order]

    def inside(self, box: Box, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels of the cells in a box of a reduced level, and their rows and columns in it."""
        label, y, x = self._places.T
        rows, columns = ((v / (1 << level)).astype(np.int64) for v in (y, x))
        found = (rows >= box[0]) & (rows < box[2]) & (columns >= box[1]) & (columns < box[3])
        return label[found].astype(np.int64), rows[found] - box[0], columns[found] - box[1]


def listed(place: np.ndarray, value: float) -> dict[str, Any]:
    """A cell, given as (label, y, x), in a list of the page: its centre in pixels from the corner of the field."""
    label, y, x = place.tolist()
    return {"label": int(label), "x": x + 0.5, "y": y + 0.5, "value": value if math.isfinite(value) else None}


def _first_line(path: Path) -> list[str]:
    """The names of the columns."""
    with path.open("rb") as f:
        return next(csv.reader([f.readline().decode("utf-8")]), [])


def _line_starts(path: Path) -> np.ndarray:
    """Where the lines after the first one begin in a file, in bytes."""
    starts, offset = [], 0
    with path.open("rb") as f:
        while block := f.read(_BLOCK):
            starts.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + offset + 1)
            offset += len(block)
    return np.concatenate([np.zeros(0, np.int64), *starts])


def _value(text: str) -> Any:
    """A field of the table: a number with six digits, a truth value, a text; None for missing ones."""
    if text in ("True", "False"):
        return text == "True"
    try:
        number = float(text)
    except ValueError:
        return text or None
    if not math.isfinite(number):
        return None
    return int(text) if text.isdecimal() else float(f"{number:.6g}")
