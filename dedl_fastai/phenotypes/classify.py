"""The class of each cell: from its phenotype, from 0/1 columns, or from intensities and thresholds of markers."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pandas as pd

from ..errors import UserError
from .gates.fit import Cuts
from .gates.gates import Gates, Origin
from .marker_levels import described, gates_of_rules, given_by_marker, levels_of
from .rules import Rules

OTHER = "other"


@dataclass
class CellClasses:
    """Classes of the cells of several tables ("" for no class), names of all classes, and how they were determined."""

    classes: dict[str, pd.Series]
    vocab: list[str]
    how: str
    rules_text: str = ""
    thresholds: dict[str, Cuts] = field(default_factory=dict)  # marker -> threshold in use, given or computed
    gates: Gates | None = None  # of the markers whose intensities were used


def parse_thresholds(value: str | Mapping[str, Cuts] | None, name: str = "thresholds") -> dict[str, Cuts]:
    """Parse "CD19=1.2,CD4=3/8", or copy a mapping, as {marker: value, or the two values of dim and bright cells}.

    Raises `UserError` for other text.
    """
    if not isinstance(value, str):
        return dict(value or {})
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    try:
        return {marker.strip(): _cuts(text) for marker, _, text in pairs}
    except ValueError as e:
        raise UserError(
            f"{name}={value!r} cannot be read: write CD19=1.2,CD4=3, or CD4=3/8 for dim and bright cells."
        ) from e


def _cuts(text: str) -> Cuts:
    cuts = [float(number) for number in text.split("/")]
    if len(cuts) > 2 or cuts != sorted(cuts) or not all(map(math.isfinite, cuts)):
        raise ValueError(text)
    return cuts[0] if len(cuts) == 1 else cuts


def classify_cells(
    tables: Mapping[str, pd.DataFrame],  # field -> table of cells
    rules: Rules,
    thresholds: Mapping[str, Cuts] | None = None,  # marker -> intensity above which a cell is positive
    fit_on: Collection[str] | None = None,  # fields that gates are determined from; default: all
    *,
    gates: Gates | None = None,  # for markers without a given threshold; default: one for each, over all fields
    origins: Mapping[str, Origin] | None = None,  # field -> slide and patient, for gates of slides or patients
) -> CellClasses:
    """Determine the class of every cell.

    Classes are the phenotypes if a table has a filled Phenotype column, and neither thresholds nor gates are given.
    Otherwise the rules apply: a marker is positive by its 0/1 column, by the given threshold or gate, or by a gate that
    is determined from the cells of all tables in `fit_on`. Raises `UserError` if a table lacks a column that is needed.
    """
    if not thresholds and gates is None and any(has_phenotypes(t) for t in tables.values()):
        return classes_by_phenotype(tables)
    given = given_by_marker(thresholds or {}, rules)
    origins = origins or {}
    gates = gates_of_rules(tables, rules, given=given, gates=gates, fit_on=fit_on)
    levels = {n: levels_of(t, n, rules, gates=gates, origin=origins.get(n, Origin())) for n, t in tables.items()}
    return CellClasses(
        classes={name: rules.classify(of_field) for name, of_field in levels.items()},
        vocab=list(rules.classes),
        how=f"rules on markers: {described(tables, rules, gates)}",
        rules_text=rules.text,
        thresholds={m: gate.threshold for m, gate in gates.common().items()},
        gates=gates,
    )


def plain_class(name: str) -> str:
    """The name of a class, with one spelling of the class of the remaining cells."""
    return OTHER if name.lower() in (OTHER, "others") else name


def has_phenotypes(table: pd.DataFrame) -> bool:
    """Whether inForm, or another program, gives the cells of a table a phenotype."""
    return "Phenotype" in table and bool((table["Phenotype"] != "").any())


def classes_by_phenotype(tables: Mapping[str, pd.DataFrame]) -> CellClasses:
    """The phenotypes of the tables as classes. Raises `UserError` if only some tables have them."""
    classes = {}
    for name, table in tables.items():
        if "Phenotype" not in table and len(table):
            raise UserError(
                f"{_file(table, name)} has no Phenotype column, but other tables of the cohort have one: phenotype all "
                "fields."
            )
        given = table.get("Phenotype", pd.Series(dtype=str)).fillna("").astype(str).str.strip()
        classes[name] = given.map(plain_class)
    names = sorted({c for of_cells in classes.values() for c in of_cells} - {""})
    n_without = sum(int((of_cells == "").sum()) for of_cells in classes.values())
    how = "phenotypes of the cell tables"
    if n_without:
        how += f"; {n_without} cells without a phenotype belong to no class"
    return CellClasses(classes, vocab=other_last(names), how=how)


def _file(table: pd.DataFrame, name: str) -> str:
    return table.attrs.get("path", name)


def other_last(names: list[str]) -> list[str]:
    """The names with "other", the class of the remaining cells, at the end."""
    return [n for n in names if n != OTHER] + [OTHER] * (OTHER in names)
