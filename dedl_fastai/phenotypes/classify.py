"""The class of each cell: from its phenotype, from 0/1 marker columns, or from intensities and thresholds."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from skimage.filters import threshold_otsu

from ..errors import UserError
from .rules import Rules

log = logging.getLogger(__name__)

OTHER = "other"
_COMPARTMENTS = ("entirecell", "cell", "membrane", "cytoplasm", "nucleus")  # the one whose mean is taken, best first


@dataclass
class CellClasses:
    """Classes of the cells of several tables ("" for none), all classes there are, and how they were told."""

    classes: dict[str, pd.Series]
    vocab: list[str]
    how: str
    rules_text: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)  # those that were used, given or found


def parse_thresholds(value: str | Mapping[str, float] | None) -> dict[str, float]:
    """ "CD19=1.2,CD4=3" or a mapping as {marker: value}; `UserError` for anything else."""
    if not isinstance(value, str):
        return dict(value or {})
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    try:
        return {marker.strip(): float(number) for marker, _, number in pairs}
    except ValueError as e:
        raise UserError(f"thresholds {value!r} do not read: write CD19=1.2,CD4=3.") from e


def classify_cells(
    tables: Mapping[str, pd.DataFrame],  # field -> table of cells
    rules: Rules,
    thresholds: Mapping[str, float] | None = None,  # marker -> intensity above which a cell is positive
) -> CellClasses:
    """The class of every cell.

    Tables with a filled Phenotype column: the phenotypes, unless thresholds are given. Else the rules: a marker is
    positive by its 0/1 column, by the threshold given, or by Otsu over the cells of all tables. Raises `UserError` for
    a table that lacks what is needed.
    """
    if not thresholds and any(_has_phenotypes(t) for t in tables.values()):
        return _by_phenotype(tables)
    return _by_rules(tables, rules, dict(thresholds or {}))


def _has_phenotypes(table: pd.DataFrame) -> bool:
    return "Phenotype" in table and bool((table["Phenotype"] != "").any())


def _by_phenotype(tables: Mapping[str, pd.DataFrame]) -> CellClasses:
    classes = {}
    for name, table in tables.items():
        if "Phenotype" not in table and len(table):
            raise UserError(
                f"{_file(table, name)} has no Phenotype column, other tables of the cohort do: phenotype all fields."
            )
        given = table.get("Phenotype", pd.Series(dtype=str)).fillna("").astype(str).str.strip()
        classes[name] = given.where(~given.str.lower().isin([OTHER, "others"]), OTHER)
    found = sorted({c for of_cells in classes.values() for c in of_cells} - {""})
    without = sum(int((of_cells == "").sum()) for of_cells in classes.values())
    how = "phenotypes of the cell tables"
    if without:
        how += f"; {without} cells without a phenotype count for no class"
    return CellClasses(classes, other_last(found), how)


def _file(table: pd.DataFrame, name: str) -> str:
    return table.attrs.get("path", name)


def other_last(names: list[str]) -> list[str]:
    """The names with the remainder class at the end."""
    return [n for n in names if n != OTHER] + [OTHER] * (OTHER in names)


def _by_rules(tables: Mapping[str, pd.DataFrame], rules: Rules, given: dict[str, float]) -> CellClasses:
    given = _for_rules(given, rules)
    positive = {name: pd.DataFrame(index=table.index) for name, table in tables.items()}
    binary, told, used = [], [], {}
    for marker in rules.markers:
        measured = {}
        for name, table in tables.items():
            source = _source(table, name, marker, marker in given)
            if isinstance(source, str):
                measured[name] = source, table[source].to_numpy(float)
            else:
                positive[name][marker] = source
        if measured:
            used[marker], sentence = _cutoff(marker, measured, given)
            told.append(sentence)
            for name, (_, values) in measured.items():
                positive[name][marker] = values > used[marker]  # a cell without a value is not positive
        if len(measured) < len(tables):
            binary.append(marker)
    how = ([f"{', '.join(binary)} by the tables' 0/1 columns"] if binary else []) + told
    classes = {name: rules.classify(p) for name, p in positive.items()}
    return CellClasses(classes, list(rules.classes), "rules on markers: " + "; ".join(how), rules.text, used)


def _source(table: pd.DataFrame, name: str, marker: str, has_threshold: bool) -> np.ndarray | str:
    """Positivity of the cells from a 0/1 column, or the name of the column of intensities."""
    values, column = _binary(table, marker), _intensity_column(table, marker)
    if column is not None and (has_threshold or values is None):
        return column
    if values is None:
        raise UserError(
            f"{_file(table, name)}: the rules need the marker {marker}, and the table has neither a 0/1 column nor a "
            f"mean intensity of that name, but {', '.join(table.columns[:12])}: give other rules."
        )
    return values


def _plain(name: str) -> str:
    """A name without case, hyphens and blanks: "PD-1" is "PD1"."""
    return re.sub(r"[\s-]", "", name).lower()


def _for_rules(given: dict[str, float], rules: Rules) -> dict[str, float]:
    known = {_plain(m): m for m in rules.markers}
    unknown = [m for m in given if _plain(m) not in known]
    if unknown:
        raise UserError(f"a threshold is given for {unknown[0]}, which no rule asks for: {', '.join(rules.markers)}.")
    return {known[_plain(m)]: float(v) for m, v in given.items()}


def _binary(table: pd.DataFrame, marker: str) -> np.ndarray | None:
    """Positivity from a column of 0 and 1, or from inForm's consolidated `Phenotype CD8` ("CD8+", "CD8-")."""
    for name in table.columns:
        if _plain(name) == _plain(marker) and _is_number(table[name]) and table[name].dropna().isin([0, 1]).all():
            return (table[name] == 1).to_numpy()
        if _plain(name) == f"phenotype{_plain(marker)}":
            return table[name].str.strip().str.endswith("+").to_numpy(bool)
    return None


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _intensity_column(table: pd.DataFrame, marker: str) -> str | None:
    """The column of the marker's mean intensity: of the whole cell, else membrane, cytoplasm, nucleus."""
    word = re.compile(rf"(?<![a-z0-9]){re.escape(marker.lower().replace('-', ''))}(?![a-z0-9])")
    mean = re.compile(r"(?<![a-z])mean(?![a-z])")
    names = {c: c.lower().replace("-", "") for c in table.columns if _is_number(table[c])}
    found = [c for c, n in names.items() if word.search(n) and mean.search(n)]
    found += [c for c in names if _plain(c) == _plain(marker) and not table[c].dropna().isin([0, 1]).all()]

    def rank(name: str) -> int:
        fits = (i for i, c in enumerate(_COMPARTMENTS) if _plain(name).startswith(c))
        return next(fits, len(_COMPARTMENTS))

    return min(found, key=rank) if found else None


def _cutoff(marker: str, measured: dict, given: dict[str, float]) -> tuple[float, str]:
    """Intensity above which a cell is positive, and the sentence that says where it comes from."""
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
