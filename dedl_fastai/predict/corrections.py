"""Corrections of a field by hand, in `RESULTS/corrections/`: a log of actions, and the label image after them.

`NAME.jsonl` has one action per line, and is the truth of what happened; `NAME.ome.tif` is the whole corrected label
image, with the revision that it shows in its description. It is behind the log if a process was killed, so read it with
`corrected_labels`.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from ..cells.editing import filled
from ..errors import UserError
from ..io.fields.readers import open_field
from ..io.files import existing_file
from ..io.locks import held
from ..io.ome_tiff import write_ome_tiff
from .correcting import Action, Corrected
from .edited_labels import BLOCK, EditedLabels
from .kinds import KINDS

ACTIONS = ("delete", "merge", "split", "draw", "type", "check", "uncheck", "undo", "redo")
FOLDER = "corrections"
_REVISION = re.compile(r"revision (\d+)")


class StaleError(UserError):
    """An action that follows from an earlier state of the field than the log has."""


def log_file(folder: Path, name: str) -> Path:
    """Path of the log of a field."""
    return folder / FOLDER / f"{name}.jsonl"


def labels_file(folder: Path, name: str) -> Path:
    """Path of the corrected label image of a field."""
    return folder / FOLDER / f"{name}.ome.tif"


def corrected_fields(folder: Path) -> list[str]:
    """Names of the fields that have a log of corrections, sorted."""
    return sorted(p.name.removesuffix(".jsonl") for p in (folder / FOLDER).glob("*.jsonl"))


def read_log(folder: Path, name: str) -> list[Action]:
    """Return all actions on a field, without a last line that was not written to its end; [] without a log."""
    path = log_file(folder, name)
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [_parsed(path, i, line) for i, line in enumerate(lines, 1)]


def _parsed(path: Path, number: int, line: bytes) -> Action:
    try:
        data = json.loads(line)
        points = data["points"]
        action = Action(
            action=data["action"],
            labels=tuple(int(i) for i in data["labels"]),
            points=None if points is None else tuple((float(x), float(y)) for x, y in points),
            type=data["type"],
            revision=int(data["revision"]),
            time=str(data["time"]),
        )
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path}, line {number} is no correction ({e}): restore the file, or remove it.") from e
    if action.action not in ACTIONS or action.revision != number:
        raise UserError(f"{path}, line {number} is out of order or unknown: restore the file, or remove it.")
    return action


def append(folder: Path, name: str, action: Action, after: int) -> Action:
    """Write an action that follows revision `after`, and return it with its revision and time when it is on the disk.

    Raises `StaleError` if the log has another revision.
    """
    path = log_file(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with held(path.with_name(f".{name}.lock"), wait=-1):
        n = len(read_log(folder, name))
        if n != after:
            raise StaleError(f"the field {name!r} was changed elsewhere meanwhile (revision {n}, not {after}).")
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        action = replace(action, revision=n + 1, time=now)
        _append_line(path, json.dumps(_as_line(action), ensure_ascii=False))
    return action


def _as_line(action: Action) -> dict[str, Any]:
    order = ("time", "revision", "action", "labels", "points", "type")
    values = asdict(action)
    return {name: values[name] for name in order}


def _append_line(path: Path, line: str) -> None:
    """Append a line and wait until it is on the disk; a rest without a line end, left by a kill, is cut off before."""
    with path.open("ab+") as f:
        f.seek(0)
        whole = f.read().rfind(b"\n") + 1
        f.truncate(whole)
        f.write(line.encode("utf-8", errors="backslashreplace") + b"\n")
        f.flush()
        os.fsync(f.fileno())


def effective(actions: Iterable[Action]) -> list[Action]:
    """Return the actions that hold: without undone ones, and without undo and redo themselves."""
    done: list[Action] = []
    undone: list[Action] = []
    for action in actions:
        if action.action in ("undo", "redo"):
            source, target = (done, undone) if action.action == "undo" else (undone, done)
            if source:
                target.append(source.pop())
        else:
            done.append(action)
            undone.clear()
    return done


def checked_mask(folder: Path, name: str, shape: tuple[int, int]) -> np.ndarray:
    """Return which pixels of a field were checked, as bool (H, W)."""
    mask = np.zeros(shape, bool)
    for action in effective(read_log(folder, name)):
        if action.action in ("check", "uncheck"):
            inside = slice(None) if action.points is None else filled(shape, np.array(action.points))
            mask[inside] = action.action == "check"
    return mask


def types_of(actions: Iterable[Action]) -> dict[int, str]:
    """Return the types that were given by hand, by nucleus; actions are those of `effective`."""
    return {label: a.type or "" for a in actions if a.action == "type" for label in a.labels}


def open_corrections(folder: Path, name: str) -> Corrected:
    """Return the labels of a field with all its corrections. Raises `UserError` if `predict` wrote no labels."""
    labels = EditedLabels(_predicted_file(folder, name))
    corrected = Corrected(labels, highest=cache(partial(_highest_label, folder, name)))
    for action in read_log(folder, name):
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
    if labels_file(folder, name).is_file() and is_written(folder, name):
        with open_field(labels_file(folder, name)) as field:
            return field.read(0).astype(np.uint32)
    corrected = open_corrections(folder, name)
    try:
        return corrected.labels[:, :]
    finally:
        corrected.labels.close()


def written_revision(folder: Path, name: str) -> int:
    """The revision that the label image of a field shows; 0 if there is none."""
    path = labels_file(folder, name)
    if not path.is_file():
        return 0
    with tifffile.TiffFile(existing_file(path)) as tif:
        found = _REVISION.search(tif.ome_metadata or "")
    return int(found[1]) if found else 0


def is_written(folder: Path, name: str) -> bool:
    """Whether the label image of a field shows all actions of its log."""
    return written_revision(folder, name) == len(read_log(folder, name))


def write_labels(folder: Path, name: str, labels: EditedLabels, revision: int) -> None:
    """Write the corrected label image whole; it replaces the earlier one."""
    field = labels.field

    def read(_channel: int, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        return labels.read((y0, x0, y1, x1))

    write_ome_tiff(
        labels_file(folder, name),
        read,
        channel_names=["nucleus id"],
        pixel_size_um=field.pixel_size_um,
        origin_um=field.origin_um,
        description=f"corrected by hand, revision {revision}",
        pyramid=False,
        tile=BLOCK,
        shape=field.shape,
        dtype="uint32",
    )
