"""`correct_results`: the tables, outlines and counts of finished results follow the corrections by hand."""

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cells.phenotyping import add_phenotypes, with_types
from ..errors import UserError
from ..inference.cell_types import OF_CLASS, CellTyper, load_cell_types
from ..io.corrections import predicted_table
from ..io.fields.field import Field
from ..io.files import existing_file, written_whole
from ..io.masks import read_labels
from ..phenotypes.gates.gates import FILE, Gates
from ..phenotypes.marker_levels import given_by_marker
from ..phenotypes.rules import Rules
from ..scores.confidence import decided
from .corrected_cells import corrected_cells
from .corrections import corrected_labels, fields_behind, read_actions
from .folder_gates import origin_of
from .hand_types import with_hand_types
from .kinds import KINDS
from .record import Record
from .rewriting import Rewriting, Rewritten

log = logging.getLogger(__name__)


def correct_results(out: str | Path, gates: str | Path = "", cell_types: str | Path = "") -> list[str]:
    """Rewrite the files of fields whose tables are behind their corrections, and return the names of these fields.

    Changed nuclei are measured in the image again. Types are those of the results: by their rules, with the gates.json
    of the folder or with `gates`; by a classifier, which changed nuclei need as `cell_types`, or they stay undecided;
    and those given by hand, which replace others. The label image and the mask of the prediction stay as they are,
    since the corrections belong to them. Raises `UserError`, and changes nothing, if a file is missing.
    """
    correction = _Correction(out, gates, cell_types)
    behind = fields_behind(correction.out, correction.records)
    correction.check(behind)
    correction.prepare(behind, correction.corrected)
    correction.keep_predicted(behind)
    if behind:
        correction.commit()
    return [r["field"] for r in behind]


class _Correction(Rewriting):
    """Results that get the cells of the corrected labels."""

    def __init__(self, out: str | Path, gates: str | Path, cell_types: str | Path):
        super().__init__(out)
        own = self.out / FILE
        self.gates = Gates.load(existing_file(gates)) if gates else Gates.load(own) if own.is_file() else None
        self.typer: CellTyper | None = load_cell_types(cell_types) if cell_types else None

    def _predicted_table(self, record: Record) -> Path:
        """The table of the predicted cells: kept aside once that of the results was corrected."""
        kept = predicted_table(self.out, record["field"])
        return kept if kept.is_file() else self.out / f"{record['field']}{KINDS['cells'].ending}"

    def keep_predicted(self, records: list[Record]) -> None:
        """Keep the tables of the predicted cells, from which later corrections begin again."""
        for record in records:
            kept = predicted_table(self.out, record["field"])
            if not kept.is_file():
                with written_whole(kept) as tmp:
                    shutil.copyfile(self._predicted_table(record), tmp)

    def corrected(self, record: Record, field: Field) -> Rewritten:
        """The cells of a field after its corrections."""
        name, settings = record["field"], record["settings"]
        revision = len(read_actions(self.out, name))
        labels = corrected_labels(self.out, name).astype(np.int32)
        before = pd.read_csv(existing_file(self._predicted_table(record)), float_precision="round_trip")
        predicted = read_labels(self.out / f"{name}{KINDS['labels'].ending}")
        ring_um = settings.get("ring_um", 2.0)
        cells, changed = corrected_cells(before, labels, predicted, field=field, ring_um=ring_um)
        if settings.get("rules"):
            cells = self._by_rules(name, cells, settings)
        elif settings.get("cell_types"):
            known = before[~before["label"].isin(changed)]
            cells = self._by_classifier(record, cells, known, field=field, labels=labels)
        return Rewritten(labels, with_hand_types(cells, self.out, name), settings, revision)

    def _by_rules(self, name: str, cells: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
        rules, given = Rules.parse("\n".join(settings["rules"])), settings.get("thresholds") or {}
        if self.gates is None and any(m not in given_by_marker(given, rules) for m in rules.markers):
            raise UserError(
                f"{self.out} has no {FILE}, and the types need its cut-offs: give the file that the results were made "
                f"with as `gates` ({settings.get('gates')})."
            )
        return add_phenotypes({name: cells}, rules, given, gates=self.gates, origins={name: origin_of(name)})[name]

    def _by_classifier(
        self, record: Record, cells: pd.DataFrame, known: pd.DataFrame, *, field: Field, labels: np.ndarray
    ) -> pd.DataFrame:
        """The types that a classifier gave to cells that did not change, and those it gives to the others."""
        own = [c for c in map(str, known.columns) if c.startswith(OF_CLASS)]
        columns = ["phenotype", "phenotype_probability", *own]
        classes = [c.removeprefix(OF_CLASS) for c in own]
        of_cells = known.set_index("label")[columns].reindex(cells["label"]).reset_index(drop=True)
        of_cells["phenotype"] = of_cells["phenotype"].astype(object)  # a column without any type is one of numbers
        is_new = ~cells["label"].isin(known["label"]).to_numpy()
        if is_new.any() and self.typer is not None:
            if self.typer.classes != classes:
                raise UserError(
                    f"the classifier has the types {', '.join(self.typer.classes)}: give that of the results."
                )
            p = self.typer.probabilities(cells, field, labels)[is_new]
            limit = record["settings"].get("min_confidence")
            chosen = decided(p, self.typer.min_confidence if limit is None else limit)
            of_cells.loc[is_new, own] = p
            of_cells.loc[is_new, "phenotype_probability"] = p.max(axis=1)
            of_cells.loc[is_new, "phenotype"] = np.array([*classes, ""], object)[chosen]
        elif is_new.any():
            log.warning("%s: %d corrected nuclei have no type without `cell_types`", record["field"], is_new.sum())
        cells = pd.concat([cells, of_cells[columns[1:]]], axis=1)
        types = of_cells["phenotype"].fillna("")
        return with_types(cells, types, classes, how=record["phenotyping"].split("; types of ")[0])
