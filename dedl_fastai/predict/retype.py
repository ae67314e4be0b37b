"""`Retyping`: new types for the cells of finished results, by other rules or cut-offs, without predicting again."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from ..cells.phenotyping import add_phenotypes
from ..errors import UserError
from ..inference.field_cells import FieldCells
from ..inference.scale import scale_from_dict
from ..io.fields.readers import open_field
from ..io.files import move_over
from ..io.masks import read_labels
from ..phenotypes.gates.gates import Gates, Origin
from ..phenotypes.rules import Rules
from .kinds import KINDS, Result
from .measured import MeasuredField
from .options import CellOptions
from .record import Record, field_record, read_records, record_file, thumbnail_file, write_record
from .result_folder import ResultFolder
from .settings import retyped_settings

_NEEDED = ("cells", "labels")  # kinds of files that the others are made from
_OF_TYPES = ("phenotype", "nearest_", "probability ")  # beginnings of the columns that depend on the types


class Retyping:
    """A folder of results whose cells get new types.

    `prepare` writes all files that depend on the types into hidden folders, `commit` then moves them to their places.
    Raises `UserError`, and changes nothing, for a folder without results or without the files and images it needs.
    """

    def __init__(self, out: str | Path, rules: str | Path | Rules = ""):  # default: those of the results
        self.out = Path(out)
        self.records = read_records(self.out) if (self.out / "fields").is_dir() else []
        if not self.records:
            raise UserError(f"{self.out} holds no finished results of predict, whose cells could get new types.")
        for record in self.records:
            self._check(record)
        self.rules = rules if isinstance(rules, Rules) else Rules.load(rules) if rules else self._own_rules()

    def _check(self, record: Record) -> None:
        for kind in _NEEDED:
            path = self.out / f"{record['field']}{KINDS[kind].ending}"
            if not path.is_file():
                raise UserError(f"{path} does not exist, and new types need it: let predict write it (write={kind}).")
        if not Path(record["image"]).exists():
            raise UserError(f"{record['image']} does not exist, and the pictures of the results need it: put it back.")

    def _own_rules(self) -> Rules:
        texts = {"\n".join(r["settings"].get("rules", [])) for r in self.records}
        if len(texts) > 1 or not (text := texts.pop()):
            raise UserError(f"{self.out} holds results without rules, or with several: give `rules` for the types.")
        return Rules.parse(text)

    def prepare(self, gates: Gates, origins: Mapping[str, Origin]) -> None:
        """Write the files of all fields, with the types that rules and gates give, into hidden folders."""
        try:
            for record in self.records:
                place = self._place(record)
                with place.new():
                    self._write(record, place.folder, gates, origins[record["field"]])
        except BaseException:
            for record in self.records:
                self._place(record).remove()
            raise

    def _place(self, record: Record) -> MeasuredField:
        return MeasuredField(self.out / f".{record['field']}.part")

    def _write(self, record: Record, folder: Path, gates: Gates, origin: Origin) -> None:
        name, settings = record["field"], retyped_settings(record["settings"], self.rules)
        cells = untyped(pd.read_csv(self.out / f"{name}{KINDS['cells'].ending}", float_precision="round_trip"))
        cells = add_phenotypes({name: cells}, self.rules, gates=gates, origins={name: origin})[name]
        with open_field(record["image"], settings.get("pixel_size_um", 0.0)) as field:
            found = FieldCells(
                field,
                labels=read_labels(self.out / f"{name}{KINDS['labels'].ending}"),
                cells=cells,
                threshold=record["threshold"],
                scale=scale_from_dict(record["scale"]),
                field_uncertainty=record["uncertainty"],
            )
            channel = field.channel_index(record["channel"]) if record.get("channel") else 0
            result = Result(found, channel, settings.get("radius_um", CellOptions.radius_um))
            for kind in _typed_kinds(record):
                KINDS[kind].write(folder / f"{name}{KINDS[kind].ending}", result)
            (folder / "fields").mkdir()
            kinds = record["kinds"]
            image, made = Path(record["image"]), record["made"]
            write_record(folder, field_record(name, image, result, settings=settings, made=made, kinds=kinds), result)

    def commit(self) -> None:
        """Replace the files of the results, then write summary and report."""
        for record in self.records:
            place = self._place(record)
            for new, path in self._files(record, place.folder):
                move_over(new, path)
            place.remove()
        ResultFolder(self.out, CellOptions(), {}, {}).finish([])

    def _files(self, record: Record, folder: Path) -> Iterator[tuple[Path, Path]]:
        """The new files of a field and their places; the record last."""
        for kind in _typed_kinds(record):
            name = f"{record['field']}{KINDS[kind].ending}"
            yield folder / name, self.out / name
        for file in (thumbnail_file, record_file):
            yield file(folder, record["field"]), file(self.out, record["field"])


def _typed_kinds(record: Record) -> list[str]:
    return [kind for kind in record["kinds"] if KINDS[kind].has_types]


def untyped(cells: pd.DataFrame) -> pd.DataFrame:
    """The table of cells without the columns that depend on their types."""
    return cells[[c for c in cells.columns if not str(c).startswith(_OF_TYPES)]]
