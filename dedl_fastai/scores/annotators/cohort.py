"""`write_consensus`: a cohort whose masks are the consensus of several annotators, and a table of their agreement."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...data.annotators import annotators_of
from ...data.cache import check_same_size, for_each
from ...data.cohort import Cohort
from ...errors import UserError
from ...io.fields.readers import open_field
from ...io.files import check_is_new, folder_written_whole
from ...io.inform_writer import write_label_tiff
from ...io.masks import holds_ids, read_labels
from .compared import Compared
from .consensus import MAJORITY, RULES, consensus_labels, consensus_mask

log = logging.getLogger(__name__)

CONSENSUS = "consensus"
Pairs = dict[tuple[str, str], Compared]


@dataclass(frozen=True)
class Annotated:
    """The labels of a field by annotator, and whether they are ids of nuclei."""

    labels: Mapping[str, np.ndarray]
    ids: bool

    @classmethod
    def read(cls, image: str, files: Mapping[str, str]) -> "Annotated":
        """Read the masks (name -> file) of a field; `UserError` if one differs in size from the image."""
        with open_field(image) as field:
            shape = field.shape
        labels = {name: read_labels(path) for name, path in files.items()}
        for name, values in labels.items():
            check_same_size(image, shape, files[name], values.shape)
        return cls(labels, all(holds_ids(files[name], values) is not False for name, values in labels.items()))

    def consensus(self, rule: str) -> np.ndarray:
        """Return the consensus of the nuclei, or of the foreground if a mask does not tell nuclei apart."""
        make = consensus_labels if self.ids else consensus_mask
        return make(list(self.labels.values()), rule)

    def compared(self, consensus: np.ndarray) -> Pairs:
        """Return each pair of annotators, and each annotator and the consensus, compared."""
        pairs = combinations({**self.labels, CONSENSUS: consensus}.items(), 2)
        return {(a, b): Compared.of(one, other, self.ids) for (a, one), (b, other) in pairs}


def write_consensus(cohort: Cohort, out: str | Path, rule: str = MAJORITY) -> pd.DataFrame:
    """Write `cohort.csv`, `masks/` and the agreement of the annotators into a new folder; return the agreement.

    Where the masks of a field hold ids, its consensus does (`consensus_labels`). `agreement.csv` has a row for each
    pair of annotators, with the fields pooled, and for each annotator and the consensus; `agreement_fields.csv` has
    them for each field. Fields without masks of annotators are left out. Raises `UserError` for another rule, for fewer
    than two annotators, and for masks that cannot be read or differ in size.
    """
    check_is_new(out)
    if rule not in RULES:
        raise UserError(f"rule={rule!r} is unknown; it may be {' or '.join(RULES)}.")
    columns = annotators_of(cohort.table)
    if len(columns) < 2 or CONSENSUS in columns:
        raise UserError(
            f"{cohort.root} has masks of {', '.join(columns) or 'no annotators'}: masks of at least two are needed, "
            f"with other names than {CONSENSUS!r}, in columns such as `mask_A` or in folders such as masks/A/."
        )
    cohort = _annotated_part(cohort, list(columns.values()))
    with folder_written_whole(out) as folder:
        (folder / "masks").mkdir()
        files = [{n: row[c] for n, c in columns.items() if row[c]} for _, row in cohort.table.iterrows()]
        work = list(zip(cohort.table.field, cohort.table.image, files, strict=True))
        pairs = for_each(lambda field: _write_field(*field, rule=rule, folder=folder), work)
        masks = [str(folder.resolve() / _mask_of(field)) for field in cohort.table.field]
        replace(cohort, table=cohort.table.assign(mask=masks)).save(folder / "cohort.csv")
        table = _pooled(pairs)
        table.to_csv(folder / "agreement.csv", index=False)
        _by_field(cohort.table.field, pairs).to_csv(folder / "agreement_fields.csv", index=False)
    return table


def _annotated_part(cohort: Cohort, columns: list[str]) -> Cohort:
    is_annotated = (cohort.table[columns] != "").any(axis=1)
    if not is_annotated.all():
        log.warning("%d of %d fields have no masks of annotators and are left out", (~is_annotated).sum(), len(cohort))
    cohort = cohort.where(is_annotated)
    bad = [name for name in cohort.table.field if Path(name).name != name]
    if bad:
        raise UserError(f"the field {bad[0]!r} of {cohort.root} cannot be the name of a mask file: rename it.")
    return cohort


def _mask_of(field: str) -> str:
    return f"masks/{field}.tif"


def _write_field(field: str, image: str, files: Mapping[str, str], *, rule: str, folder: Path) -> Pairs:
    annotated = Annotated.read(image, files)
    consensus = annotated.consensus(rule)
    is_known = consensus.min() >= 0
    write_label_tiff(folder / _mask_of(field), consensus.astype(np.uint32 if is_known else np.int32))
    return annotated.compared(consensus)


def _pooled(fields: list[Pairs]) -> pd.DataFrame:
    pooled: Pairs = {}
    for pairs in fields:
        for names, compared in pairs.items():
            pooled[names] = pooled.get(names, Compared()) + compared
    order = sorted(pooled, key=lambda names: names[1] == CONSENSUS)
    return pd.DataFrame([_row(*names, pooled[names]) for names in order])


def _by_field(names: pd.Series, fields: list[Pairs]) -> pd.DataFrame:
    rows = zip(names, fields, strict=True)
    return pd.DataFrame([{"field": name, **_row(*pair, c)} for name, pairs in rows for pair, c in pairs.items()])


def _row(one: str, other: str, compared: Compared) -> dict[str, Any]:
    return {"annotator": one, "other": other, **compared.row()}
