"""`train_test_folds`: train runs that together test every patient once, and score their pooled predictions."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..cells.options import NucleiOptions
from ..data.cohort import Cohort
from ..training.model_card import read_card
from ..training.processes.group import from_first, is_first
from ..training.run_folder import RunFolder
from .classification.out_of_fold import score_clf_folds
from .classification.training import member_options, train_clf
from .cohort import load_clf_outer_folds, load_outer_folds
from .lifecycle import open_parent
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .outer_fold import OuterFold
from .segmentation.out_of_fold import score_seg_folds
from .segmentation.training import train_seg

log = logging.getLogger(__name__)


def train_test_folds(options: SegConfig | ClfConfig, out: str | Path, bar: bool | None = None) -> dict[str, Any]:
    """Train the runs of every test fold in `out`/test0, test1, ... (with `seeds`: test0-seed26, ...), and pool them.

    Finished runs are not repeated, an unfinished one is continued. Writes and returns `out`/metrics.json: the scores of
    all fields, each predicted by the runs that did not see its patient, with intervals over patients, next to the
    baselines. Raises `UserError` for too few patients, before anything is written.
    """
    parent = RunFolder.at(out)
    cohorts = load_clf_outer_folds(options) if isinstance(options, ClfConfig) else load_outer_folds(options)
    from_first(lambda: open_parent(parent, options))
    folds = []
    for i, cohort in enumerate(cohorts):
        runs = _train_fold(options, parent.path / f"test{i}", cohort, bar)
        folds.append(OuterFold(f"test{i}", cohort, runs))
    if parent.is_complete:
        return parent.read("metrics")
    metrics = from_first(lambda: score_test_folds(folds, device=options.device))
    if is_first():
        parent.write("metrics", metrics)
    return metrics


def _train_fold(options: SegConfig | ClfConfig, path: Path, cohort: Cohort, bar: bool | None) -> list[RunFolder]:
    """Train the run of a fold in `path`, or one for each of the given seeds, and return them."""
    log.info("fold %s: %d of %d fields are tested", path.name, len(cohort.part("test")), len(cohort))
    if isinstance(options, SegConfig):
        train_seg(replace(options, test_folds=""), path, bar=bar, cohort=cohort)
        return [RunFolder.at(path)]
    runs = []
    for seed in options.member_seeds:
        member = path.with_name(f"{path.name}-seed{seed}") if options.seeds else path
        train_clf(member_options(options, seed), member, cohort, bar)
        runs.append(RunFolder.at(member))
    return runs


def score_test_folds(
    folds: Sequence[OuterFold], which: str = "best", device: str = "auto", nuclei: NucleiOptions | None = None
) -> dict[str, Any]:
    """Score the pooled predictions of the folds' runs for the patients that they test."""
    if read_card(folds[0].runs[0])["task"] == "segmentation":
        return score_seg_folds(folds, which, device, nuclei)
    return score_clf_folds(folds, which, device)
