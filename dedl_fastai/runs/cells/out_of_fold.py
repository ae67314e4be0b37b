"""`train_cells_folds`: classifiers of cells that together test every patient once, and their pooled scores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ...training.run_folder import RunFolder
from ..cohort import load_cells_outer_folds
from ..lifecycle import open_parent
from ..options.clf import ClfConfig
from .labelled import MeasuredField
from .pooled import pooled_metrics
from .training import train_cells


def train_cells_folds(options: ClfConfig, out: str | Path) -> dict[str, Any]:
    """Train the runs of every test fold in `out`/test0, test1, ..., and pool their scores in `out`/metrics.json.

    Finished runs are not repeated, and the cells are measured once. Raises `UserError` for too few patients.
    """
    parent = RunFolder.at(out)
    cohorts = load_cells_outer_folds(options)
    open_parent(parent, options)
    own = replace(options, test_folds="")
    known: dict[str, MeasuredField] | None = {} if options.input == "measurements" else None  # crops need the labels
    folds = {f"test{i}": train_cells(own, parent.path / f"test{i}", c, known) for i, c in enumerate(cohorts)}
    metrics = pooled_metrics(folds)
    parent.write("metrics", metrics)
    return metrics
