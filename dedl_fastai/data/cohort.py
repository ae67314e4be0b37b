"""`Cohort`: the table of fields (patient, image, mask, labels, split) that every run starts from."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..io.files import written_whole
from .annotators import annotators_of
from .layouts import COLUMNS, find_fields, path_columns
from .patients import assign_patients

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test", "ignore")


@dataclass(frozen=True)
class Problem:
    """Something wrong with one file of a cohort."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass
class Cohort:
    """Fields of one study. `table` has one row per field; paths are absolute and missing values are "".

    `table` columns: field, patient, image, mask, labels (separated by ";"), split (train, valid, test, ignore or "");
    a layout may add others (cells, outlines, mask_NAME: the masks of an annotator, channel: see `channels_of_row`).
    `problems` lists the files that match no field.
    """

    table: pd.DataFrame
    root: Path
    layout: str
    problems: list[Problem] = field(default_factory=list)
    left_out: frozenset[str] = frozenset()  # training fields that were not drawn (`draw_training_fields`)

    @classmethod
    def load(
        cls,
        path: str | Path,  # a folder or a cohort.csv
        patient: str | None = None,  # regex that finds the patient in a field's name; "field": one patient per field
    ) -> "Cohort":
        """Find the fields below `path`.

        The layouts are tried in this order: a `cohort.csv` manifest; Van Buren's folders; `images/` with `masks/`,
        `labels.csv` or both; a folder of inForm exports; results of `predict` with corrections. Raises
        `UserError` if none of them matches, if there are no fields, or if two files claim the same field.
        """
        table, root, layout, problems = find_fields(Path(path))
        check_unique(table, root)
        table = assign_patients(table, patient)
        table["split"] = _clean_splits(table["split"], root)
        table = table.sort_values("field", kind="stable").reset_index(drop=True)
        other_columns = [c for c in table.columns if c not in COLUMNS]
        return cls(table[[*COLUMNS, *other_columns]], root, layout, [Problem(*p) for p in problems])

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        names = annotators_of(self.table)
        return (
            f"Cohort({self.root.name}: {self.layout}, {len(self)} fields, {self.table.patient.nunique()} patients, "
            f"{(self.table['mask'] != '').sum()} masks, {(self.table.labels != '').sum()} with labels"
            f"{f', masks of {len(names)} annotators' if names else ''})"
        )

    @property
    def repeats(self) -> float:
        """How often an epoch shows each training field on average, so that some make an epoch as long as all do."""
        return 1 + len(self.left_out) / max(1, int((self.table.split == "train").sum()))

    def rows(self) -> list[Any]:
        """Return the rows of `table` as named tuples; which attributes they have depends on the layout."""
        return list(self.table.itertuples())

    def where(self, keep: pd.Series | np.ndarray) -> "Cohort":
        """Return the cohort with the rows of `table` for which `keep` is true."""
        return replace(self, table=self.table[keep].reset_index(drop=True))

    def part(self, split: str) -> "Cohort":
        """Return the fields of one split; "all" gives every field that is not ignored."""
        return self.where(self.table.split != "ignore" if split == "all" else self.table.split == split)

    def with_masks(self) -> "Cohort":
        """Return the fields that have a mask and log how many have none; `UserError` if no field has a mask."""
        has_mask = self.table["mask"] != ""
        if not has_mask.any():
            if names := annotators_of(self.table):
                raise UserError(
                    f"{self.root} has masks of annotators ({', '.join(names)}), and none for training: make one of "
                    f"them with `dedl-fastai data consensus`, or name one in the column `mask`."
                )
            raise UserError(
                f"{self.root} has {len(self)} images and no masks: put a mask with the same name as its image into "
                f"masks/, or export the segmentation maps from inForm."
            )
        if not has_mask.all():
            log.warning("%d of %d fields have no mask and are left out", (~has_mask).sum(), len(self))
        return self.where(has_mask)

    def limited(self, n_fields: int) -> "Cohort":
        """Return at most `n_fields` fields, for a quick look: one per patient in turn, and at least one per split."""
        if n_fields <= 0 or n_fields >= len(self):
            return self
        turn = self.table.groupby("patient").cumcount()
        order = self.table.assign(turn=turn).sort_values(["turn", "patient"], kind="stable").index
        first = self.table.loc[order].drop_duplicates("split").index
        chosen = [*first, *(i for i in order if i not in set(first))][: max(n_fields, len(first))]
        return self.where(self.table.index.isin(chosen))

    def with_split(self, splits: Sequence[str]) -> "Cohort":
        """Return the cohort with these splits, given in table order."""
        return replace(self, table=self.table.assign(split=list(splits)))

    def with_patients(self, patients: Sequence[str]) -> "Cohort":
        """Return the cohort with these patients, given in table order."""
        return replace(self, table=self.table.assign(patient=list(patients)))

    def save(self, path: str | Path) -> Path:
        """Write the table as a `cohort.csv`; paths inside its folder become relative."""
        path = Path(path)
        table = self.table.copy()
        for column in path_columns(table):
            table[column] = [_relative(p, path.parent) for p in table[column]]
        with written_whole(path) as tmp:
            table.to_csv(tmp, index=False)
        return path


def _relative(file: str, folder: Path) -> str:
    try:
        return Path(file).relative_to(folder.resolve()).as_posix() if file else ""
    except ValueError:
        return file


def check_unique(table: pd.DataFrame, root: Path) -> None:
    """Raise a `UserError` if there are no fields, or if two files claim the same one."""
    if table.empty:
        raise UserError(f"{root} contains no fields: no images were found in any of the known layouts.")
    duplicates = table[table.field.duplicated(keep=False)].sort_values("field", kind="stable")
    if len(duplicates):
        name = duplicates.field.iloc[0]
        files = " and ".join(duplicates[duplicates.field == name].image)
        raise UserError(f"Two files claim the field {name!r}: {files}. Keep one of them, or rename one.")


def _clean_splits(splits: pd.Series, root: Path) -> pd.Series:
    clean = splits.str.strip().str.lower().replace({"val": "valid", "validation": "valid", "training": "train"})
    unknown = sorted(set(clean) - {"", *SPLITS})
    if unknown:
        raise UserError(
            f"{root}: the split column contains {unknown[0]!r}; it may contain {', '.join(SPLITS)}, or be empty."
        )
    return clean
