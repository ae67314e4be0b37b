"""`Tracker`: base class of the logs of a run in the format of other tools, and `tracker_of`, which chooses one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from fastai.callback.core import Callback

from ...extras import optional
from ..run_folder import RunFolder

PROJECT = "dedl-fastai"  # under which MLflow and W&B list the runs, unless their own variables name another


class Tracker(ABC):
    """The log of one run. Nothing is opened before `callback`, when the run's config.json exists.

    A run that is resumed continues its log: `log_id` keeps the name that the tool gave it in the run's log.json.
    """

    def __init__(self, run: RunFolder, tool: str):
        self.run, self.tool = run, tool

    @abstractmethod
    def callback(self, steps_done: int) -> Callback:
        """Open the log, write the options, and return the callback that logs each epoch after `steps_done` batches."""

    @abstractmethod
    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Log the scores of metrics.json and the run's figures, and close the log."""

    def options(self) -> dict[str, Any]:
        """Return the options of the run."""
        return self.run.read("config")

    def figures(self) -> dict[str, Path]:
        """Return the figures of the run by name."""
        return {path.stem: path for path in sorted((self.run.path / "figures").glob("*.png"))}

    @property
    def log_id(self) -> str:
        """The tool's name of this log; "" before it was opened for the first time."""
        return self._ids().get(self.tool, "")

    def keep_id(self, value: str) -> None:
        """Write the tool's name of this log into the run folder."""
        self.run.write("log", {**self._ids(), self.tool: value})

    def _ids(self) -> dict[str, str]:
        return self.run.read("log") if (self.run.path / "log.json").is_file() else {}


def tracker_of(name: str, run: RunFolder) -> Tracker | None:
    """Return the tracker with this name, None for ""; `UserError` if its package is not installed."""
    if not name:
        return None
    optional(name, "log", f"logs for {name}")
    return import_module(f"..{name}_log", __name__).Log(run, name)


def flat_scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the pooled scores of each split and of the baselines, by names such as "test/iou"."""
    baselines = {f"baselines/{name}": scores for name, scores in metrics.get("baselines", {}).items()}
    for group, scores in {**metrics, **baselines}.items():
        if group in ("valid", "test") or group in baselines:
            yield from ((f"{group}/{name}", float(v)) for name, v in scores.items() if isinstance(v, float))
