"""`train_seg`: train a segmentation run, from its options to a finished run folder; it can be resumed anytime."""

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from torch import Tensor

from ...data.cohort import Cohort
from ...data.pixels import parse_channels
from ...data.scaling import PercentileScaling
from ...data.segmentation.block import seg_dataloaders
from ...data.segmentation.levels import augmentation
from ...errors import UserError
from ...inference.load import load_segmenter
from ...models.packaged import resolved_weights
from ...training.keeper import Keeper
from ...training.learner import FieldLearner
from ...training.model_card import seg_model_card
from ...training.processes.group import first_before_others, from_first, is_first, process_device, share_of_batch
from ...training.run_folder import RunFolder
from ...training.segmentation.learner import seg_learner
from ...training.trackers.tracker import Tracker, tracker_of
from ..cohort import training_part
from ..continued import facts_of_run, load_seg_cohort
from ..lifecycle import close_run, fit_run, metrics_if_complete, open_run, settled, with_found_rate
from ..options.base import numbers, two_percentiles
from ..options.seg import AUTO, FINETUNE, SegConfig
from .before import headlines, scores_before, warn_if_worse
from .blend import blend_with_start, remove_unblended
from .evaluation import tune_and_evaluate
from .figures import draw_seg_figures

log = logging.getLogger(__name__)


def train_seg(
    options: SegConfig,
    out: str | Path,
    fold: int = 0,
    bar: bool | None = None,
    cohort: Cohort | None = None,  # already split, for a test fold; default: from the options
    before: dict[str, Any] | None = None,  # `scores_before` on these held-out fields, if they are known
) -> dict[str, Any]:
    """Train, tune the threshold, evaluate and draw the figures. Return the contents of metrics.json.

    An unfinished run in `out` is continued, a finished one is not repeated; both only with their own options. `bar`
    draws a progress bar (default: on a terminal) instead of logging one line per epoch. In a process group
    (`training.processes`) all processes train one model, and the first one saves and evaluates it. Raises `UserError`
    for invalid options and data, before anything is written.
    """
    run = RunFolder.at(out)
    options = _settled(run, options)
    finished = from_first(lambda: metrics_if_complete(run, options))
    if finished is not None:
        return finished
    started = time.perf_counter()
    tracker = tracker_of(options.log, run)
    cohort = training_part(cohort or load_seg_cohort(options, fold), options)
    with first_before_others():
        dls = dataloaders_of(options, cohort)
    options = replace(options, head=_head_of(options, dls))
    options, curve = from_first(lambda: with_found_rate(options, lambda: learner_of(options, dls)))
    learn = learner_of(options, dls)
    start = {k: v.detach().cpu().clone() for k, v in learn.model.state_dict().items()} if options.blend else None
    card = seg_model_card(learn.spec, dls.facts)
    from_first(lambda: open_run(run, options, cohort, card=card, device=dls.device))
    if curve and is_first():
        curve.write(run.path / "figures")
    fit_run(learn, run, options, Keeper(run.path, "iou_tuned", patience=options.patience), bar=bar, tracker=tracker)
    return from_first(
        lambda: _finish(run, options, cohort, start=start, started=started, tracker=tracker, before=before)
    )


def _settled(run: RunFolder, options: SegConfig) -> SegConfig:
    """The options, with what "find" and "auto" stood for when the run was started; weights=auto as it is here."""
    options = settled(run, options)
    before = run.read("config") if run.is_started else {"weights": resolved_weights("auto", options.encoder)}
    if options.weights == AUTO:
        options = replace(options, weights=before["weights"])
    return replace(options, head=before.get("head", AUTO)) if options.head == AUTO else options


def _head_of(options: SegConfig, dls: DataLoaders) -> str:
    """The head, where head=auto is the distance if the masks tell nuclei apart."""
    if options.head != AUTO:
        return options.head
    return "distance" if dls.facts.nucleus_px else "mask"


def dataloaders_of(options: SegConfig, cohort: Cohort) -> DataLoaders:
    """Load the tiles of a cohort with these options; with ids of nuclei as targets if the head needs them.

    Raises `UserError` if it needs them and no training mask holds any.
    """
    if options.head == "mask":
        return _loaded(options, cohort, ids=False)
    dls = _loaded(options, cohort, ids=True)
    if dls.facts.nucleus_px:
        return dls
    if options.head != AUTO:
        raise UserError(
            f"no training mask in {cohort.root} tells nuclei apart, as head={options.head} needs: use head=mask."
        )
    log.info("no training mask tells nuclei apart: the mask is trained without a head")
    return _loaded(options, cohort, ids=False)


