"""Corrections of predicted fields, as `view` writes them: labels, the log of the actions, and which part is checked.

For a field NAME, `corrections/NAME.jsonl` has one action a line, as a JSON object with the attributes of `Action`, and
is the truth of what happened. `corrections/NAME.ome.tif` holds the labels after the actions, and its description says
which: their number (the revision) and a digest of them. It is behind the log if a process was killed, and shows another
one if the log was removed or replaced.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tifffile
from skimage.draw import polygon as draw_polygon
from skimage.measure import points_in_poly

from ..errors import UserError
from .files import existing_file

FOLDER, LABELS, LOG, PREDICTED = "corrections", ".ome.tif", ".jsonl", "_predicted.csv"
_REVISION = re.compile(r"revision (\d+)(?: of log ([0-9a-f]+))?")  # in the description of a label image: what it shows
CHECK, UNCHECK, UNDO, REDO = "check", "uncheck", "undo", "redo"
BEHIND = "does not show all corrections of its log: open the folder with `view` once"  # of a label image
ACTIONS = ("delete", "merge", "split", "draw", "type", CHECK, UNCHECK, UNDO, REDO)


@dataclass(frozen=True)
class Action:
    """A correction. Points are (x, y) in pixels of the field; the upper left pixel covers 0 to 1."""

    action: str  # one of `ACTIONS`
    labels: tuple[int, ...] = ()  # the nuclei; new ones of a split after the one that was split
    points: tuple[tuple[float, float], ...] | None = None  # a line, an outline, or a place in each nucleus
    type: str | None = None
    revision: int = 0  # number of its line in the log
    time: str = ""

    @property
    def line(self) -> str:
        """The action as a line of a log, without the end of the line."""
        values, order = asdict(self), ("time", "revision", "action", "labels", "points", "type")
        return json.dumps({name: values[name] for name in order}, ensure_ascii=False)


def corrected_files(results: Path) -> dict[str, Path]:
    """Return the label image of each field of a folder of results that has a log of corrections, by the field's name.

    The image itself may be missing.
    """
    logs = sorted(p for p in (results / FOLDER).glob(f"*{LOG}") if not p.name.startswith("."))
    return {p.name.removesuffix(LOG): p.with_name(p.name.removesuffix(LOG) + LABELS) for p in logs}


def predicted_table(results: Path, name: str) -> Path:
    """Return where the table of the predicted cells of a field is kept, once that in the results has corrections."""
    return results / FOLDER / f"{name}{PREDICTED}"


def _shown(labels: Path) -> re.Match | None:
    try:
        with tifffile.TiffFile(labels) as tif:
            return _REVISION.search(tif.ome_metadata or "")
    except (tifffile.TiffFileError, OSError, ValueError):
        return None  # the error is raised where its pixels are read


def description_of(actions: Sequence[Action], revision: int) -> str:
    """Return the description of a label image that shows the first actions of a log, up to this revision."""
    return f"corrected by hand, revision {revision} of log {_digest(actions[:revision])}"


def _digest(actions: Sequence[Action]) -> str:
    return hashlib.sha256("\n".join(a.line for a in actions).encode(errors="backslashreplace")).hexdigest()[:16]


def shows(labels: Path, actions: Sequence[Action]) -> bool:
    """Return whether a label image exists and says that it shows exactly these actions."""
    found = _shown(labels) if labels.is_file() else None
    return found is not None and found[2] == _digest(actions)


def is_up_to_date(labels: Path, actions: Sequence[Action]) -> bool:
    """Return whether a label image exists and shows all actions of its log, and no others.

    One that does not say so is believed if there are actions. Images of earlier versions say only how many they show.
    """
    if not labels.is_file():
        return False
    found = _shown(labels)
    if found is None:
        return bool(actions)
    return int(found[1]) == len(actions) and found[2] in (None, _digest(actions))


def log_of(labels: str | Path) -> Path | None:
    """Return the log of a corrected label image; None for any other file."""
    labels = Path(labels)
    if labels.parent.name != FOLDER or not labels.name.endswith(LABELS):
        return None
    log = labels.with_name(labels.name.removesuffix(LABELS) + LOG)
    return log if log.is_file() else None


def read_log(path: str | Path) -> list[Action]:
    """Return the actions in a log. A last line that was cut short, as by a killed process, is left out.

    Raises `UserError` for other lines that are not an action, or not the next one.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size == 0:  # of a process that was killed before its first line
        return []
    lines = existing_file(path).read_bytes().split(b"\n")[:-1]
    return [_parsed(path, number, line) for number, line in enumerate(lines, 1)]


def actions_on(labels: str | Path) -> list[Action]:
    """Return the actions in the log of a corrected label image, which itself may be missing; [] without a log."""
    log = log_of(labels)
    return read_log(log) if log else []


def _parsed(path: Path, number: int, line: bytes) -> Action:
    try:
        data = json.loads(line)
        points = data["points"]
        action = Action(
            action=str(data["action"]),
            labels=tuple(int(i) for i in data["labels"]),
            points=None if points is None else tuple((float(x), float(y)) for x, y in points),
            type=data["type"],
            revision=int(data["revision"]),
            time=str(data["time"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise UserError(f"{path}: line {number} is not an action ({e!r:.80}): restore the file, or remove it.") from e
    if action.action not in ACTIONS or action.revision != number:
        raise UserError(f"{path}: line {number} is out of order or unknown: restore the file, or remove it.")
    return action


def actions_in_force(actions: Iterable[Action]) -> list[Action]:
    """Return the actions that are not undone, without the undoing and redoing itself."""
    done: list[Action] = []
    undone: list[Action] = []
    for action in actions:
        if action.action in (UNDO, REDO):
            source, target = (done, undone) if action.action == UNDO else (undone, done)
            if source:
                target.append(source.pop())
        else:
            done.append(action)
            undone.clear()
    return done


def checks(actions: Sequence[Action]) -> list[Action]:
    """Return the actions that say which part of a field is checked; [] if nothing is.

    An action on the whole field replaces those before it.
    """
    marks = [a for a in actions_in_force(actions) if a.action in (CHECK, UNCHECK)]
    of_whole = [i for i, a in enumerate(marks) if a.points is None]
    marks = marks[of_whole[-1] if of_whole else 0 :]
    return marks if any(a.action == CHECK for a in marks) else []


def checked_mask(actions: Sequence[Action], shape: tuple[int, int]) -> np.ndarray:
    """Return the checked part of a field, bool (H, W): pixels whose centres are in a checked polygon.

    Points are (x, y) in pixels from the corner of the upper left pixel, as in QuPath.
    """
    checked = np.zeros(shape, bool)
    for action in checks(actions):
        if action.points is None:
            checked[:] = action.action == CHECK
        elif len(action.points) > 2:
            x, y = np.asarray(action.points, float).T - 0.5
            checked[draw_polygon(y, x, shape)] = action.action == CHECK
    return checked


def is_checked(actions: Sequence[Action], point: tuple[float, float]) -> bool:
    """Return whether a point (x, y) of a field is in the checked part."""
    marks = [a for a in checks(actions) if a.points is None or points_in_poly([point], a.points)[0]]
    return bool(marks) and marks[-1].action == CHECK


def with_whole_nuclei(checked: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the checked part with the nuclei of which more than half is in it, and without all others."""
    area = np.bincount(labels.ravel())
    inside = np.bincount(labels[checked], minlength=len(area))
    return np.where(labels > 0, (2 * inside > area)[labels], checked)
