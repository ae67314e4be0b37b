"""The paper's tables as data: every value as printed, the training behind each cell, and contradictions."""

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
# Not the paper's tables: two numbers of its text, variants of APP, scores against the number of labelled fields, and
# what each choice of preset fast does for nuclei.
MORE = ("prior", "app-ablation", "efficiency", "seg-ablation")
SEEDS = (26, 77, 334, 517, 994)  # the paper's, 7.5
_ROW_OPTION = {"seg": "encoder", "clf": "model"}
_TIME = re.compile(r"(\d+)h(?: (\d+)m)?(?: (\d+)s)?")


@dataclass(frozen=True)
class PaperCell:
    """A published number, and the training that it may be compared with."""

    column: str
    printed: str  # as in the paper: "0.4347 ± 0.0006", "1h 24m 44s"; "" if nothing is published
    value: float | None  # times in seconds
    sd: float | None  # over the seeds
    unit: str  # "s" (shown as "1h 24m"), "seconds" (as a number), "ratio", or "" for scores from 0 to 1
    task: str  # seg, clf
    options: dict[str, Any]  # of `seg` or `clf`, beyond the preset; without seed, folds and data
    metric: str  # as in `grid.run_spec.result_of`, such as test.at_0.5.iou or train_seconds
    seeds: tuple[int, ...]
    folds: int  # 0: one model per seed
    why_not: str  # why the cell has no run; "" if it has


@dataclass(frozen=True)
class PaperRow:
    """A row; users select it by its `key`."""

    key: str
    label: str  # as printed
    cells: tuple[PaperCell, ...]


@dataclass(frozen=True)
class Beside:
    """Another number of a cell's runs, which reports show in a column of its own; the paper has none."""

    column: str
    metric: str  # as that of a cell
    unit: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper; title and notes are not the paper's."""

    name: str  # table1 ... table13, or one of `MORE`
    number: int  # 0: not a table of the paper
    title: str
    task: str
    metric: str  # in words
    behind: str  # runs behind a cell, if the paper says so
    notes: tuple[str, ...]  # contradictions, and caveats of a comparison
    columns: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    baseline: str = ""  # key of the row that the others are compared with; their options then win over a user's
    row_options: tuple[str, ...] = ()  # options that only the rows set
    beside: tuple[Beside, ...] = ()  # further numbers of each cell's runs
    rows_paired: bool = False  # the report compares rows with the baseline, seed by seed; otherwise APP with none
    curve: str = ""  # what the keys of the rows count: the figure is a curve over it

    @property
    def cells(self) -> tuple[PaperCell, ...]:
        """All cells, row by row."""
        return tuple(cell for row in self.rows for cell in row.cells)

    @property
    def is_published(self) -> bool:
        """Whether any cell has a published value."""
        return any(cell.value is not None for cell in self.cells)

    def select(self, rows: Sequence[str], columns: Sequence[str] = ()) -> "PaperTable":
        """Return the table with these rows and the baseline, and these columns, in its own order; all if none is named.

        Raises `UserError` for an unknown row or column.
        """
        keys = _checked("row", rows, [row.key for row in self.rows], table=self.name)
        names = _checked("column", columns, [c.lower() for c in self.columns], table=self.name)
        kept = tuple(c for c in self.columns if not names or c.lower() in names)
        chosen = [r for r in self.rows if not keys or r.key in (*keys, self.baseline)]
        cut = [replace(r, cells=tuple(c for c in r.cells if c.column in kept)) for r in chosen]
        return replace(self, rows=tuple(cut), columns=kept)


def _checked(what: str, given: Sequence[str], known: Sequence[str], table: str) -> list[str]:
    """Return the given names of rows or columns; raise a `UserError` for an unknown one."""
    wanted = [name.strip().lower() for name in given if name.strip()]
    if unknown := [name for name in wanted if name not in known]:
        raise UserError(f"{table} has no {what} {unknown[0]!r}; it has {', '.join(known)}.")
    return wanted


@cache
def load_table(name: str) -> PaperTable:
    """Return a table by its name ("table2"); raises `UserError` for an unknown name."""
    if name not in (*TABLES, *MORE):
        raise UserError(f"there is no table {name!r}; the tables are {', '.join((*TABLES, *MORE))}.")
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
        baseline=about.get("baseline", ""),
        row_options=tuple(about.get("row_options", ())),
        rows_paired=about.get("rows_paired", False),
        curve=about.get("curve", ""),
        beside=tuple(Beside(c, m["path"], m.get("unit", "")) for c, m in about.get("beside", {}).items()),
    )


def _text(name: str) -> str:
    return (files(__package__) / "published" / name).read_text(encoding="utf-8")


def _row(about: Mapping[str, Any], columns: Sequence[str], line: Sequence[str]) -> PaperRow:
    key, label, *printed = line
    return PaperRow(key, label, tuple(_cell(about, key, c, p) for c, p in zip(columns, printed, strict=True)))


def _cell(about: Mapping[str, Any], key: str, column: str, printed: str) -> PaperCell:
    task, about_row = about["task"], about.get("rows", {}).get(key, {})
    measured = about.get("metrics", {}).get(column, about)
    value, sd = parse_printed(printed) if printed else (None, None)
    why_not = about_row.get("why_not", "")
    if isinstance(why_not, Mapping):  # of single columns
        why_not = why_not.get(column, "")
    row_options = about_row.get("options", {_ROW_OPTION[task]: key})
    options = {**row_options, **about.get("options", {}), **about["columns"][column]}
    return PaperCell(
        column=column,
        printed=printed,
        value=value,
        sd=sd,
        unit=measured.get("unit", ""),
        task=task,
        options={} if why_not else options,
        metric=measured["path"],
        seeds=() if why_not else SEEDS,
        folds=0 if why_not else about.get("folds", 0),
        why_not=why_not,
    )


def parse_printed(text: str) -> tuple[float, float | None]:
    """Parse "0.4347 ± 0.0006" into value and spread, "1h 24m 44s" into seconds; raises `ValueError` for other text."""
    if match := _TIME.fullmatch(text):
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(hours * 3600 + minutes * 60 + seconds), None
    value, _, sd = text.partition(" ± ")
    return float(value), float(sd) if sd else None
