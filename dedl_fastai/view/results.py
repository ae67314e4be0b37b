"""`ResultsView`: a folder of results as the page shows it: the gallery, and its fields by name."""

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..io.corrections import CHECK, UNCHECK, Action, actions_in_force, checks, corrected_files
from ..io.files import existing_dir
from ..io.locks import alone_in
from ..predict.corrections import is_behind, is_written, read_actions
from ..predict.overlay import class_colors
from ..predict.record import Record, thumbnail_file
from ..predict.suggest import suggested_regions
from .field_view import FieldView
from .gating import Gating
from .kept import Kept
from .records import Records

log = logging.getLogger(__name__)

_KEPT_BYTES = 128 << 20  # of the pixels of all fields
_MOST_OPEN = 8  # fields
_LISTED = 12  # regions to look at next


class UnknownError(UserError):
    """There is no such thing in these results."""


class ResultsView:
    """The results that `predict` wrote into a folder. Raises `UserError` for other folders."""

    def __init__(self, folder: str | Path):
        self.folder = existing_dir(folder).resolve()
        if not (self.folder / "fields").is_dir():
            raise UserError(f"{folder} holds no results: give a folder that predict wrote.")
        self.records = Records(self.folder)
        if not self.records:
            raise UserError(f"{folder} holds no finished field: let predict write some.")
        self._fields: OrderedDict[str, FieldView] = OrderedDict()
        self._kept = Kept(_KEPT_BYTES)
        self._lock = threading.Lock()
        for name in corrected_files(self.folder):  # a killed process may have left label images behind their logs
            try:
                if name in self.records and not is_written(self.folder, name):
                    self.field(name).corrector.write_later()
            except UserError as e:  # the page of the field says so too
                log.warning("%s", e)
        self.gating = Gating(self.folder, list(self.records))

    def field(self, name: str) -> FieldView:
        """A field by its name. Raises `UserError` if there is none."""
        if name not in self.records:
            raise UnknownError(f"these results have no field {name!r}.")
        with self._lock:
            if name not in self._fields:
                self._fields[name] = FieldView(self.folder, self.records[name], self._kept)
            self._fields[name].record = self.records[name]
            self._fields.move_to_end(name)
            while len(self._fields) > _MOST_OPEN:
                self._fields.popitem(last=False)[1].close()
            return self._fields[name]

    def gallery(self) -> dict[str, Any]:
        """A row for each field, and the colours of the types."""
        records = dict(self.records)
        actions = {name: self._actions(name) for name in records}
        types = dict.fromkeys(name for r in records.values() for name in r["phenotypes"])
        return {
            "folder": self.folder.name,
            "types": [{"name": n, "color": c} for n, c in class_colors(list(types)).items()],
            "fields": [_row(records[name], *on_field) for name, on_field in actions.items()],
            "markers": self.gating.markers,
            "look_at": _look_at(list(records.values()), {name: in_force for name, (in_force, _) in actions.items()}),
        }

    def _actions(self, name: str) -> tuple[list[Action], int]:
        """The actions in force, and the number of all in the log."""
        try:
            actions = read_actions(self.folder, name)
            return actions_in_force(actions), len(actions)
        except UserError as e:
            log.warning("%s", e)
            return [], 0

    def correct(self) -> list[str]:
        """Let tables and counts follow the corrections, and return the names of the fields that were behind.

        Raises `UserError` if a file that this needs is missing, or if another process writes into the folder.
        """
        from ..predict.correct import correct_results  # it needs PyTorch, which takes seconds to import

        with alone_in(self.folder):
            names = correct_results(self.folder)
        with self._lock:
            self.records = Records(self.folder)
            self.gating = Gating(self.folder, list(self.records))
        return names

    def thumbnail(self, name: str) -> Path | None:
        """The small picture of a field, or None."""
        path = thumbnail_file(self.folder, self.field(name).name)
        return path if path.is_file() else None

    def close(self) -> None:
        """Write what is not written, and close all files."""
        for field in self._fields.values():
            field.close()


def _look_at(records: list[Record], actions: dict[str, list[Action]]) -> list[dict[str, Any]]:
    """Regions to correct next; none where each field is a single one, because the table lists the fields."""
    if all(len(r.get("regions", [])) < 2 for r in records):
        return []
    return suggested_regions(records, _LISTED, actions)


def _row(record: Record, actions: list[Action], n_logged: int) -> dict[str, Any]:
    checked = checks(actions)
    return {
        **{key: record[key] for key in ("cells", "per_mm2", "area_mm2", "uncertainty")},
        "field": str(record["field"]),
        "types": {n: values["cells"] for n, values in record["phenotypes"].items()},
        "is_behind": is_behind(record, n_logged),
        "corrections": sum(a.action not in (CHECK, UNCHECK) for a in actions),
        "checked": "" if not checked else "field" if checked[-1].points is None else "regions",
    }
