"""Classes of fields, from given labels or from their cell tables, with counts, prevalences and warnings."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import UserError
from ...io.cell_tables import read_cell_table
from ...io.files import write_text, written_whole
from ...phenotypes.classify import CellClasses, classify_cells, other_last, parse_thresholds
from ...phenotypes.gates.fit import Cuts
from ...phenotypes.rules import Rules
from ..cache import for_each
from ..cohort import Cohort

log = logging.getLogger(__name__)


@dataclass
class Labels:
    """Classes of labelled fields (or tiles): `matrix` and `counts` have one row per field and one column per class."""

    cohort: Cohort  # only the labelled fields, with the `labels` column filled
    counts: pd.DataFrame  # number of cells of each class; NaN if labels were given
    matrix: pd.DataFrame  # bool
    vocab: list[str]
    rules_text: str  # "" if no rules were used
    how: str  # a sentence on how the classes of cells, and so of fields, were determined
    warnings: list[str] = field(default_factory=list)
    thresholds: dict[str, Cuts] = field(default_factory=dict)  # marker -> intensity, given or by a gate
    min_cells: int = 1
    cells: dict[str, pd.Series] = field(default_factory=dict)  # field -> class of each cell of its table

    @property
    def prevalence(self) -> pd.Series:
        """Share of the fields that contain each class."""
        return self.matrix.mean()


def field_labels(
    cohort: Cohort,
    rules: str | Path | Rules = "tfh5",  # a preset, a text file or rules; for tables without phenotypes
    min_cells: int = 1,  # number of cells from which a class is present
    thresholds: str | Mapping[str, Cuts] | None = None,  # marker -> intensity, or "CD19=1.2,CD4=3"
) -> Labels:
    """Label the fields of a cohort; fields without labels and without a cell table are left out.

    Labels in the cohort's table (labels.csv, manifest) are used if there are any, otherwise the classes of the cells
    (`classify_cells`). Raises `UserError` if no field has labels or a cell table, or if a table lacks a marker.
    """
    if min_cells < 1:
        raise UserError(f"min_cells={min_cells}: a class needs at least 1 cell to be present.")
    rules = rules if isinstance(rules, Rules) else Rules.load(rules)
    if _are_given(cohort):
        if min_cells > 1 or thresholds:
            log.warning("the labels of %s are given: `min_cells` and `thresholds` are not used", cohort.root)
        return _given(cohort, rules)
    return _from_cells(cohort, rules, min_cells, parse_thresholds(thresholds))


def have_labels(cohort: Cohort) -> pd.Series:
    """Whether each field has labels or, in a cohort without given labels, a cell table from which they follow."""
    if _are_given(cohort):
        return cohort.table.labels.str.strip("; ") != ""
    return cohort.table["cells"] != "" if "cells" in cohort.table else pd.Series(False, cohort.table.index)


def _are_given(cohort: Cohort) -> bool:
    return bool((cohort.table.labels != "").any())


def _with_source(cohort: Cohort, source: str) -> Cohort:
    """Return the fields with labels or a cell table; `source` is the name of these in messages."""
    has_source = have_labels(cohort)
    if not has_source.any():
        raise UserError(
            f"{cohort.root} has neither labels nor cell tables: add a labels.csv (image, labels) next to images/, or "
            f"export the cell tables (cell_seg_data.txt) from inForm."
        )
    if not has_source.all():
        log.warning("%d of %d fields have no %s and are left out", (~has_source).sum(), len(has_source), source)
    return cohort.where(has_source)


def _given(cohort: Cohort, rules: Rules) -> Labels:
    cohort = _with_source(cohort, "labels")
    sets = [[name.strip() for name in text.split(";") if name.strip()] for text in cohort.table.labels]
    classes = {name for names in sets for name in names}
    by_rules = [name for name in rules.classes if name in classes]
    vocab = by_rules if classes <= set(by_rules) else other_last(sorted(classes))
    matrix = pd.DataFrame([[c in names for c in vocab] for names in sets], index=cohort.table.field, columns=vocab)
    counts = pd.DataFrame(float("nan"), index=matrix.index, columns=vocab)
    how = "labels from the cohort's table"
    return labelled(Labels(cohort, counts=counts, matrix=matrix, vocab=vocab, rules_text="", how=how))


def _from_cells(cohort: Cohort, rules: Rules, min_cells: int, thresholds: dict[str, Cuts]) -> Labels:
    cohort = _with_source(cohort, "cell table")
    tables = for_each(cells_of_row, cohort.rows())
    is_test = cohort.table.split == "test"
    fit_on = None if is_test.all() else set(cohort.table.field[~is_test])  # nothing is determined from test fields
    cells = classify_cells(dict(zip(cohort.table.field, tables, strict=True)), rules, thresholds, fit_on=fit_on)
    counts = class_counts(cells.classes, cells.vocab)
    labels = Labels(
        cohort=cohort,
        counts=counts,
        matrix=counts >= min_cells,
        vocab=cells.vocab,
        rules_text=cells.rules_text,
        how=_sentence(cells, min_cells),
        thresholds=cells.thresholds,
        min_cells=min_cells,
        cells=cells.classes,
    )
    return labelled(labels)


def cells_of_row(row: Any) -> pd.DataFrame:
    """Read the cell table of a row of a cohort; from a merged table, return only the cells of its field."""
    table = read_cell_table(row.cells)
    table.attrs["path"] = row.cells  # for messages
    names = table.get("Sample Name", pd.Series(dtype=str)).str.replace(r"\.im3$", "", regex=True)
    if names.nunique() < 2:
        return table
    is_of_field = names == row.field
    if not is_of_field.any():
        raise UserError(f"{row.cells} is a merged table without cells of the field {row.field!r} (Sample Name).")
    return table[is_of_field].reset_index(drop=True)


def class_counts(classes: Mapping[str, pd.Series], vocab: Sequence[str]) -> pd.DataFrame:
    """Count the cells of each class; the table has one row per key of `classes`."""
    rows = [names.value_counts().reindex(list(vocab), fill_value=0) for names in classes.values()]
    return pd.DataFrame([r.to_numpy() for r in rows], index=pd.Index(classes, name="field"), columns=list(vocab))


def _sentence(cells: CellClasses, min_cells: int) -> str:
    return f"{cells.how}; a class is present from {min_cells} cell{'s' * (min_cells > 1)} on"


def labelled(labels: Labels, unit: str = "field") -> Labels:
    """Return the labels with warnings and with the `labels` column of their cohort filled."""
    names = [";".join(labels.matrix.columns[row]) for row in labels.matrix.to_numpy()]
    cohort = replace(labels.cohort, table=labels.cohort.table.assign(labels=names))
    always = [c for c, share in labels.prevalence.items() if share == 1]
    never = [c for c, share in labels.prevalence.items() if share == 0]
    n = len(labels.matrix)
    warnings = [f"class {c!r} is present in every one of the {n} {unit}s: it cannot be learned" for c in always]
    warnings += [f"class {c!r} is present in none of the {n} {unit}s: it cannot be learned" for c in never]
    return replace(labels, cohort=cohort, warnings=warnings)


def write_labels(labels: Labels, folder: str | Path) -> None:
    """Write labels.csv (one row per field), prevalence.csv (one row per class) and rules.txt (rules and warnings)."""
    folder = Path(folder)
    table = labels.cohort.table[["field", "patient", "split", "labels"]].copy()
    table.insert(1, "image", [Path(p).name for p in labels.cohort.table.image])
    for name in labels.vocab:
        table[name] = labels.matrix[name].astype(int).to_numpy()
    for name in labels.vocab:
        table[f"count {name}"] = labels.counts[name].to_numpy()
    n_fields = labels.matrix.sum().to_numpy()
    shares = pd.DataFrame({"class": labels.vocab, "fields": n_fields, "share": labels.prevalence.round(6)})
    shares["cells"] = labels.counts.sum(min_count=1).to_numpy()
    for name, content in (("labels.csv", table), ("prevalence.csv", shares)):
        with written_whole(folder / name) as tmp:
            content.to_csv(tmp, index=False)
    notes = [labels.how, *labels.warnings]
    write_text(folder / "rules.txt", "".join(f"# {line}\n" for line in notes) + labels.rules_text)
