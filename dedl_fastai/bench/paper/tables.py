"""The paper's tables as data: every value as printed, the run of ours behind each cell, and what contradicts what."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from ...errors import UserError

TABLES = tuple(f"table{n}" for n in range(1, 14))
MORE = ("prior",)  # what the paper compares in its text alone
SEEDS = (26, 77, 334, 517, 994)  # its 7.5
_ROW_OPTION = {"seg": "encoder", "clf": "model"}
_TIME = re.compile(r"(\d+)h(?: (\d+)m)?(?: (\d+)s)?")


@dataclass(frozen=True)
class PaperCell:
    """A published number, and the run of ours that it may be compared with."""

    column: str
    printed: str  # as in the paper: "0.4347 ± 0.0006", "1h 24m 44s"
    value: float | None  # times in seconds
    sd: float | None  # over the seeds
    unit: str  # "s", or "" for scores from 0 to 1
    task: str  # seg, clf
    options: dict[str, Any]  # of `seg` or `clf`, beyond the preset; without seed, folds and data
    metric: str  # path in metrics.json, such as test.at_0.5.iou, or train_seconds
    seeds: tuple[int, ...]
    folds: int  # 0: one model a seed
    why_not: str  # why there is no run for it; "" if there is


@dataclass(frozen=True)
class PaperRow:
    """A row; `key` selects it on the command line."""

    key: str
    label: str  # as printed
    cells: tuple[PaperCell, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper; title and notes are ours."""

    name: str  # table1 ... table13, prior
    number: int  # 0: not a table of the paper
    title: str
    task: str
    metric: str  # in words
    behind: str  # runs behind a cell, as far as the paper tells
    notes: tuple[str, ...]  # what contradicts the table, or is to be known before comparing
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    @property
    def cells(self) -> tuple[PaperCell, ...]:
        """All cells, row by row."""
        return tuple(cell for row in self.rows for cell in row.cells)

    def select(self, rows: Sequence[str]) -> "PaperTable":
        """The table with these rows only, in its own order; all of them if none is named. `UserError` if unknown."""
        wanted = [r.strip().lower() for r in rows if r.strip()]
        known = [row.key for row in self.rows]
        if unknown := [r for r in wanted if r not in known]:
            raise UserError(f"{self.name} has no row {unknown[0]!r}; it has {', '.join(known)}.")
        return replace(self, rows=tuple(r for r in self.rows if r.key in wanted)) if wanted else self


@cache
def load_table(name: str) -> PaperTable:
    """A table by its name ("table2"); `UserError` for an unknown one, with those there are."""
    if name not in (*TABLES, *MORE):
        raise UserError(f"the paper has no table {name!r}; there are {', '.join((*TABLES, *MORE))}.")
    about = json.loads(_text("tables.json"))[name]
    head, *lines = csv.reader(io.StringIO(_text(f"{name}.csv")))
    columns = tuple(head[2:])  # after key and label
    return PaperTable(
        name=name,
        number=TABLES.index(name) + 1 if name in TABLES else 0,
        title=about["title"],
        task=about["task"],
        metric=about["metric"],
        behind=about["behind"],
        notes=tuple(about["notes"]),
        columns=columns,
        rows=tuple(_row(about, columns, line) for line in lines),
    )


def _text(name: str) -> str:
    return (files(__package__) / "published" / name).read_text(encoding="utf-8")


def _row(about: Mapping[str, Any], columns: Sequence[str], line: Sequence[str]) -> PaperRow:
    key, label, *printed = line
    return PaperRow(key, label, tuple(_cell(about, key, c, p) for c, p in zip(columns, printed, strict=True)))


def _cell(about: Mapping[str, Any], key: str, column: str, printed: str) -> PaperCell:
    task = about["task"]
    value, sd = parse_printed(printed)
    why_not = about.get("rows", {}).get(key, {}).get("why_not", "")
    options = {_ROW_OPTION[task]: key, **about.get("options", {}), **about["columns"][column]}
    return PaperCell(
        column=column,
        printed=printed,
        value=value,
        sd=sd,
        unit=about.get("unit", ""),
        task=task,
        options={} if why_not else options,
        metric=about["path"],
        seeds=() if why_not else SEEDS,
        folds=0 if why_not else about.get("folds", 0),
        why_not=why_not,
    )


def parse_printed(text: str) -> tuple[float, float | None]:
    """ "0.4347 ± 0.0006" as value and spread, "1h 24m 44s" as seconds; `ValueError` for anything else."""
    if match := _TIME.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(hours * 3600 + minutes * 60 + seconds), None
    value, _, sd = text.partition(" ± ")
    return float(value), float(sd) if sd else None
