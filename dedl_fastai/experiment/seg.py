"""`train_seg`: one segmentation run, from options to a finished run folder; resumable at any moment."""

import logging
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.torch_core import set_seed

from ..data.augment import TileAugment
from ..data.block import seg_dataloaders
from ..data.cohort import Cohort
from ..data.pixels import parse_channels
from ..data.scaling import PercentileScaling
from ..data.splits import save_splits
from ..errors import UserError
from ..inference.segmenter import load_run
from ..models.device import pick_device
from ..training.callbacks import EpochLine, EpochSeed, Keeper
from ..training.learner import FieldLearner, seg_learner
from ..training.run_folder import RunFolder, data_fingerprint, manifest, seg_model_card
from .config import SegConfig
from .evaluation import tune_and_evaluate
from .figures import draw_figures
from .inputs import load_split_cohort
from .options import numbers

log = logging.getLogger(__name__)


def train_seg(options: SegConfig, out: str | Path, fold: int = 0, bar: bool | None = None) -> dict[str, Any]:
    """Train, tune the threshold, evaluate, draw; returns what metrics.json holds.

    An unfinished run in `out` is continued with its own options, a finished one is not repeated. `bar`: draw a
    progress bar (default: on a terminal) instead of logging a line an epoch. Raises `UserError` for bad options and
    data, before anything is written.
    """
    run = RunFolder.at(out)
    if run.is_complete:
        log.info("%s is complete already", run.path)
        return run.read("metrics")
    started = time.perf_counter()
    cohort = load_split_cohort(options, fold)
    dls = dataloaders_of(options, cohort)
    learn = learner_of(options, dls)
    _open(run, options, cohort, learn)
    _fit(learn, run, options, bar)
    metrics = _evaluate(run, options, cohort)
    before = run.read("manifest")
    seconds = round(before.get("seconds", 0) + time.perf_counter() - started, 1)
    run.write("manifest", {**before, "seconds": seconds, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    run.finish()
    return metrics


def dataloaders_of(options: SegConfig, cohort: Cohort) -> DataLoaders:
    """The tiles of a cohort as the options want them."""
    low, high = _percentiles(options)
    return seg_dataloaders(
        cohort,
        options.tile,
        options.bs,
        parse_channels(options.channel),
        [TileAugment(options.rotate, options.flips, options.dihedral)],
        PercentileScaling(low, high),
        options.pad,
        options.skip_blank,
        options.workers,
        options.seed,
        device=pick_device(options.device),
    )


def _percentiles(options: SegConfig) -> tuple[float, float]:
    values = numbers(options.percentiles, "--percentiles", float)
    if len(values) != 2:
        raise UserError(f"--percentiles {options.percentiles!r}: two numbers are needed, such as 1,99.8.")
    return values


def learner_of(options: SegConfig, dls: DataLoaders) -> FieldLearner:
    """The Learner as the options want it; its first weights depend on the seed alone."""
    set_seed(options.seed)
    return seg_learner(
        dls,
        options.arch,
        options.encoder,
        options.weights,
        options.depth,
        numbers(options.decoder, "--decoder"),
        options.decoder_attention,
        options.loss,
        options.opt,
        options.wd,
        options.amp,
        options.accumulate,
        options.clip,
        app=app_of(options),
        cbs=[EpochSeed(options.seed)],
    )


def app_of(options: SegConfig) -> Callback | str:
    """The APP callback as the options want it, or "none"."""
    if options.app == "none":
        return "none"
    from ..training.app import AppCallback
    from ..training.app_network import PAPER_WIDTHS

    released = {"weight": "released", "maps": "all", "out": "act", "rows": 1.0} if options.app_released else {}
    settings = {"weight": options.app_weight, "rows": options.app_rows, **released}
    return AppCallback(
        options.app,
        target=options.app_target,
        loss=options.app_loss,
        lr=options.app_lr,
        schedule=options.app_schedule,
        hidden=(options.app_width, *PAPER_WIDTHS[1:]),
        seed=options.seed,
        **settings,
    )


def _open(run: RunFolder, options: SegConfig, cohort: Cohort, learn: FieldLearner) -> None:
    """Write what is known before training; on a run that goes on, check that the data is still the same."""
    if run.is_started:
        if run.read("manifest")["data"]["fingerprint"] != data_fingerprint(cohort):
            raise UserError(f"the fields in {cohort.root} are not those {run.path} was started with: start a new run.")
        return
    device = learn.dls.device
    run.write("manifest", manifest(options.seed, options.workers, device, cohort))
    save_splits(cohort, run.path / "splits.json")
    run.write("model", seg_model_card(learn.spec, learn.dls.facts))
    run.write("config", options.to_dict())  # the last one: from here on the run counts as started


def _fit(learn: FieldLearner, run: RunFolder, options: SegConfig, bar: bool | None) -> None:
    keeper = Keeper(run.path, patience=options.patience)
    done = keeper.load()
    if done:
        log.info("continuing after epoch %d of %d", done, options.epochs)
    with ExitStack() as stack:
        if not (sys.stdout.isatty() if bar is None else bar):
            stack.enter_context(learn.no_bar())
            stack.enter_context(learn.no_logging())
            stack.enter_context(learn.added_cbs([EpochLine()]))
        learn.fit_schedule(options.schedule, options.epochs, options.lr, options.lr_min, [keeper])


def _evaluate(run: RunFolder, options: SegConfig, cohort: Cohort) -> dict[str, Any]:
    segmenter = load_run(run.path, "best", options.device, options.overlap)
    metrics = tune_and_evaluate(segmenter, cohort)
    segmenter.card["threshold"] = metrics["threshold"]
    run.write("model", segmenter.card)
    draw_figures(run, metrics, segmenter, cohort)
    run.write("metrics", metrics)
    return metrics
