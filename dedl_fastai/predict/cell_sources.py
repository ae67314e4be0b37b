"""Tables of cells by field: those that `predict` wrote, inForm's or Van Buren's, or folders of them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..data.classification.labels import cells_of_row
from ..data.cohort import Cohort
from ..data.layouts import LAYOUTS
from ..data.patients import assign_patients, slide_of
from ..errors import UserError
from ..io.cell_tables import read_cell_table
from ..phenotypes.columns import markers_in
from ..phenotypes.gates.gates import Origin
from .corrections import warn_of_fields_behind
from .kinds import KINDS
from .record import read_records

log = logging.getLogger(__name__)

_INFORM = "_cell_seg_data.txt"


@dataclass
class CellSource:
    """The cells of one field, where they are from, and the image, if it is at hand."""

    name: str
    table: pd.DataFrame
    path: str  # of the table
    image: Path | None = None
    origin: Origin = field(default_factory=Origin)


def cell_sources(inputs: Iterable[str | Path], patient: str = "") -> list[CellSource]:
    """Read the cells of all inputs; `patient` is a regular expression, as for a cohort. `UserError` without cells."""
    sources = [source for path in map(Path, inputs) for source in _sources(path)]
    names = [source.name for source in sources]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise UserError(f"there are two tables of the field {twice!r}: give each once.")
    fields = pd.DataFrame({"field": names, "patient": "", "cells": [s.path for s in sources]})
    patients = assign_patients(fields, patient or None)["patient"]
    for source, name in zip(sources, patients, strict=True):
        source.origin = Origin(slide_of(source.name, source.path), str(name))
    return sources


def _sources(path: Path) -> Iterator[CellSource]:
    if not path.exists():
        raise UserError(f"{path} does not exist.")
    if path.is_file():
        yield from _of_table(path)
    elif (path / "fields").is_dir():
        yield from _of_results(path)
    elif tables := sorted(p for p in path.rglob(f"*{_INFORM}")):
        for table in tables:
            yield from _of_table(table)
    else:
        yield from _of_cohort(path)


def _of_results(folder: Path) -> Iterator[CellSource]:
    records = read_records(folder)
    warn_of_fields_behind(folder, records)
    for record in records:
        table = folder / f"{record['field']}{KINDS['cells'].ending}"
        if not table.is_file():
            raise UserError(f"{table} does not exist: let predict write it (write=cells).")
        yield CellSource(record["field"], _read(table), str(table), _existing(Path(record["image"])))
    if not records:
        raise UserError(f"{folder} holds no finished field: let predict write some.")


def _of_table(path: Path) -> Iterator[CellSource]:
    """The fields of a table; a merged one has several, by its Sample Name."""
    table = _read(path)
    names = table.get("Sample Name", pd.Series(dtype=str)).str.replace(r"\.im3$", "", regex=True)
    if names.nunique() > 1:
        for name, part in table.groupby(names):
            yield CellSource(str(name), part.reset_index(drop=True), str(path))
    else:
        base = path.name.removesuffix(_INFORM).removesuffix(KINDS["cells"].ending).removesuffix(path.suffix)
        yield CellSource(base, table, str(path), _existing(path.with_name(f"{base}_component_data.tif")))


def _of_cohort(folder: Path) -> Iterator[CellSource]:
    if all(find(folder) is None for find in LAYOUTS.values()):
        raise UserError(f"{folder} holds neither results of predict nor cell tables (such as *{_INFORM}).")
    rows = [row for row in Cohort.load(folder).rows() if getattr(row, "cells", "")]
    for row in rows:
        yield CellSource(str(row.field), cells_of_row(row), str(row.cells), _existing(Path(str(row.image))))
    if not rows:
        raise UserError(f"{folder} is a cohort without cell tables: give results of predict, or tables.")


def _read(path: Path) -> pd.DataFrame:
    table = read_cell_table(path)
    table.attrs["path"] = str(path)
    return table


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def markers_of(sources: Sequence[CellSource]) -> list[str]:
    """The markers of which all tables have mean intensities. Raises `UserError` if there are none."""
    found = {source.path: markers_in(source.table.columns) for source in sources}
    common = [m for m in next(iter(found.values())) if all(m in markers for markers in found.values())]
    for path, markers in found.items():
        if not markers:
            raise UserError(f"{path} has no mean intensity of a marker: measure the cells with predict.")
    lost = sorted({m for markers in found.values() for m in markers} - set(common))
    if lost:
        log.warning("%s are left out: not every table has them", ", ".join(lost))
    if not common:
        raise UserError("the tables have no marker in common: name those that you need with `markers`.")
    return common
