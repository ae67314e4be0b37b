"""`train_folds`: one model a fold, each in a run folder of its own, and their mean and spread."""

import statistics
from pathlib import Path
from typing import Any

from ..training.run_folder import RunFolder
from .config import SegConfig
from .seg import train_seg


def train_folds(options: SegConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train the folds one after another in `out`/fold0, fold1, ...; finished ones are not repeated.

    Writes and returns `out`/metrics.json: mean and standard deviation over the folds of every test and valid metric.
    """
    parent = RunFolder.at(out)
    parent.write("config", options.to_dict())
    members = {f"fold{i}": train_seg(options, parent.path / f"fold{i}", i, bar) for i in range(options.folds)}
    summary = summarise(members)
    parent.write("metrics", summary)
    return summary


def summarise(members: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation of the members' metrics, and the values behind them."""
    first = next(iter(members.values()))
    splits = [s for s in ("valid", "test") if s in first]
    return {
        "task": first["task"],
        "members": list(members),
        **{s: _spread([m[s] for m in members.values()]) for s in splits},
        "baselines": {
            name: {s: _spread([m["baselines"][name][s] for m in members.values()]) for s in splits}
            for name in first["baselines"]
        },
        "threshold": mean_sd([m["threshold"] for m in members.values()]),
    }


def _spread(scores: list[dict[str, Any]]) -> dict[str, Any]:
    names = [k for k, v in scores[0].items() if isinstance(v, float)]
    return {n: mean_sd([s[n] for s in scores]) for n in names}


def mean_sd(values: list[float]) -> dict[str, Any]:
    """Mean, standard deviation (None for one value) and the values."""
    return {
        "mean": round(statistics.fmean(values), 6),
        "sd": round(statistics.stdev(values), 6) if len(values) > 1 else None,
        "values": values,
    }
