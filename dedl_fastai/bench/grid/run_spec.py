"""`RunSpec`, one run of a grid, and what its folder says of it: state, results, how often it was started."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...io.files import read_json, write_text
from ...training.run_folder import RunFolder
from .locks import held

DONE, FAILED, LOCKED, UNFINISHED, WAITING = "done", "failed", "locked", "unfinished", "waiting"


@dataclass(frozen=True)
class RunSpec:
    """All that a process anywhere needs to carry out a run; a JSON object as `asdict`."""

    folder: str
    task: str  # seg, clf
    label: str  # for people
    metric: str  # shown when it is done, such as test.iou
    options: dict[str, Any]  # of SegConfig or ClfConfig, resolved; its seed is that of the split
    seed: int  # of the weights and the order of the items
    fold: int = 0

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.folder)

    @property
    def log(self) -> Path:
        """What its processes logged, all starts in one file."""
        return self.path / "log.txt"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run_state(folder: Path) -> str:
    """What lies on the disk: done, failed, unfinished or waiting. Whether a process is at it, `is_locked` tells."""
    if (folder / "cost.json").is_file() and RunFolder.at(folder).is_complete:
        return DONE
    if (folder / "error.txt").is_file():
        return FAILED
    return UNFINISHED if RunFolder.at(folder).is_started else WAITING


def run_lock(folder: Path) -> Path:
    """The file that the process of a run holds locked."""
    return folder / "run.lock"


def is_locked(folder: Path) -> bool:
    """True while a process is at the run."""
    if not run_lock(folder).exists():
        return False
    with held(run_lock(folder)) as is_ours:
        return not is_ours


def note(folder: Path, what: str) -> None:
    """Add a line to the run's starts.log: when, which process, what (start, done, failed, stopped, died)."""
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {socket.gethostname()}:{os.getpid()} {what}\n"
    with (folder / "starts.log").open("a", encoding="utf-8") as f:
        f.write(line)


def notes(folder: Path) -> list[str]:
    """What starts.log says happened, in order: start, done, ..."""
    path = folder / "starts.log"
    return [line.split()[2] for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def note_failure(folder: Path, text: str) -> None:
    """Mark a run as failed; `text` ends with the reason."""
    write_text(folder / "error.txt", text)
    note(folder, FAILED)


def forget_failure(folder: Path) -> None:
    """Take the mark away: the run may be started again."""
    (folder / "error.txt").unlink(missing_ok=True)


def outcome(run: RunSpec, state: str = "") -> dict[str, Any]:
    """What a grid wants to know of a run: its state, and its result or the last line of its error."""
    state = state or run_state(run.path)
    found: dict[str, Any] = {"run": run.path.name, "state": state}
    if state == DONE:
        found["value"] = result_of(run.path, run.metric)
        found["seconds"] = result_of(run.path, "train_seconds")
    if state == FAILED:
        lines = (run.path / "error.txt").read_text(encoding="utf-8").strip().splitlines()
        found["error"] = lines[-1] if lines else "no reason was written"
    return found


def result_of(folder: Path, metric: str) -> float | None:
    """A number of a finished run: "test.iou" of its metrics, or train_seconds and peak_mb of its cost."""
    cost = read_json(folder / "cost.json")
    return cost[metric] if metric in cost else looked_up(read_json(folder / "metrics.json"), metric)


def looked_up(values: Any, path: str) -> float | None:
    """The number at "test.at_0.5.iou" in nested objects; None if there is none."""
    while path:
        if not isinstance(values, Mapping):
            return None
        key = next((k for k in sorted(values, key=len, reverse=True) if path == k or path.startswith(f"{k}.")), None)
        if key is None:
            return None
        values, path = values[key], path[len(key) + 1 :]
    return values if isinstance(values, int | float) and not isinstance(values, bool) else None
