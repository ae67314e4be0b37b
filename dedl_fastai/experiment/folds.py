"""`train_folds`: one model a fold, each in a run folder of its own, and their mean and spread."""

import statistics
from pathlib import Path
from typing import Any

from ..training.processes.group import from_first, is_first
from ..training.run_folder import RunFolder
from .config import DataOptions, SegConfig
from .run_steps import check_same_options
from .seg import train_seg


def train_folds(options: SegConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train the folds one after another in `out`/fold0, fold1, ...; finished ones are not repeated.

    Writes and returns `out`/metrics.json: mean and standard deviation over the folds of every test and valid metric.
    """
    parent = RunFolder.at(out)
    from_first(lambda: open_parent(parent, options))
    members = {f"fold{i}": train_seg(options, parent.path / f"fold{i}", i, bar) for i in range(options.folds)}
    summary = summarise(members)
    if is_first():
        parent.write("metrics", summary)
    return summary


def open_parent(parent: RunFolder, options: DataOptions) -> None:
    """Write the options of runs that belong together; raise a `UserError` if they were started with others."""
    if parent.is_started:
        check_same_options(parent, options)
    parent.write("config", options.to_dict())


def summarise(members: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of the members' metrics, and the values behind them."""
    first = next(iter(members.values()))
    splits = [s for s in ("valid", "test") if s in first]
    return {
        "task": first["task"],
        "members": list(members),
        **{s: spread([m[s] for m in members.values()]) for s in splits},
        "baselines": {
            name: {s: spread([m["baselines"][name][s] for m in members.values()]) for s in splits}
            for name in first["baselines"]
        },
        "threshold": _mean_sd([m["threshold"] for m in members.values()]),
    }


def spread(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over members of every number in their scores; members without it are left out."""
    names = [k for k, v in scores[0].items() if isinstance(v, float)]
    return {n: _mean_sd([s[n] for s in scores if s[n] is not None]) for n in names}


def _mean_sd(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(statistics.fmean(values), 6),
        "sd": round(statistics.stdev(values), 6) if len(values) > 1 else None,
        "values": values,
    }
