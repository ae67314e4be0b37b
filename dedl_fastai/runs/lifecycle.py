"""The steps that all runs share: start or resume a run, open its folder, train, and mark it as complete."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from fastai.callback.core import Callback

from ..data.cohort import Cohort
from ..data.splits import save_splits
from ..errors import UserError
from ..models.names import NUCLEI, WEIGHTS
from ..training.callbacks import EpochLine
from ..training.keeper import Keeper
from ..training.learner import FieldLearner
from ..training.processes.group import is_first, world_size
from ..training.run_folder import RunFolder, data_fingerprint, manifest
from ..training.trackers.tracker import Tracker
from .cohort import with_whole_paths
from .continued import complete_options
from .lr_curve import RateCurve, rate_curve
from .options.base import Options
from .options.training import FIND, DataOptions, TrainOptions
from .readme import write_readme

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Options)
Training = TypeVar("Training", bound=TrainOptions)

# Options that may change when a run is resumed: locations, hardware and log, and those that define the data and its
# split, which the fingerprint of the data covers.
_MAY_CHANGE = (
    *("preset", "data", "more_data", "train_only", "split", "splits", "patient", "limit_fields"),
    *("workers", "device", "log"),
)


def start_run(task: str, options_class: type[T], given: Mapping[str, Any], out: str, resume: bool) -> tuple[T, Path]:
    """Return the options and the folder of a new run, or of the run in `out` that is resumed.

    Raises `UserError` if the folder is in use without `resume`, if there is nothing to resume, or if the given options
    differ from those of the run.
    """
    if resume and not out:
        raise UserError("`resume` needs the run folder: give out=RUN too.")
    run = RunFolder.at(out or f"runs/{task}-{time.strftime('%Y%m%d-%H%M%S')}")
    if resume:
        return _continued(run, options_class, given), run.path
    if run.path.exists() and not run.is_unused:
        hint = "continue it with `resume`, or choose another `out`" if run.is_started else "choose another `out`"
        raise UserError(f"{run.path} is in use: {hint}.")
    return options_class.resolve(complete_options(given, task)), run.path


def _continued(run: RunFolder, options_class: type[T], given: Mapping[str, Any]) -> T:
    if not run.is_started:
        hint = "leave `resume` out to start one" if run.is_unused or not run.path.exists() else "choose another `out`"
        raise UserError(f"{run.path} holds no run to resume: {hint}.")
    options = options_class.from_dict(run.read("config"))
    given = {k: v for k, v in given.items() if (k, v) != ("lr", FIND)}  # found already
    if given.get("data"):
        given = with_whole_paths(given)
    different = options.differences(given)
    if different:
        name, (here, there) = next(iter(different.items()))
        raise UserError(
            f"{run.path} was started with {name} = {here!r}, not {there!r}: a run keeps its options. "
            f"Leave the option out, or start a new run."
        )
    return options


def settled(run: RunFolder, options: Training) -> Training:
    """The options, with the rate that was found when the run was started in the place of lr=find."""
    if options.lr != FIND or not run.is_started:
        return options
    before = run.read("config")
    return replace(options, lr=before["lr"], lr_min=before["lr_min"])


def with_found_rate(options: Training, learn: Callable[[], FieldLearner]) -> tuple[Training, RateCurve | None]:
    """The options with a number for lr=find, from a Learner made for this alone, and the curve behind it."""
    if options.lr != FIND:
        return options, None
    if world_size() > 1:
        raise UserError("lr=find works in one process: find the rate first (`dedl-fastai lr-find`) and give it.")
    curve = rate_curve(learn())
    lr = float(f"{curve.suggestions['valley']:.3g}")
    log.info("learning rate found: %g", lr)
    return replace(options, lr=lr, lr_min=type(options).floor(lr, options.preset)), curve


def open_run(run: RunFolder, options: DataOptions, cohort: Cohort, card: dict[str, Any], device: torch.device) -> None:
    """Write the files that are known before training. For a resumed run, check that options and data are the same."""
    if run.is_started:
        check_same_options(run, options)
        before = run.read("manifest")
        if before["data"]["fingerprint"] != data_fingerprint(cohort):
            raise UserError(f"the fields in {cohort.root} are not those {run.path} was started with: start a new run.")
        if before.get("processes", 1) != world_size():
            log.warning("started on %d processes, continued on %d", before.get("processes", 1), world_size())
        return
    recorded = manifest(options.seed, options.workers, device, cohort)
    run.write("manifest", {**recorded, "processes": world_size()})
    save_splits(cohort, run.path / "splits.json")
    run.write("model", card)
    run.write("config", options.to_dict())  # last: the run counts as started from here on


def open_parent(parent: RunFolder, options: DataOptions) -> None:
    """Write the options that the runs in a folder share. Raise a `UserError` if it was started with others."""
    if parent.is_started:
        check_same_options(parent, options)
    parent.write("config", options.to_dict())


def metrics_if_complete(run: RunFolder, options: DataOptions) -> dict[str, Any] | None:
    """Return the metrics of a complete run, else None. Raise a `UserError` for other options than its own."""
    if not run.is_complete:
        return None
    check_same_options(run, options)
    log.info("%s is already complete", run.path)
    return run.read("metrics")


def check_same_options(run: RunFolder, options: DataOptions) -> None:
    """Raise a `UserError` if the run in the folder was started with options that lead to other results."""
    before = type(options).from_dict(run.read("config"))
    different = before.differences({k: v for k, v in options.to_dict().items() if k not in _MAY_CHANGE})
    if different:
        name, (here, there) = next(iter(different.items()))
        raise UserError(
            f"{run.path} was started with {name} = {here!r}, not {there!r}: a run keeps its options. "
            f"Give the same options, or start a new run in another folder."
        )


def fit_run(
    learn: FieldLearner,
    run: RunFolder,
    options: Any,  # SegConfig or ClfConfig
    keeper: Keeper,
    bar: bool | None = None,  # a progress bar (default: on a terminal), else one log line per epoch
    cbs: Sequence[Callback] = (),
    tracker: Tracker | None = None,  # writes in the first process
) -> None:
    """Train on all processes with the schedule of the options, from the last saved epoch of an unfinished run."""
    epochs_done = keeper.load()
    if epochs_done:
        log.info("continuing after epoch %d of %d", epochs_done, options.epochs)
    else:
        log.info("starting from %s", _start(options.weights, getattr(options, "encoder", "") or options.model))
    tracked = [tracker.callback(keeper.steps_done)] if tracker and is_first() else []
    with ExitStack() as stack:
        if world_size() > 1:
            from ..training.processes.learner import on_all_processes  # needs accelerate

            stack.enter_context(on_all_processes(learn))
        if not is_first() or not (sys.stdout.isatty() if bar is None else bar):
            stack.enter_context(learn.no_bar())
            stack.enter_context(learn.no_logging())
            stack.enter_context(learn.added_cbs([EpochLine()]))
        learn.fit_schedule(
            options.schedule, options.epochs, lr=options.lr, lr_min=options.lr_min, cbs=[keeper, *cbs, *tracked]
        )


def _start(weights: str, network: str) -> str:
    """What a run starts from, in words."""
    if weights == "none":
        return f"random weights of {network}"
    if weights == "packaged":
        return f"packaged ImageNet weights of {network}"
    if weights == NUCLEI:
        return "the model of nuclei that comes with the package"
    return f"{weights} weights of {network}" if weights in WEIGHTS else f"the weights of {network} in {weights}"


def close_run(run: RunFolder, seconds: float) -> None:
    """Mark the run as complete: record its duration, write its README, and remove the state for resuming."""
    before = run.read("manifest")
    total = round(before.get("seconds", 0) + seconds, 1)
    run.write("manifest", {**before, "seconds": total, "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
    write_readme(run)
    run.finish()
