"""The class of each cell: from its phenotype, from 0/1 columns, or from intensities and thresholds of markers."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from ..errors import UserError
from .columns import intensity_column, marker_positivity, plain_name
from .rules import Rules

log = logging.getLogger(__name__)

OTHER = "other"


@dataclass
class CellClasses:
    """Classes of the cells of several tables ("" for no class), names of all classes, and how they were determined."""

    classes: dict[str, pd.Series]
    vocab: list[str]
    how: str
    rules_text: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)  # marker -> threshold in use, given or computed


def parse_thresholds(value: str | Mapping[str, float] | None) -> dict[str, float]:
    """Parse "CD19=1.2,CD4=3", or copy a mapping, as {marker: value}; raises `UserError` for other text."""
    if not isinstance(value, str):
        return dict(value or {})
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    try:
        return {marker.strip(): float(number) for marker, _, number in pairs}
    except ValueError as e:
        raise UserError(f"thresholds={value!r} cannot be read: write CD19=1.2,CD4=3.") from e


def classify_cells(
    tables: Mapping[str, pd.DataFrame],  # field -> table of cells
    rules: Rules,
    thresholds: Mapping[str, float] | None = None,  # marker -> intensity above which a cell is positive
    fit_on: Collection[str] | None = None,  # fields that Otsu's threshold is determined from; default: all
) -> CellClasses:
    """Determine the class of every cell.

    Classes are the phenotypes if a table has a filled Phenotype column and no thresholds are given. Otherwise the rules
    apply: a marker is positive by its 0/1 column, by the given threshold, or by Otsu's threshold over the cells of all
    tables in `fit_on`. Raises `UserError` if a table lacks a column that is needed.
    """
    if not thresholds and any(_has_phenotypes(t) for t in tables.values()):
        return _by_phenotype(tables)
    return _by_rules(tables, rules, dict(thresholds or {}), fit_on)


def _has_phenotypes(table: pd.DataFrame) -> bool:
    return "Phenotype" in table and bool((table["Phenotype"] != "").any())


def _by_phenotype(tables: Mapping[str, pd.DataFrame]) -> CellClasses:
    classes = {}
    for name, table in tables.items():
        if "Phenotype" not in table and len(table):
            raise UserError(
                f"{_file(table, name)} has no Phenotype column, but other tables of the cohort have one: phenotype all "
                "fields."
            )
        given = table.get("Phenotype", pd.Series(dtype=str)).fillna("").astype(str).str.strip()
        classes[name] = given.where(~given.str.lower().isin([OTHER, "others"]), OTHER)
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


def _by_rules(
    tables: Mapping[str, pd.DataFrame], rules: Rules, given: dict[str, float], fit_on: Collection[str] | None
) -> CellClasses:
    given = _by_rule_marker(given, rules)
    positive = {name: pd.DataFrame(index=table.index) for name, table in tables.items()}
    binary: list[str] = []
    notes: list[str] = []
    cutoffs: dict[str, float] = {}
    for marker in rules.markers:
        measured: dict[str, tuple[str, np.ndarray]] = {}  # field -> column of intensities, values
        for name, table in tables.items():
            source = _source(table, name, marker, has_threshold=marker in given)
            if isinstance(source, str):
                measured[name] = source, table[source].to_numpy(float)
            else:
                positive[name][marker] = source
        if measured:
            fitted = {n: m for n, m in measured.items() if fit_on is None or n in fit_on} or measured
            cutoffs[marker], note = _cutoff(marker, fitted, given)
            notes.append(note)
            for name, (_, values) in measured.items():
                positive[name][marker] = values > cutoffs[marker]  # a cell without a value is not positive
        if len(measured) < len(tables):
            binary.append(marker)
    how = ([f"{', '.join(binary)} by the tables' 0/1 columns"] if binary else []) + notes
    return CellClasses(
        classes={name: rules.classify(p) for name, p in positive.items()},
        vocab=list(rules.classes),
        how="rules on markers: " + "; ".join(how),
        rules_text=rules.text,
        thresholds=cutoffs,
    )


def _source(table: pd.DataFrame, name: str, marker: str, has_threshold: bool) -> np.ndarray | str:
    """Positivity of the cells from a 0/1 column, or the name of the column of intensities."""
    positivity, column = marker_positivity(table, marker), intensity_column(table, marker)
    if column is not None and (has_threshold or positivity is None):
        return column
    if positivity is None:
        raise UserError(
            f"{_file(table, name)}: the rules need the marker {marker}, and the table has neither a 0/1 column nor a "
            f"mean intensity of that name, but {', '.join(table.columns[:12])}: choose other `rules`."
        )
    return positivity


def _by_rule_marker(given: dict[str, float], rules: Rules) -> dict[str, float]:
    """The given thresholds with the markers spelt as in the rules."""
    known = {plain_name(m): m for m in rules.markers}
    unknown = [m for m in given if plain_name(m) not in known]
    if unknown:
        raise UserError(f"a threshold is given for {unknown[0]}, which no rule asks for: {', '.join(rules.markers)}.")
    return {known[plain_name(m)]: float(v) for m, v in given.items()}


def _cutoff(marker: str, measured: dict[str, tuple[str, np.ndarray]], given: dict[str, float]) -> tuple[float, str]:
    """Intensity above which a cell is positive, and a phrase that says where it comes from."""
    columns = ", ".join(sorted({repr(column) for column, _ in measured.values()}))
    if marker in given:
        return given[marker], f"{marker} positive above {given[marker]:g} (given) in {columns}"
    values = np.concatenate([v[np.isfinite(v)] for _, v in measured.values()])
    if not len(values) or values.min() == values.max():
        log.warning("%s is the same in all %d cells: no cell counts as positive", marker, len(values))
        return float(values[0]) if len(values) else 0.0, f"{marker} never positive (constant in {columns})"
    value = float(threshold_otsu(values))
    cells = f"{len(values)} cells" + (f" of {len(measured)} fields" if len(measured) > 1 else "")
    return value, f"{marker} positive above {value:.4g} (Otsu over {cells}) in {columns}"