def _loaded(options: SegConfig, cohort: Cohort, ids: bool) -> DataLoaders:
    return seg_dataloaders(
        cohort,
        tile=options.tile,
        bs=share_of_batch(options.bs),
        channels=parse_channels(options.channel),
        augment=augmentation(
            options.augment,
            options.rotate,
            flips=options.flips,
            dihedral=options.dihedral,
            tile=options.tile,
            crowd=options.crowd,
        ),
        scaling=PercentileScaling(*two_percentiles(options.percentiles)),
        pad=options.pad,
        skip_blank=options.skip_blank,
        min_tiles=options.min_tiles,
        sample=options.sample,
        ids=ids,
        before=facts_of_run(options.weights) if options.preset == FINETUNE else None,
        workers=options.workers,
        seed=options.seed,
        device=process_device(options.device),
    )


def learner_of(options: SegConfig, dls: DataLoaders) -> FieldLearner:
    """Create the Learner with these options; its initial weights depend only on the seed."""
    return seg_learner(
        dls,
        arch=options.arch,
        encoder=options.encoder,
        weights=options.weights,
        depth=options.depth,
        decoder_channels=numbers(options.decoder, "decoder"),
        attention=options.decoder_attention,
        loss=options.loss,
        opt=options.opt,
        wd=options.wd,
        amp=options.amp,
        accumulate=options.accumulate,
        clip=options.clip,
        head=_head_of(options, dls),
        head_weight=options.head_weight,
        encoder_lr=options.encoder_lr,
        keep_stats=options.keep_stats,
        app=app_of(options),
        seed=options.seed,
    )


def app_of(options: SegConfig) -> Callback | str:
    """Create the APP callback with these options, or return "none"."""
    if options.app == "none":
        return "none"
    from ...training.segmentation.app import AppCallback
    from ...training.segmentation.autoencoder import PAPER_WIDTHS

    callback = partial(
        AppCallback,
        options.app,
        target=options.app_target,
        lr=options.app_lr,
        schedule=options.app_schedule,
        hidden=(options.app_width, *PAPER_WIDTHS[1:]),
        seed=options.seed,
    )
    if options.app_released:  # the released code sums both losses over the pixels: their means have the same ratio
        return callback(weight=1.0, rows=1.0, loss="ce", maps="all", out="act")
    return callback(weight=options.app_weight, rows=options.app_rows, loss=options.app_loss)


def _finish(
    run: RunFolder,
    options: SegConfig,
    cohort: Cohort,
    start: dict[str, Tensor] | None,
    started: float,
    tracker: Tracker | None,
    before: dict[str, Any] | None,
) -> dict[str, Any]:
    blended = {"blend": blend_with_start(run, options, cohort, start)} if start else {}
    metrics = _evaluate(run, options, cohort, before) | blended
    run.write("metrics", metrics)
    remove_unblended(run)
    if tracker:
        tracker.finish(metrics)
    close_run(run, time.perf_counter() - started)
    return metrics


def _evaluate(run: RunFolder, options: SegConfig, cohort: Cohort, before: dict[str, Any] | None) -> dict[str, Any]:
    segmenter = load_segmenter(run.path, "best", options.device, options.overlap)
    metrics = tune_and_evaluate(segmenter, cohort)
    metrics["weights"] = _scores_of_weights(run, options, cohort, metrics)
    if options.preset == FINETUNE:
        metrics["before"] = before or scores_before(options, cohort)
        warn_if_worse(metrics, metrics["before"])
    segmenter.card["threshold"] = metrics["threshold"]
    if "nuclei_tuning" in metrics:
        segmenter.card["nuclei"] = metrics["nuclei_tuning"]["value"]
    segmenter.card["threshold_of_weights"] = {w: row["threshold"] for w, row in metrics["weights"].items()}
    run.write("model", segmenter.card)
    draw_seg_figures(run, metrics, segmenter, cohort)
    return metrics


def _scores_of_weights(run: RunFolder, options: SegConfig, cohort: Cohort, best: dict[str, Any]) -> dict[str, Any]:
    """The tuned threshold of the best and of the last weights, and the scores of each split with it."""
    files = {which: run.path / f"{which}.safetensors" for which in ("best", "last")}
    found = {"best": headlines(best)}
    if files["last"].is_file():
        is_best = files["last"].read_bytes() == files["best"].read_bytes()
        last = (
            best
            if is_best
            else tune_and_evaluate(load_segmenter(run.path, "last", options.device, options.overlap), cohort)
        )
        found["last"] = headlines(last)
    return found
