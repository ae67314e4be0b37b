"""`SwaCallback`: stochastic weight averaging (Izmailov et al. 2018), a third set of weights next to best and last."""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.torch_core import no_random
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, update_bn

from ..errors import UserError
from ..models.weights import has_finite_weights, write_tensors

log = logging.getLogger(__name__)


class SwaCallback(Callback):
    """Average the weights at the end of the last epochs, and write them to swa.safetensors at the end of the fit.

    The model itself does not change. The batch-norm statistics of the averaged weights are computed in an additional
    pass over the training batches, unless batch norm was frozen.

    The averaging takes the last epochs of the run, from `start` on. If the patience of `Keeper` is exhausted before,
    the run goes over into it at once instead of ending: it averages as many epochs, and then ends. Once begun, the
    averaging is completed, whether or not there is patience left. Its epochs are epochs of the run like others: they
    are validated, and may hold the best weights. With `lr`, their rate is constant; else it is that of the schedule at
    that epoch. A run that ends before for another reason has no average, which is logged. `Keeper` saves and restores
    the average of an interrupted run.
    """

    order, run_valid = 63, False  # sets its rate after ParamScheduler (60); Keeper (64) saves its state
    _stateattrs = ("average",)

    def __init__(
        self,
        start: float = 0.75,  # share of the run after which the averaging begins; the last epoch is always averaged
        lr: float | None = None,  # constant learning rate of the averaged epochs; None: that of the schedule
        folder: str | Path | None = None,  # of the file; default: Keeper's folder, or else the Learner's path
        seed: int = 0,  # of the pass over the training batches
    ):
        if not 0 <= start < 1:
            raise UserError(f"swa_start={start} must be at least 0 and less than 1: it is a share of the run.")
        self.start, self.own_lr, self.folder, self.seed = start, lr, folder, seed
        self.average: AveragedModel | None = None
        self.refresh = self.unwritten = self.is_averaged = False

    @property
    def planned(self) -> int:
        """The first averaged epoch of a run that is not cut short, counted from 0."""
        n = self.learn.n_epoch
        return min(math.ceil(self.start * n - 1e-9), n - 1)

    @property
    def first(self) -> int:
        """The first averaged epoch, counted from 0: as planned, or that at which patience was exhausted."""
        stale_at = self.learn.keeper.stale_at if hasattr(self.learn, "keeper") else None
        return self.planned if stale_at is None else min(self.planned, stale_at)

    def end_after(self, stale_at: int) -> int:
        """Return the number of epochs of a run whose patience was exhausted after `stale_at`; `Keeper` asks for it."""
        return min(self.planned, stale_at) + self.learn.n_epoch - self.planned

    def before_fit(self) -> None:
        """Reset the flag: `validate` trains nothing, and has nothing to write. Keeper loads its state after this."""
        self.unwritten = False

    def before_train(self) -> None:
        """Discard the average of an earlier fit when a new run starts; see whether this epoch will be averaged."""
        if self.learn.epoch == 0 and not self._is_mock:
            self.average, self.unwritten = None, True
        self.is_averaged = self.learn.epoch >= self.first and not self._is_mock
        if self.is_averaged and self.learn.epoch == self.first < self.planned:
            n = self.learn.n_epoch - self.planned
            log.info("patience is exhausted after epoch %d: the weights of %d epochs are averaged", self.first, n)

    def before_batch(self) -> None:
        """Set the constant learning rate, if one was given."""
        if self.own_lr is not None and self.is_averaged:
            self.opt.set_hyper("lr", self.learn.group_rates(self.own_lr))

    def after_train(self) -> None:
        """Add the weights that the epoch ended with."""
        if not self.is_averaged or not has_finite_weights(self._model()):
            return
        if self.average is None:
            self.average = self._new_average()
        self.average.update_parameters(self._model())
        self.refresh = any(isinstance(m, _BatchNorm) and m.training for m in self.learn.model.modules())
        self.unwritten = True

    def after_fit(self) -> None:
        """Compute batch norm's statistics and write the weights, except after `validate` and `lr_find`."""
        if not self.unwritten or self._is_mock:
            return
        self.unwritten = False
        if self.average is None:
            log.info("ended before epoch %d, where the averaging begins: no averaged weights", self.first + 1)
            return
        if self.refresh:
            self._refresh(self.average)
        write_tensors(self._folder() / "swa.safetensors", self.average.module.state_dict())
        log.info("epochs whose weights were averaged: %d", self.average.n_averaged.item())

    def state_dict(self) -> dict[str, Any]:
        """Return the average, its number of epochs, and whether batch norm was trained."""
        if self.average is None:
            return {}
        return {
            "model": {k: v.detach().clone() for k, v in self.average.module.state_dict().items()},
            "n_averaged": self.average.n_averaged.item(),
            "refresh": self.refresh,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; an empty one means that the averaging has not begun."""
        self.average, self.unwritten = None, True
        if state:
            self.average = self._new_average()
            self.average.module.load_state_dict(state["model"])
            self.average.n_averaged.fill_(state["n_averaged"])
            self.refresh = state["refresh"]

    @property
    def _is_mock(self) -> bool:
        return hasattr(self.learn, "lr_finder")

    def _model(self) -> nn.Module:
        return getattr(self.learn.model, "module", self.learn.model)

    def _new_average(self) -> AveragedModel:
        average = AveragedModel(self._model())
        average.requires_grad_(False).zero_grad(set_to_none=True)  # the copy also has the gradients
        return average

    def _folder(self) -> Path:
        keeper = getattr(self.learn, "keeper", None)
        return Path(self.folder or (keeper.folder if keeper else self.learn.path))

    def _refresh(self, average: AveragedModel) -> None:
        """Pass the training batches once in training mode, and restore the state of the generators."""
        with no_random(self.seed, reproducible=False):
            dl = self.learn.dls.train.new()  # draws the seed of its own generator
            batches = ((self._inputs(batch),) for batch in dl)  # `update_bn` takes the first item of a tuple
            update_bn(batches, _Unpacked(average.module))

    def _inputs(self, batch: tuple) -> tuple:
        """The inputs of a batch as the model receives them in training: on its device, as plain tensors."""
        self.learn._split(self.learn._set_device(batch))
        return tuple(x.as_subclass(torch.Tensor) if isinstance(x, torch.Tensor) else x for x in self.learn.xb)


class _Unpacked(nn.Module):
    """A model that takes its inputs as one tuple."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple) -> torch.Tensor:
        """Return the model's output."""
        return self.model(*inputs)
