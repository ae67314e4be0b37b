"""`Keeper`: saves the best and last weights, the history, and after each epoch the state for resuming a run."""

import io
import logging
import math
import time
from pathlib import Path

import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.training import GradientAccumulation

from ..errors import UserError
from ..io.files import existing_file, write_text, written_whole
from ..models.weights import has_finite_weights, read_tensors, write_tensors
from .processes.group import from_first, is_first, share_weights
from .run_folder import history_text

log = logging.getLogger(__name__)

_START_AGAIN = "remove this file, and the run starts again from its first epoch."
_STATE = {"epochs_done", "model", "opt", "scaler", "train_iter", "smooth_loss", "rows", "best", "best_epoch"}
_STATE |= {"accumulated", "callbacks"}


class Keeper(Callback):
    """Save a run in its folder: history, best and last weights, and after each epoch the state for resuming it.

    Pass it to `fit(cbs=...)`, not to the Learner: `validate` and `lr_find` must not change the files. It stops the run
    after `patience` epochs without a better `monitor` (0: never), and restores the best weights at the end. Other
    callbacks may add columns to history.csv by `history()`, ask for epochs after that by `end_after(stale_at)`, and are
    resumed by `state_dict()` and `load_state_dict()`. With several processes, process 0 writes the files, and all
    processes end with its weights.
    """

    order = 64

    def __init__(
        self,
        folder: str | Path,
        monitor: str = "iou_tuned",  # column of the history: of segmentation by default
        higher_is_better: bool = True,
        patience: int = 0,
    ):
        self.folder, self.monitor, self.patience = Path(folder), monitor, patience
        self.sign = 1 if higher_is_better else -1
        self.rows: list[dict] = []
        self.best: float | None = None
        self.best_epoch = -1
        self.loaded: dict | None = None

    @property
    def resume_file(self) -> Path:
        """The state of an unfinished run."""
        return self.folder / "resume.pt"

    @property
    def stale_at(self) -> int | None:
        """The number of epochs after which patience was exhausted; None if it was not, so far."""
        best = 0
        for i, row in enumerate(self.rows if self.patience else []):
            if self.sign * row[self.monitor] > self.sign * self.rows[best][self.monitor]:
                best = i
            if i - best >= self.patience:
                return i + 1
        return None

    @property
    def steps_done(self) -> int:
        """The number of training batches of the loaded state; 0 without one."""
        return self.loaded["train_iter"] if self.loaded else 0

    def load(self) -> int:
        """Read the state of an unfinished run, and return its number of completed epochs (0 without a state)."""
        self.loaded = from_first(self._read_state)
        return self.loaded["epochs_done"] if self.loaded else 0

    def before_fit(self) -> None:
        """Continue from the loaded state, if any."""
        if self.loaded is None:
            return
        state, self.loaded = self.loaded, None
        self.learn.first_epoch = state["epochs_done"]
        self._model().load_state_dict(state["model"])
        self.learn.opt.load_state_dict(state["opt"])
        if state["scaler"] and getattr(self.learn, "scaler", None):
            self.learn.scaler.load_state_dict(state["scaler"])
        self.learn.train_iter = state["train_iter"]
        self.learn.recorder.smooth_loss.count, self.learn.recorder.smooth_loss.val = state["smooth_loss"]
        self.rows, self.best, self.best_epoch = state["rows"], state["best"], state["best_epoch"]
        self._load_accumulated(state["accumulated"])
        for name, value in state["callbacks"].items():
            getattr(self.learn, name).load_state_dict(value)
        if self._is_over():  # the run had stopped early, but was interrupted before it was complete
            self.learn.first_epoch = self.learn.n_epoch

    def before_epoch(self) -> None:
        """Start timing the epoch."""
        self.started = time.perf_counter()

    def after_epoch(self) -> None:
        """Write history, weights and state; stop the run when its patience is exhausted."""
        row = self._row()
        self.rows.append(row)
        if not self._is_finite(row):
            self._end_without_numbers()
        value = row[self.monitor]
        if self.best is None or self.sign * value > self.sign * self.best:
            self.best, self.best_epoch = value, self.learn.epoch
            self._write_weights("best")
        self._save_state()
        self._write_history()
        if self._is_over():
            log.info("stopped early: %s had not improved for %d epochs", self.monitor, self.patience)
            raise CancelFitException("early stopping")

    def after_fit(self) -> None:
        """Write the last weights, then put the best ones back into the model."""
        if has_finite_weights(self._model()):
            self._write_weights("last")
        self._write_history()  # a run that was killed right after its last state lacks a row
        if is_first():
            self._model().load_state_dict(read_tensors(self.folder / "best.safetensors"))
        share_weights(self._model())
        self.learn.first_epoch = 0

    def _is_finite(self, row: dict) -> bool:
        return all(math.isfinite(row[n]) for n in ("train_loss", "valid_loss")) and has_finite_weights(self._model())

    def _end_without_numbers(self) -> None:
        """End the fit where the loss or a weight is not finite: no later epoch can be better than the best so far."""
        if self.best is None:
            raise UserError("the loss was not finite in the first epoch: use a lower `lr`, or amp=no.")
        self._write_history()
        log.warning("epoch %d: the loss or a weight is not finite: ended with the best weights so far", len(self.rows))
        raise CancelFitException("not finite")

    def _write_weights(self, name: str) -> None:
        if is_first():
            write_tensors(self.folder / f"{name}.safetensors", self._model().state_dict())

    def _write_history(self) -> None:
        if is_first():
            write_text(self.folder / "history.csv", history_text(self.rows))

    def _is_over(self) -> bool:
        """Whether patience was exhausted, and no other callback needs more epochs."""
        stale_at = self.stale_at
        if stale_at is None:
            return False
        ends = [cb.end_after(stale_at) for cb in self.learn.cbs if hasattr(type(cb), "end_after")]
        return len(self.rows) >= max([stale_at, *ends])

    def _row(self) -> dict:
        names, values = self.learn.recorder.metric_names[1:-1], self.learn.recorder.values[-1]
        row = {"epoch": self.learn.epoch, **dict(zip(names, map(float, values), strict=True))}
        row["lr"] = float(self.learn.opt.hypers[-1]["lr"])
        for cb in self.learn.cbs:
            if cb is not self and hasattr(type(cb), "history"):
                row |= cb.history()
        return {**row, "seconds": round(time.perf_counter() - self.started, 2)}

    def _model(self) -> torch.nn.Module:
        return getattr(self.learn.model, "module", self.learn.model)

    def _read_state(self) -> dict | None:
        if not self.resume_file.exists():
            return None
        try:
            state = torch.load(existing_file(self.resume_file), map_location="cpu", weights_only=True)
        except Exception as e:  # the error of a damaged file depends on the damaged byte
            raise UserError(f"{self.resume_file} cannot be read ({e}): {_START_AGAIN}") from e
        if not isinstance(state, dict) or not state.keys() >= _STATE:
            raise UserError(f"{self.resume_file} is not the state of a run: {_START_AGAIN}")
        return state

    def _save_state(self) -> None:
        if not is_first():
            return
        scaler = getattr(self.learn, "scaler", None)
        state = {
            "epochs_done": self.learn.epoch + 1,
            "model": self._model().state_dict(),
            "opt": self.learn.opt.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
            "train_iter": self.learn.train_iter,
            "smooth_loss": (self.learn.recorder.smooth_loss.count, self.learn.recorder.smooth_loss.val),
            "rows": self.rows,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "accumulated": self._accumulated(),
            "callbacks": {c.name: c.state_dict() for c in self.learn.cbs if hasattr(type(c), "load_state_dict")},
        }
        data = io.BytesIO()
        torch.save(state, data)
        with written_whole(self.resume_file) as tmp:
            tmp.write_bytes(data.getbuffer())

    def _accumulator(self) -> GradientAccumulation | None:
        return next((c for c in self.learn.cbs if isinstance(c, GradientAccumulation)), None)

    def _accumulated(self) -> dict:
        """Gradients accumulated for the next step: accumulation continues across epochs."""
        cb = self._accumulator()
        if cb is None or not cb.count:
            return {}
        return {
            "count": cb.count,
            "grads": {n: p.grad for n, p in self._model().named_parameters() if p.grad is not None},
        }

    def _load_accumulated(self, state: dict) -> None:
        cb = self._accumulator()
        if cb is None or not state:
            return
        cb.count = state["count"]
        parameters = dict(self._model().named_parameters())
        for name, grad in state["grads"].items():
            parameters[name].grad = grad.to(parameters[name].device)
