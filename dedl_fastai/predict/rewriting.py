"""`Rewriting`: the files of finished results that depend on their cells, written anew without predicting again."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UserError
from ..inference.field_cells import FieldCells
from ..inference.scale import scale_from_dict
from ..io.fields.field import Field
from ..io.fields.readers import open_field
from ..io.files import move_over
from ..io.masks import read_labels
from .corrections import corrected_labels
from .kinds import KINDS, Result
from .measured import MeasuredField
from .options import CellOptions
from .record import Record, field_record, read_records, record_file, thumbnail_file, write_record
from .result_folder import ResultFolder, ranked_fields

_NEEDED = ("cells", "labels")  # kinds of files that the others are made from
_OF_NUCLEI = ("rois",)  # kinds that depend on the corrected labels, and not on types


@dataclass(frozen=True)
class Rewritten:
    """The cells of a field after the change, and what its record says of them."""

    labels: np.ndarray
    cells: pd.DataFrame
    settings: Mapping[str, Any]
    corrected: int  # number of the actions by hand that the cells show


class Rewriting:
    """A folder of results, some fields of which are rewritten: all of them, or none.

    `prepare` writes the files into hidden folders, `commit` then moves them to their places. Raises `UserError`, and
    changes nothing, for a folder without results or without the files and images it needs.
    """

    def __init__(self, out: str | Path):
        self.out = Path(out)
        self.records = read_records(self.out) if (self.out / "fields").is_dir() else []
        if not self.records:
            raise UserError(f"{self.out} holds no finished results of predict, whose cells could be changed.")
        self._prepared: list[Record] = []

    def check(self, records: Sequence[Record]) -> None:
        """Raise a `UserError` if something is missing that these fields are rewritten from."""
        for record in records:
            for kind in _NEEDED:
                path = self.out / f"{record['field']}{KINDS[kind].ending}"
                if not path.is_file():
                    raise UserError(
                        f"{path} does not exist, and a change of the cells needs it: let predict write it "
                        f"(write={kind})."
                    )
            if not Path(record["image"]).exists():
                raise UserError(
                    f"{record['image']} does not exist, and the pictures of the results need it: put it back."
                )

    def labels(self, record: Record) -> np.ndarray:
        """The labels of the nuclei in the table of a field, with its corrections if the table has them."""
        name = record["field"]
        if record.get("corrected"):
            return corrected_labels(self.out, name).astype(np.int32)
        return read_labels(self.out / f"{name}{KINDS['labels'].ending}")

    def prepare(self, records: Sequence[Record], change: Callable[[Record, Field], Rewritten]) -> None:
        """Write the files of these fields, with their changed cells, into hidden folders."""
        try:
            for record in records:
                place = self._place(record)
                with place.new():
                    self._write(record, place.folder, change)
        except BaseException:
            for record in records:
                self._place(record).remove()
            raise
        self._prepared = list(records)

    def _place(self, record: Record) -> MeasuredField:
        return MeasuredField(self.out / f".{record['field']}.part")

    def _write(self, record: Record, folder: Path, change: Callable[[Record, Field], Rewritten]) -> None:
        name = record["field"]
        with open_field(record["image"], record["settings"].get("pixel_size_um", 0.0)) as field:
            new = change(record, field)
            found = FieldCells(
                field,
                labels=new.labels,
                cells=new.cells,
                threshold=record["threshold"],
                scale=scale_from_dict(record["scale"]),
                field_uncertainty=record["uncertainty"],
            )
            channel = field.channel_index(record["channel"]) if record.get("channel") else 0
            result = Result(found, channel, new.settings.get("radius_um", CellOptions.radius_um))
            for kind in _rewritten_kinds(record):
                KINDS[kind].write(folder / f"{name}{KINDS[kind].ending}", result)
            (folder / "fields").mkdir()
            about = {"settings": new.settings, "made": record["made"], "kinds": record["kinds"]}
            changed = field_record(name, Path(record["image"]), result, **about)
            changed |= {"regions": record.get("regions", [])}  # as they were predicted
            write_record(folder, changed | ({"corrected": new.corrected} if new.corrected else {}), result)

    def commit(self) -> None:
        """Replace the files of the results, then write summary and report; suggested fields keep their ranks."""
        look_at = ranked_fields(self.out)
        for record in self._prepared:
            place = self._place(record)
            for new, path in self._files(record, place.folder):
                move_over(new, path)
            place.remove()
        ResultFolder(self.out, CellOptions(), {}, {}).finish([], look_at)

    def _files(self, record: Record, folder: Path) -> Iterator[tuple[Path, Path]]:
        """The new files of a field and their places; the record last."""
        for kind in _rewritten_kinds(record):
            name = f"{record['field']}{KINDS[kind].ending}"
            yield folder / name, self.out / name
        for file in (thumbnail_file, record_file):
            yield file(folder, record["field"]), file(self.out, record["field"])


def _rewritten_kinds(record: Record) -> list[str]:
    return [kind for kind in record["kinds"] if KINDS[kind].has_types or kind in _OF_NUCLEI]
