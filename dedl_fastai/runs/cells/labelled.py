"""`LabelledCells`: the measured nuclei of the fields of a cohort, with the type that its tables give to each."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...cells.measure import measure_cells
from ...cells.options import NucleiOptions
from ...data.classification.labels import cells_of_row, field_labels
from ...data.classification.nuclei import known_nuclei
from ...data.classification.tile_labels import cell_centres, has_one_patient, split_by_place
from ...data.cohort import Cohort
from ...data.pixels import channels_of_row
from ...inference.ensemble import Ensemble
from ...inference.field_cells import predict_field
from ...inference.options import SCALE
from ...io.fields.field import Field
from ...io.fields.readers import open_field
from ...phenotypes.classify import OTHER, plain_class
from ...phenotypes.gates.fit import Cuts
from ...phenotypes.rules import Rules
from ...scores.cell_matches import matched_cells
from ..cohort import with_tables

log = logging.getLogger(__name__)

RING_UM = 2.0  # width of the ring around a nucleus that is measured
_STRIPS = 20  # vertical strips of a field that is split by place
Nuclei = tuple[np.ndarray, pd.DataFrame, str]  # labels (H, W), their measurements, where the nuclei are from
NucleiSource = Callable[[Any, Field, pd.DataFrame], Nuclei]  # of a cohort's row, its field and its cell table


@dataclass(frozen=True)
class MeasuredField:
    """The measured nuclei of a field, and for each the index of its cell in the table, or -1."""

    table: pd.DataFrame
    cell: np.ndarray
    origin: str  # where the nuclei are from
    labels: str  # .npy file of the labels, "" if they are not kept
    width: int  # of the field, in pixels


@dataclass
class LabelledCells:
    """Cells of several fields: `tables` has the measurements of each field, with the columns of `KEYS`.

    `type` is the true class, "" for a nucleus that matches no cell of the table or one without a class.
    """

    tables: dict[str, pd.DataFrame]
    vocab: list[str]
    how: str  # how the tables give the classes
    nuclei: str  # where the nuclei are from
    n_in_tables: int  # cells with a class in the cell tables
    by_place: bool = False  # one patient: its cells are split by place
    images: dict[str, str] = field(default_factory=dict)  # field -> image file
    label_files: dict[str, str] = field(default_factory=dict)  # field -> labels of its nuclei, if they are kept
    rules_text: str = ""  # that gave the classes, or that phenotypes can be compared with; "": none
    thresholds: Mapping[str, Cuts] = field(default_factory=dict)

    @property
    def keys(self) -> pd.DataFrame:
        """Field, patient, split, group and type of all cells, one row per cell."""
        return pd.concat([t[KEYS] for t in self.tables.values()], ignore_index=True)

    @property
    def warnings(self) -> list[str]:
        """What a reader of the scores should know."""
        keys = self.keys
        counts = keys[(keys.split == "train") & (keys.type != "")].type.value_counts()
        rare = [c for c in self.vocab if counts.get(c, 0) < 20]
        found = [f"class {c!r} has {counts.get(c, 0)} training cells: its scores are uncertain" for c in rare]
        if self.by_place:
            found.append("one patient: cells are split by place, and the scores do not hold for a new patient")
        return found


KEYS = ["field", "patient", "split", "group", "type"]


def labelled_cells(
    cohort: Cohort,  # with splits
    rules: str | Path | Rules = "tfh5",  # for tables without phenotypes
    thresholds: str | Mapping[str, float] | None = None,  # marker -> intensity, for tables of intensities
    nuclei: NucleiSource | None = None,  # default: the cohort's own, `own_nuclei`
    match: str = "nucleus",  # how nuclei and cells of the table are matched: nucleus, place
    known: dict[str, MeasuredField] | None = None,  # keeps the measurements between calls
    folder: str | Path = "",  # for the labels of the nuclei, where a classifier needs them
) -> LabelledCells:
    """Measure the nuclei of all fields with a cell table, and give each the class of the cell that it matches.

    Raises `UserError` for a cohort without cell tables, and for tables whose cells have no position.
    """
    cohort = with_tables(cohort.part("all"))
    labels = field_labels(cohort, rules, thresholds=thresholds)
    by_place, known = has_one_patient(cohort), {} if known is None else known
    tables = {}
    for row in labels.cohort.rows():
        if row.field not in known:
            known[row.field] = _measured(row, nuclei or own_nuclei, match, folder)
        measured, classes = known[row.field], labels.cells[row.field].to_numpy()
        table = measured.table.assign(field=row.field, patient=row.patient, split=row.split, group=row.patient)
        table["type"] = np.append(classes, "")[measured.cell]  # the last for no cell, which is -1
        tables[row.field] = _placed(table, measured.width) if by_place else table
    return LabelledCells(
        tables,
        vocab=labels.vocab,
        how=labels.how.rsplit(";", 1)[0],
        nuclei=", ".join(dict.fromkeys(known[name].origin for name in tables)),
        images=dict(zip(labels.cohort.table.field, labels.cohort.table.image, strict=True)),
        label_files={name: known[name].labels for name in tables},
        n_in_tables=sum(int((c != "").sum()) for c in labels.cells.values()),
        by_place=by_place,
        rules_text=labels.rules_text or _rules_for(labels.vocab, rules),
        thresholds=labels.thresholds,
    )


def _rules_for(vocab: Sequence[str], rules: str | Path | Rules) -> str:
    """The text of rules that give some of the phenotypes of the tables; "" for rules of other classes."""
    parsed = rules if isinstance(rules, Rules) else Rules.load(rules)
    shared = {plain_class(c) for c in parsed.classes} & set(vocab)
    return parsed.text if shared - {OTHER} else ""


def _measured(row: Any, nuclei: NucleiSource, match: str, folder: str | Path) -> MeasuredField:
    given = cells_of_row(row)
    with open_field(row.image) as field:
        labels, table, origin = nuclei(row, field, given)
        at, size = cell_centres(given, field), field.pixel_size_um
    found = table[["y_px", "x_px"]].to_numpy(float)
    cell = matched_cells(labels, table["label"].to_numpy(), nuclei=found, cells=at, by=match, pixel_size_um=size)
    file = str(Path(folder) / f"{row.field}.npy") if folder else ""
    if file:
        np.save(file, labels)
    return MeasuredField(table, cell, origin, labels=file, width=labels.shape[1])


def own_nuclei(row: Any, opened: Field, given: pd.DataFrame) -> Nuclei:
    """The nuclei that the cohort itself has: outlines, a mask with ids, or disks at the positions of the table."""
    labels, origin = known_nuclei(row, opened, given)
    return labels, measure_cells(labels, opened, ring_um=RING_UM, ring_quartiles=True), origin


def predicted_nuclei(
    ensemble: Ensemble,
    channels: Sequence[str] = (),  # of the model in these files, unless the row names them; default: as in training
    nuclei: NucleiOptions | None = None,
    scale: str | float = SCALE,
) -> NucleiSource:
    """The nuclei that segmentation runs find."""

    rings: dict[str, Any] = {"ring_um": RING_UM, "ring_quartiles": True}

    def source(row: Any, opened: Field, given: pd.DataFrame) -> Nuclei:
        own = channels_of_row(row, channels)
        with predict_field(ensemble, opened, channels=own, nuclei=nuclei, scale=scale, keep=(), **rings) as found:
            return np.asarray(found.labels[:, :]), found.cells, "found by the segmentation"

    return source


def nuclei_of(seg: str, device: str = "auto") -> NucleiSource | None:
    """The nuclei that a segmentation run finds; None, for those of the cohort, if no run is named."""
    return predicted_nuclei(Ensemble.load([seg], device=device)) if seg else None


def _placed(table: pd.DataFrame, width: int) -> pd.DataFrame:
    """Split the cells of a field by vertical strips; the groups that validation keeps apart are strips too."""
    strip = np.minimum(table["x_px"].to_numpy(float) * _STRIPS / width, _STRIPS - 1).astype(int)
    split_of = dict(enumerate(split_by_place(range(_STRIPS))))
    return table.assign(split=[split_of[s] for s in strip], group=[f"strip {s // 3}" for s in strip])
