"""Corrections of predicted fields, as `view` writes them: labels, the log of the actions, and which part is checked.

For a field NAME, `corrections/NAME.ome.tif` holds the labels after all actions, and `corrections/NAME.jsonl` has one
JSON object a line: {"time", "revision", "action", "labels", "points", "type"}.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from skimage.draw import polygon as draw_polygon

from ..errors import UserError
from .files import existing_file

FOLDER, LABELS, LOG = "corrections", ".ome.tif", ".jsonl"
_REVISION = re.compile(r"revision (\d+)")  # in the description of a label image: the actions that it shows
CHECK, UNCHECK, UNDO, REDO = "check", "uncheck", "undo", "redo"

Action = dict[str, Any]


def corrected_files(results: Path) -> dict[str, Path]:
    """Return the label image of each field of a folder of results that has a log of corrections, by the field's name.

    The image itself may be missing.
    """
    logs = sorted(p for p in (results / FOLDER).glob(f"*{LOG}") if not p.name.startswith("."))
    return {p.name.removesuffix(LOG): p.with_name(p.name.removesuffix(LOG) + LABELS) for p in logs}


def is_up_to_date(labels: Path, actions: Sequence[Action]) -> bool:
    """Return whether a label image exists and shows all actions of its log; one that does not say so is believed."""
    if not labels.is_file():
        return False
    try:
        with tifffile.TiffFile(labels) as tif:
            found = _REVISION.search(tif.ome_metadata or "")
    except (tifffile.TiffFileError, OSError, ValueError):
        return True  # the error is raised where its pixels are read
    return found is None or int(found[1]) >= len(actions)


def log_of(labels: str | Path) -> Path | None:
    """Return the log of a corrected label image; None for any other file."""
    labels = Path(labels)
    if labels.parent.name != FOLDER or not labels.name.endswith(LABELS):
        return None
    log = labels.with_name(labels.name.removesuffix(LABELS) + LOG)
    return log if log.is_file() else None


def read_log(path: str | Path) -> list[Action]:
    """Return the actions in a log. A last line that was cut short, as by a killed process, is left out.

    Raises `UserError` for other lines that are no JSON objects with an action.
    """
    path = existing_file(path)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    actions: list[Action] = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and isinstance(value.get("action"), str):
            actions.append(value)
        elif number < len(lines):
            raise UserError(f"{path}: line {number} is not an action: remove this line, or restore the file.")
    return actions


def actions_in_force(actions: Sequence[Action]) -> list[Action]:
    """Return the actions that are not undone, without the undoing and redoing itself."""
    done: list[Action] = []
    undone: list[Action] = []
    for action in actions:
        if action["action"] == UNDO:
            undone += [done.pop()] if done else []
        elif action["action"] == REDO:
            done += [undone.pop()] if undone else []
        else:
            done, undone = [*done, action], []
    return done


def checks(actions: Sequence[Action]) -> list[Action]:
    """Return the actions that say which part of a field is checked; [] if nothing is.

    An action on the whole field replaces those before it.
    """
    marks = [a for a in actions_in_force(actions) if a["action"] in (CHECK, UNCHECK)]
    of_whole = [i for i, a in enumerate(marks) if not a.get("points")]
    marks = marks[of_whole[-1] if of_whole else 0 :]
    return marks if any(a["action"] == CHECK for a in marks) else []


def checked_mask(actions: Sequence[Action], shape: tuple[int, int]) -> np.ndarray:
    """Return the checked part of a field, bool (H, W): pixels whose centres are in a checked polygon.

    Points are (x, y) in pixels from the corner of the upper left pixel, as in QuPath.
    """
    checked = np.zeros(shape, bool)
    for action in checks(actions):
        points = action.get("points")
        if points:
            x, y = np.asarray(points, float).T - 0.5
            checked[draw_polygon(y, x, shape)] = action["action"] == CHECK
        else:
            checked[:] = action["action"] == CHECK
    return checked


def with_whole_nuclei(checked: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the checked part with the nuclei of which more than half is in it, and without all others."""
    area = np.bincount(labels.ravel())
    inside = np.bincount(labels[checked], minlength=len(area))
    return np.where(labels > 0, (2 * inside > area)[labels], checked)
