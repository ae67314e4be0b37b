"""`train_folds` and `train_members`: a run for each fold and seed, their mean and spread, and the ensemble of all."""

import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.classification.items import clf_items
from ..data.cohort import Cohort
from ..inference.load import load_run
from ..training.processes.group import from_first, is_first
from ..training.run_folder import RunFolder
from .classification.evaluation import split_scores
from .classification.training import member_options, train_clf
from .cohort import load_clf_cohort
from .lifecycle import check_same_options
from .options.base import numbers
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .options.training import DataOptions
from .segmentation.training import train_seg

log = logging.getLogger(__name__)


def train_folds(options: SegConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train the folds one after another in `out`/fold0, fold1, ...; finished ones are not repeated.

    Writes and returns `out`/metrics.json: mean and standard deviation over the folds of every test and valid metric.
    """
    parent = RunFolder.at(out)
    from_first(lambda: open_parent(parent, options))
    members = {f"fold{i}": train_seg(options, parent.path / f"fold{i}", i, bar) for i in range(options.folds)}
    summary = fold_summary(members)
    if is_first():
        parent.write("metrics", summary)
    return summary


def open_parent(parent: RunFolder, options: DataOptions) -> None:
    """Write the options of runs that belong together; raise a `UserError` if they were started with others."""
    if parent.is_started:
        check_same_options(parent, options)
    parent.write("config", options.to_dict())


def fold_summary(members: dict[str, dict[str, Any]]) -> dict[str, Any]:
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


def seeds_of(options: ClfConfig) -> list[int]:
    """The members' seeds."""
    return list(numbers(options.seeds, "seeds")) or [options.seed]


def train_members(options: ClfConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train every member in `out`/fold0-seed26, ...; finished ones are not repeated, an unfinished one goes on.

    The test side and the folds come from `seed` alone, so that members of one fold differ in training only. Writes
    and returns `out`/metrics.json: mean and spread over the members, and the ensemble (mean of probabilities, mean of
    the members' thresholds) on the test items.
    """
    parent = RunFolder.at(out)
    open_parent(parent, options)
    members: dict[str, dict[str, Any]] = {}
    for fold in range(max(1, options.folds)):
        cohort = load_clf_cohort(options, fold)
        for seed in seeds_of(options):
            name = f"fold{fold}-seed{seed}" if options.folds else f"seed{seed}"
            log.info("member %s", name)
            members[name] = train_clf(member_options(options, seed), parent.path / name, cohort, bar)
    first = next(iter(members.values()))
    summary = {
        "task": "classification",
        "members": list(members),
        **{s: spread([m[s] for m in members.values()]) for s in ("valid", "test") if s in first},
        "baselines": first["baselines"],
    }
    if "test" in first:
        # every fold has the same test side
        summary["ensemble"] = {"test": ensemble_scores([parent.path / m for m in members], cohort, options.device)}
    parent.write("metrics", summary)
    return summary


def ensemble_scores(runs: Sequence[Path], cohort: Cohort, device: str) -> dict[str, Any]:
    """Scores of the mean of the members' probabilities on the test items."""
    probabilities, thresholds, items, classes = [], [], None, []
    for path in runs:
        classifier = load_run(path, "best", device)
        items = items or clf_items(cohort, classifier.facts, "test")
        probabilities.append(classifier.probabilities(items))
        thresholds.append(classifier.thresholds)
        classes = classifier.classes
    return split_scores(items, np.mean(probabilities, axis=0), np.mean(thresholds, axis=0), classes)
