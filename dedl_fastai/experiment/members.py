"""`train_members`: one classification run a fold and seed, their mean and spread, and the ensemble of all."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.classification.items import clf_items
from ..data.cohort import Cohort
from ..inference.load import load_run
from ..training.run_folder import RunFolder
from .clf import member_options, train_clf
from .clf_config import ClfConfig
from .clf_evaluation import split_scores
from .folds import open_parent, spread
from .inputs import load_clf_cohort
from .options import numbers

log = logging.getLogger(__name__)


def seeds_of(options: ClfConfig) -> list[int]:
    """The members' seeds."""
    return list(numbers(options.seeds, "--seeds")) or [options.seed]


def train_members(options: ClfConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train every member in `out`/fold0-seed26, ...; finished ones are not repeated, an unfinished one goes on.

    The test side and the folds come from --seed alone, so that members of one fold differ in training only. Writes
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
