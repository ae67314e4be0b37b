"""`train_folds` and `train_members`: train a run for each fold and seed, and summarise them and their ensemble."""

import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.classification.items import ClfItem, clf_items
from ..data.cohort import Cohort
from ..inference.load import load_classifier
from ..training.processes.group import from_first, is_first
from ..training.run_folder import RunFolder
from .classification.item_scores import split_scores
from .classification.training import member_options, train_clf
from .cohort import load_clf_cohort
from .lifecycle import open_parent
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .segmentation.training import train_seg

log = logging.getLogger(__name__)


def train_folds(options: SegConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train the folds one after another in `out`/fold0, fold1, ...; finished folds are not repeated.

    Writes and returns `out`/metrics.json: mean and standard deviation of every valid and test metric over the folds.
    """
    parent = RunFolder.at(out)
    from_first(lambda: open_parent(parent, options))
    members = {f"fold{i}": train_seg(options, parent.path / f"fold{i}", i, bar) for i in range(options.folds)}
    summary = fold_summary(members)
    if is_first():
        parent.write("metrics", summary)
    return summary


def fold_summary(members: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return mean, standard deviation and values of the members' metrics."""
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
    """Return mean and standard deviation of each score over the members; members without a value are left out."""
    names = [k for k, v in scores[0].items() if isinstance(v, float)]
    return {n: _mean_sd([s[n] for s in scores if s[n] is not None]) for n in names}


def _mean_sd(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(statistics.fmean(values), 6),
        "sd": round(statistics.stdev(values), 6) if len(values) > 1 else None,
        "values": values,
    }


def train_members(options: ClfConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train each member in `out`/fold0-seed26, ...; finished members are not repeated, an unfinished one is continued.

    Test split and folds depend only on `seed`, so that the members of a fold differ only in training. Writes and
    returns `out`/metrics.json: mean and spread over the members, and the scores of the ensemble (mean probabilities,
    mean thresholds) on the test items.
    """
    parent = RunFolder.at(out)
    open_parent(parent, options)
    members: dict[str, dict[str, Any]] = {}
    for fold in range(max(1, options.folds)):
        cohort = load_clf_cohort(options, fold)
        for seed in options.member_seeds:
            name = f"fold{fold}-seed{seed}" if options.folds else f"seed{seed}"
            log.info("member %s", name)
            members[name] = train_clf(member_options(options, seed), parent.path / name, cohort, bar)
    first = next(iter(members.values()))
    summary: dict[str, Any] = {
        "task": "classification",
        "members": list(members),
        **{s: spread([m[s] for m in members.values()]) for s in ("valid", "test") if s in first},
        "baselines": first["baselines"],
    }
    if "test" in first:
        # the test split is the same in every fold
        summary["ensemble"] = {"test": ensemble_scores([parent.path / m for m in members], cohort, options.device)}
    parent.write("metrics", summary)
    return summary


def ensemble_scores(runs: Sequence[Path], cohort: Cohort, device: str) -> dict[str, Any]:
    """Score the mean probabilities of the members on the test items, with one member in memory at a time."""
    probabilities, thresholds = [], []
    items: list[ClfItem] = []
    classes: list[str] = []
    for path in runs:
        classifier = load_classifier(path, "best", device)
        items = items or clf_items(cohort, classifier.facts, "test")
        probabilities.append(classifier.probabilities(items))
        thresholds.append(classifier.thresholds)
        classes = classifier.classes
    return split_scores(items, np.mean(probabilities, axis=0), np.mean(thresholds, axis=0), classes)
