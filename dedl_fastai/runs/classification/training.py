"""`train_clf`: train a classification run, from its options to a finished run folder; it can be resumed anytime."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastai.data.core import DataLoaders

from ...data.classification.augment import PictureAugment
from ...data.classification.block import clf_dataloaders
from ...data.classification.labels import write_labels
from ...data.cohort import Cohort
from ...data.pixels import parse_channels
from ...data.scaling import PercentileScaling
from ...errors import UserError
from ...io.fields.readers import open_field
from ...models.classification import ClfSpec
from ...models.device import pick_device
from ...models.normalisation import input_stats
from ...training.classification.learner import clf_learner
from ...training.keeper import Keeper
from ...training.learner import FieldLearner
from ...training.model_card import clf_model_card
from ...training.run_folder import RunFolder
from ...training.swa import SwaCallback
from ...training.trackers.tracker import tracker_of
from ..cohort import load_clf_cohort, training_part
from ..lifecycle import close_run, fit_run, metrics_if_complete, open_run, settled, with_found_rate
from ..options.base import two_percentiles
from ..options.clf import CELLS, ClfConfig
from .cell_bags import train_cell_bags
from .evaluation import evaluate_clf_run

AUGMENTATIONS = ("paper", "none")


def train_clf(
    options: ClfConfig,
    out: str | Path,
    cohort: Cohort | None = None,  # already split, for a member of an ensemble; default: from the options
    bar: bool | None = None,  # a progress bar (default: on a terminal), else one log line per epoch
) -> dict[str, Any]:
    """Train, tune the thresholds, evaluate and draw the figures. Return the contents of metrics.json.

    An unfinished run in `out` is continued, a finished one is not repeated; both only with their own options. Raises
    `UserError` for invalid options and data, before anything is written.
    """
    run = RunFolder.at(out)
    options = settled(run, options)
    finished = metrics_if_complete(run, options)
    if finished is not None:
        return finished
    started = time.perf_counter()
    tracker = tracker_of(options.log, run)
    cohort = training_part(cohort or load_clf_cohort(options), options)
    dls = clf_dataloaders_of(options, cohort)
    if options.input == CELLS:
        return train_cell_bags(run, options, cohort, facts=dls.facts, labels=dls.labels)
    options, curve = with_found_rate(options, lambda: clf_learner_of(options, dls))
    learn = clf_learner_of(options, dls)
    card = clf_model_card(learn.spec, dls.facts)
    open_run(run, options, cohort, card=card, device=dls.device)
    if curve:
        curve.write(run.path / "figures")
    write_labels(dls.labels, run.path / "labels")
    keeper = Keeper(run.path, "f1_macro", patience=options.patience)
    fit_run(learn, run, options, keeper, bar=bar, cbs=averaging_of(options), tracker=tracker)
    metrics = evaluate_clf_run(run, options, cohort, dls.labels)
    if tracker:
        tracker.finish(metrics)
    close_run(run, time.perf_counter() - started)
    return metrics


def averaging_of(options: ClfConfig) -> list[SwaCallback]:
    """The callback that averages weights with these options, in the folder of the run's `Keeper`; none for never."""
    if options.swa_start >= 1:
        return []
    return [SwaCallback(options.swa_start, lr=options.swa_lr or None, seed=options.seed)]


def clf_dataloaders_of(options: ClfConfig, cohort: Cohort) -> DataLoaders:
    """Load a cohort's pictures with these options."""
    if options.augment not in AUGMENTATIONS:
        raise UserError(f"augment={options.augment!r} is unknown; it may be {' or '.join(AUGMENTATIONS)}.")
    is_color = options.input in ("thumbnail", "composite")
    return clf_dataloaders(
        cohort,
        input=_pictures_of(cohort) if options.input == CELLS else options.input,
        size=options.size,
        bs=options.bs,
        channels=parse_channels(options.channel) if options.channel else (),
        rules=options.rules,
        min_cells=options.min_cells,
        tile=options.tile,
        augment=[PictureAugment(color=is_color)] if options.augment == "paper" else [],
        stats=stats_of(options),
        scaling=PercentileScaling(*two_percentiles(options.percentiles)),
        workers=options.workers,
        seed=options.seed,
        device=pick_device(options.device),
        thresholds=options.thresholds or None,
    )


def _pictures_of(cohort: Cohort) -> str:
    """The pictures that the forest beside a classifier of cells sees: all markers, or a coloured picture as it is."""
    with open_field(cohort.table.image.iloc[0]) as field:
        return "thumbnail" if field.is_rgb else "markers"


def stats_of(options: ClfConfig) -> str | tuple[tuple[float, ...], tuple[float, ...]]:
    """The statistics to normalise with: for colours and published weights those that the weights were trained with."""
    is_color = options.input in ("thumbnail", "composite")
    if not is_color or options.weights == "none":
        return "train"
    return input_stats(ClfSpec(options.model, options.size), options.weights)


def clf_learner_of(options: ClfConfig, dls: DataLoaders) -> FieldLearner:
    """Create the Learner with these options; its initial weights depend only on the seed."""
    return clf_learner(
        dls,
        model=options.model,
        weights=options.weights,
        loss=options.loss,
        class_weight=options.class_weight,
        gamma=options.gamma,
        opt=options.opt,
        wd=options.wd,
        amp=options.amp,
        accumulate=options.accumulate,
        clip=options.clip,
        drop=options.drop,
        freeze=options.freeze,
        body_lr=options.body_lr,
        seed=options.seed,
    )


def member_options(options: ClfConfig, seed: int) -> ClfConfig:
    """Return the options of one member of an ensemble: with its seed, without folds and further members."""
    return replace(options, seed=seed, seeds="", folds=0, test_folds="")
