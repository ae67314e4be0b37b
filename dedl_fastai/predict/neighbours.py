"""`find_neighbours`: which cell types are neighbours in each patient, and how groups of patients differ."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..cells.groups import LEVEL, compare_groups, too_few
from ..cells.neighbours import TISSUE, neighbourhoods
from ..cells.options import PERMUTATIONS, RADIUS_UM
from ..errors import UserError
from ..io.files import written_whole
from ..io.text_tables import read_text_table
from ..phenotypes.classify import other_last
from .cell_sources import CellSource, cell_sources
from .neighbours_figure import groups_figure, neighbours_figure

log = logging.getLogger(__name__)

_TYPES, _TISSUES = ("phenotype", "Phenotype"), ("tissue", "Tissue Category")  # of our tables, of inForm's
_POSITIONS = (("x_um", "y_um"), ("Cell X Position", "Cell Y Position"), ("x_px", "y_px"))


@dataclass(frozen=True)
class Neighbours:
    """Pairs of types in each patient; over all patients; and between groups of patients, with notes for the reader."""

    patients: pd.DataFrame  # as `neighbourhoods` returns them, with the columns patient and fields
    pairs: pd.DataFrame  # one row per pair: mean log2 ratio, and in how many patients it is more or less than chance
    groups: pd.DataFrame | None  # as `compare_groups` returns them
    notes: list[str]


def find_neighbours(
    inputs: Sequence[str | Path],  # folders that predict wrote, cell tables with phenotypes, or folders of them
    out: str | Path,
    *,
    groups: str | Path = "",  # CSV table with the columns patient and group
    radius_um: float = RADIUS_UM,
    permutations: int = PERMUTATIONS,
    pixel_size_um: float = 0.0,  # of tables with positions in pixels
    patient: str = "",  # regular expression that finds the patient in a field's name
    seed: int = 0,
) -> Neighbours:
    """Write neighbours.csv (pairs of types in each patient) and its picture, with `groups` also groups.csv and its own.

    See `neighbourhoods` and `compare_groups`. Raises `UserError` for tables without types or positions.
    """
    sources = cell_sources(inputs, patient)
    group_of = read_groups(groups, {s.origin.patient for s in sources}) if groups else {}
    of_patient: dict[str, list[pd.DataFrame]] = {}
    for source, table in zip(sources, placed_cells(sources, pixel_size_um), strict=True):
        of_patient.setdefault(source.origin.patient, []).append(table)
    patients = _of_patients(of_patient, radius_um, permutations, seed)
    compared = compare_groups(patients, group_of, seed) if groups else None
    notes = too_few(group_of.values())
    found = Neighbours(patients, pairs=over_patients(patients), groups=compared, notes=notes)
    _write(Path(out), found, radius_um)
    return found


def _of_patients(
    tables: Mapping[str, Sequence[pd.DataFrame]], radius_um: float, permutations: int, seed: int
) -> pd.DataFrame:
    parts = []
    for name, fields in tables.items():
        part = neighbourhoods(fields, radius_um, permutations=permutations, seed=seed)
        part.insert(0, "patient", name)
        part.insert(1, "fields", len(fields))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def placed_cells(sources: Iterable[CellSource], pixel_size_um: float = 0.0) -> list[pd.DataFrame]:
    """The cells of each table with `x_um`, `y_um`, `phenotype` (all with the same categories) and `tissue`, if known.

    Positions of inForm's tables are in um unless a column name says pixels. They stay in pixels if no pixel size is
    known, which is logged; tables with both are refused with a `UserError`.
    """
    tables, in_pixels = [], []
    for source in sources:
        table, unit = _placed(source, pixel_size_um)
        tables.append(table)
        if len(table):  # without cells, positions have no unit
            in_pixels.append(unit == "px")
    if any(in_pixels) and not all(in_pixels):
        raise UserError("some tables have positions in um and others in pixels: give pixel_size_um for the latter.")
    if any(in_pixels):
        log.warning("the pixel size is not known: the radius is in pixels; `pixel_size_um` gives it")
    names = other_last(sorted({name for table in tables for name in table["phenotype"].dropna()}))
    if not names:
        raise UserError("no cell has a type: predict with `rules` or `cell_types`, or export phenotypes from inForm.")
    return [t.assign(phenotype=pd.Categorical(t["phenotype"], categories=names)) for t in tables]


def _placed(source: CellSource, pixel_size_um: float) -> tuple[pd.DataFrame, str]:
    """The cells of a table, and the unit of their positions."""
    table = source.table
    types = next((c for c in _TYPES if c in table), None)
    if types is None:
        raise UserError(
            f"{source.path} has no types of cells (phenotype): predict with `rules` or `cell_types`, or export "
            f"phenotypes from inForm."
        )
    pair = next((p for p in _POSITIONS if set(p) <= {*table.columns} and table[p[0]].notna().all()), None)
    if pair is None:
        raise UserError(f"{source.path} has no positions of cells (x_um and y_um, or Cell X Position).")
    is_px = pair[0] == "x_px" or (pair[0] != "x_um" and any("(pixels)" in c for c in table.columns))
    factor = pixel_size_um if is_px and pixel_size_um else 1.0
    xy = {f"{axis}_um": table[name].to_numpy(float) * factor for axis, name in zip("xy", pair, strict=True)}
    names = table[types].fillna("").astype(str).str.strip()
    found = pd.DataFrame({**xy, "phenotype": names.where(names != "")})
    tissue = next((c for c in _TISSUES if c in table), None)
    if tissue is not None:
        found[TISSUE] = table[tissue].fillna("").astype(str)
    return found, "px" if is_px and not pixel_size_um else "um"


def read_groups(path: str | Path, patients: Iterable[str]) -> dict[str, str]:
    """Return the group of each patient from a CSV table (columns patient and group). `UserError` if none has one."""
    table, known = read_text_table(path), set(patients)
    missing = {"patient", "group"} - {*table.columns}
    if missing:
        raise UserError(f"{path} has no column {min(missing)}: it needs the columns patient and group.")
    rows = zip(table["patient"].str.strip(), table["group"].str.strip(), strict=True)
    given: dict[str, str] = {}
    for name, group in rows:
        if given.setdefault(name, group) != group:
            raise UserError(f"{path}: the patient {name!r} is in two groups, {given[name]} and {group}.")
    found = {name: group for name, group in given.items() if name in known and group}
    if not found:
        raise UserError(f"{path} has a group for none of the patients {', '.join(sorted(known)[:8])}.")
    for names, text in ((known - {*found}, "have no group"), ({*given} - known, "have no cells here")):
        if names:
            log.warning("%s: %s %s and are left out", path, ", ".join(sorted(names)), text)
    return found


def over_patients(patients: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of types (in one direction): patients with both, mean log2 ratio, and patients beyond chance."""
    order = {name: i for i, name in enumerate(dict.fromkeys(patients["from"]))}
    table = patients[patients["from"].map(order) <= patients["to"].map(order)].dropna(subset=["log2_ratio"])
    is_beyond = table["q"] < LEVEL
    table = table.assign(more=is_beyond & (table["z"] > 0), less=is_beyond & (table["z"] < 0))
    return table.groupby(["from", "to"], sort=False, as_index=False).agg(
        patients=("patient", "size"), log2_ratio=("log2_ratio", "mean"), more=("more", "sum"), less=("less", "sum")
    )


def _write(out: Path, found: Neighbours, radius_um: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    written = {"neighbours": (found.patients, neighbours_figure(found.pairs, radius_um))}
    if found.groups is not None:
        written["groups"] = (found.groups, groups_figure(found.groups))
    for name, (table, figure) in written.items():
        with written_whole(out / f"{name}.csv") as tmp:
            table.to_csv(tmp, index=False)
        with written_whole(out / f"{name}.png") as tmp:
            figure.savefig(tmp, dpi=120, format="png")
