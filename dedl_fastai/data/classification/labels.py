"""Which classes a field holds: from given labels or from its table of cells, with counts, prevalences and warnings."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ...errors import UserError
from ...io.cell_tables import read_cell_table
from ...io.files import write_text, written_whole
from ...phenotypes.classify import CellClasses, classify_cells, other_last, parse_thresholds
from ...phenotypes.rules import Rules
from ..cache import for_each
from ..cohort import Cohort

log = logging.getLogger(__name__)


@dataclass
class Labels:
    """Classes of labelled fields (or of tiles): `matrix` and `counts` have a row a field and a column a class."""

    cohort: Cohort  # the labelled fields alone, `labels` filled
    counts: pd.DataFrame  # cells of each class; NaN where labels came ready-made
    matrix: pd.DataFrame  # bool
    vocab: list[str]
    rules_text: str  # "" where no rules were used
    how: str  # how it was decided what a cell, and so a field, is
    warnings: list[str] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)  # marker -> intensity, given or found
    min_cells: int = 1
    cells: dict[str, pd.Series] = field(default_factory=dict)  # field -> class of each cell of its table

    @property
    def prevalence(self) -> pd.Series:
        """Share of the fields that hold each class."""
        return self.matrix.mean()


def field_labels(
    cohort: Cohort,
    rules: str | Path | Rules = "tfh5",  # a preset, a text file or rules; for tables without phenotypes
    min_cells: int = 1,  # cells that make a class present
    thresholds: str | Mapping[str, float] | None = None,  # marker -> intensity, or "CD19=1.2,CD4=3"
) -> Labels:
    """Label the fields of a cohort; those that have nothing to tell their labels from are left out.

    Labels of the table (labels.csv, manifest) are taken as they are. Else the cells decide (`classify_cells`).
    Raises `UserError` if no field has labels or a cell table, or a table lacks a marker.
    """
    if min_cells < 1:
        raise UserError(f"min_cells={min_cells}: a class needs at least 1 cell to be present.")
    rules = rules if isinstance(rules, Rules) else Rules.load(rules)
    if (cohort.table.labels != "").any():
        if min_cells > 1 or thresholds:
            log.warning("the labels of %s are given: `min_cells` and thresholds are not used", cohort.root)
        return _given(cohort, rules)
    return _from_cells(cohort, rules, min_cells, parse_thresholds(thresholds))


def _labelled(cohort: Cohort, has: pd.Series, what: str) -> Cohort:
    if not has.any():
        raise UserError(
            f"{cohort.root} has neither labels nor cell tables: add a labels.csv (image, labels) beside images/, or "
            f"export the cell tables (cell_seg_data.txt) from inForm."
        )
    if not has.all():
        log.warning("%d of %d fields have no %s and are left out", (~has).sum(), len(has), what)
    return cohort.where(has)


def _given(cohort: Cohort, rules: Rules) -> Labels:
    cohort = _labelled(cohort, cohort.table.labels.str.strip("; ") != "", "labels")
    sets = [[name.strip() for name in text.split(";") if name.strip()] for text in cohort.table.labels]
    found = {name for names in sets for name in names}
    by_rules = [name for name in rules.classes if name in found]
    vocab = by_rules if found <= set(by_rules) else other_last(sorted(found))
    matrix = pd.DataFrame([[c in names for c in vocab] for names in sets], index=cohort.table.field, columns=vocab)
    counts = pd.DataFrame(float("nan"), index=matrix.index, columns=vocab)
    return labelled(Labels(cohort, counts, matrix, vocab, "", "labels as the cohort's table gives them"))


def _from_cells(cohort: Cohort, rules: Rules, min_cells: int, thresholds: dict[str, float]) -> Labels:
    files = cohort.table["cells"] if "cells" in cohort.table else pd.Series("", index=cohort.table.index)
    cohort = _labelled(cohort, files != "", "cell table")
    tables = for_each(cells_of_row, list(cohort.table.itertuples()))
    told = classify_cells(dict(zip(cohort.table.field, tables, strict=True)), rules, thresholds)
    counts = class_counts(told.classes, told.vocab)
    labels = Labels(cohort, counts, counts >= min_cells, told.vocab, told.rules_text, _sentence(told, min_cells))
    return labelled(replace(labels, thresholds=told.thresholds, min_cells=min_cells, cells=told.classes))


def cells_of_row(row) -> pd.DataFrame:
    """The cell table of a cohort's row; of a merged table the cells of this field."""
    table = read_cell_table(row.cells)
    table.attrs["path"] = row.cells  # for messages
    names = table.get("Sample Name", pd.Series(dtype=str)).str.replace(r"\.im3$", "", regex=True)
    if names.nunique() < 2:
        return table
    mine = names == row.field
    if not mine.any():
        raise UserError(f"{row.cells} is a merged table without cells of the field {row.field!r} (Sample Name).")
    return table[mine].reset_index(drop=True)


def class_counts(classes: Mapping[str, pd.Series], vocab: Sequence[str]) -> pd.DataFrame:
    """Number of cells of each class, a row a key."""
    rows = [names.value_counts().reindex(vocab, fill_value=0) for names in classes.values()]
    return pd.DataFrame([r.to_numpy() for r in rows], index=pd.Index(classes, name="field"), columns=list(vocab))


def _sentence(told: CellClasses, min_cells: int) -> str:
    return f"{told.how}; a class is present from {min_cells} cell{'s' * (min_cells > 1)} on"


def labelled(labels: Labels, unit: str = "field") -> Labels:
    """`labels` with the `labels` column of its cohort and the warnings filled."""
    names = [";".join(labels.matrix.columns[row]) for row in labels.matrix.to_numpy()]
    cohort = replace(labels.cohort, table=labels.cohort.table.assign(labels=names))
    always = [c for c, share in labels.prevalence.items() if share == 1]
    never = [c for c, share in labels.prevalence.items() if share == 0]
    n = len(labels.matrix)
    warnings = [f"class {c!r} is present in every one of the {n} {unit}s: nothing can be learned of it" for c in always]
    warnings += [f"class {c!r} is present in none of the {n} {unit}s: nothing can be learned of it" for c in never]
    return replace(labels, cohort=cohort, warnings=warnings)


def write_labels(labels: Labels, folder: str | Path) -> None:
    """Write labels.csv (a row a field), prevalence.csv (a row a class) and rules.txt (how the classes were told)."""
    folder = Path(folder)
    table = labels.cohort.table[["field", "patient", "split", "labels"]].copy()
    table.insert(1, "image", [Path(p).name for p in labels.cohort.table.image])
    for name in labels.vocab:
        table[name] = labels.matrix[name].astype(int).to_numpy()
    for name in labels.vocab:
        table[f"count {name}"] = labels.counts[name].to_numpy()
    held = labels.matrix.sum()
    shares = pd.DataFrame({"class": labels.vocab, "fields": held.to_numpy(), "share": labels.prevalence.round(6)})
    shares["cells"] = labels.counts.sum(min_count=1).to_numpy()
    for name, content in (("labels.csv", table), ("prevalence.csv", shares)):
        with written_whole(folder / name) as tmp:
            content.to_csv(tmp, index=False)
    notes = [labels.how, *labels.warnings]
    write_text(folder / "rules.txt", "".join(f"# {line}\n" for line in notes) + labels.rules_text)
