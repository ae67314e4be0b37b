"""`RunSpec`: one run of a grid; and the state, results and starts that are recorded in its folder."""

import os
import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...io.files import read_json, write_text
from ...io.locks import held
from ...training.run_folder import RunFolder

DONE, FAILED, LOCKED, UNFINISHED, WAITING = "done", "failed", "locked", "unfinished", "waiting"


@dataclass(frozen=True)
class RunSpec:
    """Everything that a process on any machine needs to carry out a run."""

    folder: str
    task: str  # seg, clf
    label: str  # for messages
    metric: str  # shown when the run is done, such as test.iou
    options: dict[str, Any]  # of SegConfig or ClfConfig, resolved; their seed is that of the split
    seed: int  # of the initial weights and the order of the items
    fold: int = 0

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.folder)

    @property
    def log(self) -> Path:
        """Log file of all processes that worked on the run."""
        return self.path / "log.txt"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)


def run_state(folder: Path) -> str:
    """State of a run on disk: done, failed, unfinished or waiting; `is_locked` says whether a process works on it."""
    if (folder / "cost.json").is_file() and RunFolder.at(folder).is_complete:
        return DONE
    if (folder / "error.txt").is_file():
        return FAILED
    return UNFINISHED if RunFolder.at(folder).is_started else WAITING


def run_lock(folder: Path) -> Path:
    """Return the lock file of a run."""
    return folder / "run.lock"


def is_locked(folder: Path) -> bool:
    """Whether a process is working on the run."""
    if not run_lock(folder).exists():
        return False
    with held(run_lock(folder)) as is_ours:
        return not is_ours


def note(folder: Path, what: str) -> None:
    """Add a line to the run's starts.log: time, process, and event (start, done, failed, stopped)."""
    line = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {socket.gethostname()}:{os.getpid()} {what}\n"
    with (folder / "starts.log").open("a", encoding="utf-8") as f:
        f.write(line)


def notes(folder: Path) -> list[str]:
    """Return the events in starts.log, in order: start, done, ..."""
    path = folder / "starts.log"
    return [line.split()[2] for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def note_failure(folder: Path, text: str) -> None:
    """Mark a run as failed; the last line of `text` is the reason."""
    write_text(folder / "error.txt", text)
    note(folder, FAILED)


def forget_failure(folder: Path) -> None:
    """Remove the mark of a failure, so that the run may be started again."""
    (folder / "error.txt").unlink(missing_ok=True)


def outcome(run: RunSpec, state: str = "") -> dict[str, Any]:
    """Return the name and state of a run, and its result or the last line of its error."""
    state = state or run_state(run.path)
    facts: dict[str, Any] = {"run": run.path.name, "state": state}
    if state == DONE:
        facts["value"] = result_of(run.path, run.metric)
        facts["seconds"] = result_of(run.path, "train_seconds")
    if state == FAILED:
        lines = (run.path / "error.txt").read_text(encoding="utf-8").strip().splitlines()
        facts["error"] = lines[-1] if lines else "no reason was written"
    return facts


def result_of(folder: Path, metric: str) -> float | None:
    """Return a number of a finished run, or None if it has none.

    It is "test.iou" of the metrics, train_seconds or peak_mb of the cost, epoch_seconds (the mean over the epochs), or
    "history.COLUMN" of the last epoch.
    """
    file, _, column = metric.partition(".")
    if metric == "epoch_seconds":
        seconds = [float(row["seconds"]) for row in RunFolder.at(folder).history() if row.get("seconds")]
        return statistics.fmean(seconds) if seconds else None
    if file == "history":
        value = RunFolder.at(folder).history()[-1].get(column)
        return float(value) if value else None
    cost = read_json(folder / "cost.json")
    return cost[metric] if metric in cost else looked_up(read_json(folder / "metrics.json"), metric)


def looked_up(values: Any, path: str) -> float | None:
    """Return the number at a path such as "test.at_0.5.iou" in nested objects; None if there is none."""
    while path:
        if not isinstance(values, Mapping):
            return None
        key = next((k for k in sorted(values, key=len, reverse=True) if path == k or path.startswith(f"{k}.")), None)
        if key is None:
            return None
        values, path = values[key], path[len(key) + 1 :]
    return values if isinstance(values, int | float) and not isinstance(values, bool) else None
