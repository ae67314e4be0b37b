"""Corrections of a field by hand: actions are added to the log of `io.corrections`, and applied to predicted labels.

The label image of a field may be behind its log, or of another one, so read it with `corrected_labels`.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import UserError
from ..io.corrections import (
    FOLDER,
    LABELS,
    LOG,
    Action,
    actions_on,
    corrected_files,
    description_of,
    is_up_to_date,
)
from ..io.fields.readers import open_field
from ..io.locks import held
from ..io.ome_tiff import write_ome_tiff
from .correcting import Corrected
from .edited_labels import BLOCK, EditedLabels
from .kinds import KINDS
from .record import Record

log = logging.getLogger(__name__)


class StaleError(UserError):
    """An action that follows from an earlier state of the field than the log has."""


def log_file(folder: Path, name: str) -> Path:
    """Path of the log of a field."""
    return folder / FOLDER / f"{name}{LOG}"


def labels_file(folder: Path, name: str) -> Path:
    """Path of the corrected label image of a field."""
    return folder / FOLDER / f"{name}{LABELS}"


def read_actions(folder: Path, name: str) -> list[Action]:
    """Return all actions on a field; [] without a log."""
    return actions_on(labels_file(folder, name))


def fields_behind(folder: Path, records: Sequence[Record]) -> list[Record]:
    """The fields of results whose tables do not show all their corrections."""
    names = corrected_files(folder).keys() | {r["field"] for r in records if r.get("corrected")}
    candidates = [r for r in records if r["field"] in names]
    return [r for r in candidates if is_behind(r, len(read_actions(folder, r["field"])))]


def is_behind(record: Record, n_actions: int) -> bool:
    """Whether the table of a field does not show all actions of its log."""
    return n_actions != record.get("corrected", 0)


def warn_of_fields_behind(folder: Path, records: Sequence[Record]) -> None:
    """Log a warning if tables do not show all corrections, for commands that read them."""
    if behind := fields_behind(folder, records):
        log.warning(
            "the tables of %d field(s), such as %s, do not show all corrections: `dedl-fastai correct %s` updates them",
            len(behind),
            behind[0]["field"],
            folder,
        )


def append(folder: Path, name: str, action: Action, after: int) -> Action:
    """Write an action that follows revision `after`, and return it with its revision and time when it is on the disk.

    Raises `StaleError` if the log has another revision.
    """
    path = log_file(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_name(f".{name}.lock"), wait=-1):
        n = len(read_actions(folder, name))
        if n != after:
            raise StaleError(f"the field {name!r} was changed elsewhere meanwhile (revision {n}, not {after}).")
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        action = replace(action, revision=n + 1, time=now)
        _append_line(path, action.line)
    return action


def _append_line(path: Path, line: str) -> None:
    """Append a line and wait until it is on the disk; a rest without a line end, left by a kill, is cut off before."""
    with path.open("ab+") as f:
        f.seek(0)
        whole = f.read().rfind(b"\n") + 1
        f.truncate(whole)
        f.write(line.encode("utf-8", errors="backslashreplace") + b"\n")
        f.flush()
        os.fsync(f.fileno())


def types_of(actions: Iterable[Action]) -> dict[int, str]:
    """Return the types that were given by hand, by nucleus; actions are those of `actions_in_force`."""
    return {label: a.type or "" for a in actions if a.action == "type" for label in a.labels}


def open_corrections(folder: Path, name: str) -> Corrected:
    """Return the labels of a field with all its corrections. Raises `UserError` if `predict` wrote no labels."""
    labels = EditedLabels(_predicted_file(folder, name))
    corrected = Corrected(labels, highest=cache(partial(_highest_label, folder, name)))
    for action in read_actions(folder, name):
        try:
            corrected.apply(action)
        except UserError as e:
            raise UserError(
                f"{log_file(folder, name)}, line {action.revision} does not fit the predicted labels ({e}): if they "
                f"were predicted anew, remove the corrections."
            ) from e
    return corrected


def _predicted_file(folder: Path, name: str) -> Path:
    path = folder / f"{name}{KINDS['labels'].ending}"
    if not path.is_file():
        raise UserError(f"{path} does not exist: let predict write it (write=labels).")
    return path


def _highest_label(folder: Path, name: str) -> int:
    """The highest predicted id: from the table of cells, which is read sooner, if there is one."""
    table = folder / f"{name}{KINDS['cells'].ending}"
    if table.is_file():
        return int(pd.read_csv(table, usecols=["label"])["label"].to_numpy().max(initial=0))
    labels = EditedLabels(_predicted_file(folder, name))
    height, width = labels.shape
    highest = [
        labels[y : y + BLOCK, x : x + BLOCK].max() for y in range(0, height, BLOCK) for x in range(0, width, BLOCK)
    ]
    labels.close()
    return int(max(highest))


def corrected_labels(folder: Path, name: str) -> np.ndarray:
    """Return the corrected label image as uint32 (H, W), whether or not its file is up to date."""
    if is_written(folder, name):
        with open_field(labels_file(folder, name)) as field:
            return field.read(0).astype(np.uint32)
    corrected = open_corrections(folder, name)
    try:
        return corrected.labels[:, :]
    finally:
        corrected.labels.close()


def is_written(folder: Path, name: str) -> bool:
    """Whether the label image of a field shows all actions of its log, and no others."""
    return is_up_to_date(labels_file(folder, name), read_actions(folder, name))


def write_labels(folder: Path, name: str, labels: EditedLabels, revision: int) -> None:
    """Write the corrected label image after the first `revision` actions, whole; it replaces the earlier one."""
    field = labels.field

    def read(_channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return labels.read((y0, x0, y1, x1))

    write_ome_tiff(
        labels_file(folder, name),
        read,
        channel_names=["nucleus id"],
        pixel_size_um=field.pixel_size_um,
        origin_um=field.origin_um,
        description=description_of(read_actions(folder, name), revision),
        pyramid=False,
        tile=BLOCK,
        shape=field.shape,
        dtype="uint32",
    )
