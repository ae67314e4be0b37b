"""`train_cells`: train a classifier of single cells, from its options to a finished run folder."""

import logging
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.numpy import save as save_arrays

from ... import __version__
from ...data.cohort import Cohort
from ...data.pixels import parse_channels, pick_channels
from ...io.fields.readers import open_field
from ...io.files import written_whole
from ...models.device import pick_device
from ...training.model_card import FORMAT
from ...training.run_folder import RunFolder
from ...training.trackers.tracker import tracker_of
from ..cohort import load_cells_cohort, training_part
from ..lifecycle import close_run, metrics_if_complete, open_run
from ..options.clf import ClfConfig
from .crops import train_crops
from .design import Design
from .evaluation import evaluate_measured, evaluate_network
from .figures import draw_type_figures
from .labelled import LabelledCells, MeasuredField, labelled_cells, nuclei_of
from .measured import Fitted, fit_measured

log = logging.getLogger(__name__)


def train_cells(
    options: ClfConfig,
    out: str | Path,
    cohort: Cohort | None = None,  # already split; default: from the options
    known: dict[str, MeasuredField] | None = None,  # keeps the measurements of fields between calls
) -> dict[str, Any]:
    """Learn the types that the cell tables give, write the run folder, and return the contents of metrics.json.

    A finished run is not repeated. Raises `UserError` for invalid options and data, before anything is written.
    """
    run = RunFolder.at(out)
    finished = metrics_if_complete(run, options)
    if finished is not None:
        return finished
    started = time.perf_counter()
    tracker = tracker_of(options.log, run)
    cohort = training_part(cohort or load_cells_cohort(options), options)
    with TemporaryDirectory() as folder:
        is_network = options.input == "markers"
        cells = labelled_cells_of(options, cohort, known, folder=folder if is_network else "")
        design = Design.of(cells, channels_of(options, cohort))
        fitted = fit_measured(design, options.intensities, options.trees, options.seed)
        if is_network:
            intensities = next(iter(fitted.values())).typer.card["intensities"]
            facts = facts_of(options, cells)
            typer = train_crops(run, options, cohort, design, intensities=intensities, facts=facts, tracker=tracker)
            metrics = evaluate_network(design, typer, fitted, options.min_confidence)
        else:
            best = next(iter(fitted.values()))
            best.typer.card.update(facts_of(options, cells))
            open_run(run, options, cohort, card=best.typer.card, device=pick_device("cpu"))
            write_trees(run, best)
            metrics = evaluate_measured(design, fitted, options.min_confidence)
    run.write("metrics", metrics)
    draw_type_figures(metrics, run.figure)
    if tracker and is_network:
        tracker.finish(metrics)
    close_run(run, time.perf_counter() - started)
    return metrics


def labelled_cells_of(
    options: ClfConfig, cohort: Cohort, known: dict[str, MeasuredField] | None = None, folder: str = ""
) -> LabelledCells:
    """Measure the cells of a cohort with these options."""
    nuclei = nuclei_of(options.seg, options.device)
    cells = labelled_cells(cohort, options.rules, options.thresholds or None, nuclei, known=known, folder=folder)
    log.info("%d nuclei (%s), %d with a type", len(cells.keys), cells.nuclei, (cells.keys.type != "").sum())
    return cells


def channels_of(options: ClfConfig, cohort: Cohort) -> list[str]:
    """The channels that are measured, by their full names in the first field; all unless some are given."""
    with open_field(cohort.table.image.iloc[0]) as field:
        indices = pick_channels(field, parse_channels(options.channel)) if options.channel else None
        return list(field.channels) if indices is None else [field.channel_name(i) for i in indices]


def facts_of(options: ClfConfig, cells: LabelledCells) -> dict[str, Any]:
    """Return what model.json has of a classifier of cells of either kind."""
    return {
        "format": FORMAT,
        "task": "cells",
        "dedl_fastai": __version__,
        "min_confidence": options.min_confidence,
        "seg": options.seg,
        "how": cells.how,
        "rules_text": cells.rules_text,
        "thresholds": cells.thresholds,  # of markers, where the tables hold intensities
    }


def write_trees(run: RunFolder, fitted: Fitted) -> None:
    """Write the trees as plain arrays: best.safetensors."""
    with written_whole(run.path / "best.safetensors") as tmp:
        tmp.write_bytes(save_arrays(fitted.typer.trees.tensors()))
