"""`startup_costs`: seconds from the start of each command to its help, and until it has its libraries."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

COMMANDS = (
    *("seg", "clf", "lr-find", "evaluate", "predict", "gate", "neighbours", "view", "correct", "report"),
    *("data", "bench", "export", "explain", "hub", "doctor"),
)
_ROOMS = {  # what the commands import before they begin
    "seg": "runs.segmentation.training",
    "clf": "runs.classification.training",
    "evaluate": "runs.evaluation",
    "gate": "predict.gate",
    "neighbours": "predict.neighbours",
    "view": "view.server",
    "correct": "predict.correct",
    "report": "predict.reports",
}
_TO_FIRST_FIELD = (
    "from dedl_fastai.predict import cells; from dedl_fastai.predict.options import ModelOptions; "
    "from dedl_fastai.predict.settings import load_ensemble; load_ensemble(['nuclei'], ModelOptions(device='cpu'))"
)


def startup_costs(commands: Sequence[str] = COMMANDS, rounds: int = 3) -> dict[str, dict[str, float]]:
    """Return processor and wall seconds of each start, the fastest of several rounds, in turn.

    `seg, libraries` imports what a training needs, and so on; `predict, to the first field` also loads the model of
    nuclei.
    """
    starts: dict[str, list[str]] = {f"{c} --help": ["-m", "dedl_fastai.cli", *c.split(), "--help"] for c in commands}
    for name in [c for c in _ROOMS if c in commands]:
        starts[f"{name}, libraries"] = ["-c", f"import dedl_fastai.{_ROOMS[name]}"]
    starts["predict, to the first field"] = ["-c", _TO_FIRST_FIELD]
    costs = [{name: _cost(arguments) for name, arguments in starts.items()} for _ in range(rounds)]
    return {name: {k: min(c[name][k] for c in costs) for k in costs[0][name]} for name in starts}


def _cost(arguments: Sequence[str]) -> dict[str, Any]:
    """Seconds of a fresh Python with these arguments."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    seconds = {"cpu_seconds": usage.ru_utime + usage.ru_stime, "wall_seconds": time.perf_counter() - started}
    return {name: round(s, 2) for name, s in seconds.items()}
