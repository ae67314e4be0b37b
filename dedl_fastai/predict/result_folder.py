"""`ResultFolder`: the files, records and report in a folder of results; finds the fields that are finished in it."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import UserError
from ..inference.scale import Scale, scale_from_dict
from ..io.corrections import corrected_files, predicted_table
from ..io.files import move_over, written_whole
from ..io.locks import remove_if_free
from .corrections import labels_file, log_file
from .kinds import KINDS, Result
from .measured import MeasuredField
from .options import CellOptions
from .record import (
    Record,
    check_settings,
    field_record,
    in_order,
    read_records,
    record_file,
    summary_table,
    write_record,
)
from .report import write_report
from .suggest import corrections_of, suggested, suggested_regions, with_checks

log = logging.getLogger(__name__)

REGIONS = "regions.csv"
REGION_COLUMNS = ["field", "x0", "y0", "x1", "y1", "cells", "uncertainty", "doubt"]


class ResultFolder:
    """The folder of results: finds the fields that are finished in it, and adds the others."""

    def __init__(self, out: Path, options: CellOptions, settings: dict[str, Any], made: dict[str, Any]):
        self.out, self.options, self.settings, self.made = out, options, settings, made
        self.records: dict[str, Record] = {}
        self._new: dict[str, Record] = {}  # the records of this prediction: a shared disk may be slow to show them

    def unfinished(self, images: Mapping[str, Path]) -> list[str]:
        """Return the fields to predict. Raise a `UserError` if existing results were made with other options."""
        try:
            (self.out / "fields").mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise UserError(f"{self.out} cannot be created ({e.strerror}): choose another `out`.") from e
        self.records = {r["field"]: r for r in read_records(self.out)}
        if self.options.overwrite and (corrected := sorted(corrected_files(self.out).keys() & images.keys())):
            raise UserError(
                f"{log_file(self.out, corrected[0])} has corrections of the labels that would be replaced: choose "
                f"another `out`, or remove it."
            )
        for name in self.records.keys() & images.keys():
            check_settings(self.records[name], images[name], self.settings, self.options.overwrite)
        todo = [n for n in images if self.options.overwrite or self._missing(n)]
        for name in images.keys() - set(todo):
            self.measured(name).remove()  # a process that was killed may have left a part of it, or its lock
            remove_if_free(self.lock(name))
        if len(todo) < len(images):
            log.info("%d fields are kept: their files exist already", len(images) - len(todo))
        return todo

    def kept_records(self, images: Mapping[str, Path]) -> list[Record]:
        """The records of finished fields that stay, whether they are among these images or not."""
        return [r for name, r in self.records.items() if not (self.options.overwrite and name in images)]

    def measured(self, name: str) -> MeasuredField:
        """The place of a field that is measured and has no types yet."""
        return MeasuredField(self.out / f".{name}.part")

    def lock(self, name: str) -> Path:
        """The lock of a field while a process works on it."""
        return self.out / f".{name}.lock"

    def facts(self, name: str, image: Path) -> dict[str, Any]:
        """What a measured field depends on. It is used again if these are the same."""
        return {"image": str(image), "settings": self.settings, "made": self.made, "kinds": list(self.targets(name))}

    def is_measured(self, name: str, image: Path, is_fresh: bool = False) -> bool:
        """Whether this prediction, or one that was stopped, has left the field measured, with the same options.

        `overwrite` does without what was left, unless it `is_fresh`: measured by this prediction.
        """
        return (is_fresh or not self.options.overwrite) and self.measured(name).facts == self.facts(name, image)

    def targets(self, name: str) -> dict[str, Path]:
        """The files to write for a field, by kind; without those that stay."""
        return {k: path for k, path in self._files(name).items() if self.options.overwrite or k in self._missing(name)}

    def _files(self, name: str) -> dict[str, Path]:
        return {kind: self.out / f"{name}{KINDS[kind].ending}" for kind in self.options.kinds}

    def _missing(self, name: str) -> list[str]:
        """Kinds without a file, or with one that the record does not list: it may be left from before `overwrite`."""
        return [k for k, path in self._files(name).items() if k not in self._kinds(name) or not path.exists()]

    def _kinds(self, name: str) -> list[str]:
        return self.records[name].get("kinds", []) if name in self.records else []

    def scale(self, images: Mapping[str, Path]) -> Scale | None:
        """The scale of the finished or measured fields, which others with the same settings share; None without any."""
        if self.options.overwrite:
            return None
        found = [r["scale"] for r in self.records.values() if "scale" in r]
        found += [self.measured(n).scale for n, image in images.items() if self.is_measured(n, image)]
        return scale_from_dict(found[0]) if found else None

    def write(self, name: str, image: Path, result: Result) -> Record:
        """Write the files that hold types next to those that are finished; they appear together, the record last."""
        settings, folder, targets = self.settings, self.measured(name), self.targets(name)
        kept = [] if self.options.overwrite else self._kinds(name)  # same settings: only missing files are written
        if kept:
            settings = self.records[name]["settings"] | settings  # with the radius of neighbours that stay
        for kind, target in targets.items():
            if KINDS[kind].has_types:
                new = folder.folder / target.name
                if new.is_dir():  # a prediction that was stopped has left it
                    shutil.rmtree(new)
                KINDS[kind].write(new, result)
        folder.forget()
        record_file(self.out, name).unlink(missing_ok=True)  # it no longer describes the files from here on
        self._forget_corrections(name, targets)
        for target in targets.values():
            move_over(folder.folder / target.name, target)
        record = field_record(name, image, result, settings=settings, made=self.made, kinds={*kept, *targets})
        write_record(self.out, record, result)
        folder.remove()
        return record

    def _forget_corrections(self, name: str, targets: Mapping[str, Path]) -> None:
        """Remove what is left in corrections/ of an earlier prediction, or of a log that was removed."""
        if self.options.overwrite or "cells" in targets:
            predicted_table(self.out, name).unlink(missing_ok=True)
        if not log_file(self.out, name).is_file():
            labels_file(self.out, name).unlink(missing_ok=True)

    def add(self, record: Record) -> None:
        """Count a field as finished, and write the summary with it."""
        self.records[record["field"]] = self._new[record["field"]] = record
        self._write_summary(in_order(self.records.values()))

    def _write_summary(self, records: Sequence[Record], look_at: Sequence[str] = ()) -> None:
        with written_whole(self.out / "summary.csv") as tmp:
            summary_table(records, look_at).to_csv(tmp, index=False)

    def finish(self, failed: Sequence[str], look_at: Sequence[str] = ()) -> None:
        """Write summary and report of all fields in the folder, including those that another process wrote.

        `look_at` are fields that were suggested before.
        """
        records = in_order(({r["field"]: r for r in read_records(self.out)} | self._new).values())
        if self.options.suggest:
            actions = corrections_of(self.out)
            look_at = suggested(records, self.options.suggest, with_checks(actions))
            self._write_regions(suggested_regions(records, self.options.suggest, actions))
            if look_at:
                log.info("look at these fields next: %s", ", ".join(look_at))
        elif not look_at:
            (self.out / REGIONS).unlink(missing_ok=True)  # of an earlier prediction
        if records:
            self._write_summary(records, look_at)
        write_report(self.out, records, failed, look_at=look_at, regions=ranked_regions(self.out))

    def _write_regions(self, regions: Sequence[Mapping[str, Any]]) -> None:
        table = pd.DataFrame(regions, columns=REGION_COLUMNS)
        with written_whole(self.out / REGIONS) as tmp:
            table.to_csv(tmp, index=False)
        if regions:
            first = table.iloc[0]
            log.info("and at the regions in %s, at first at that of %s from x = %d, y = %d", REGIONS, *first[:3])


def ranked_regions(out: Path) -> list[dict[str, Any]]:
    """The regions in regions.csv, the most useful first; [] without the file."""
    path = out / REGIONS
    table = pd.read_csv(path, dtype={"field": str}) if path.is_file() else pd.DataFrame()
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def ranked_fields(out: Path) -> list[str]:
    """The fields that summary.csv suggests to look at next, by their rank in `look_at`."""
    path = out / "summary.csv"
    table = pd.read_csv(path, dtype={"field": str}) if path.is_file() else pd.DataFrame()
    return table.dropna(subset="look_at").sort_values("look_at")["field"].tolist() if "look_at" in table else []
