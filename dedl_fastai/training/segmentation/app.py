"""`AppCallback`: the paper's autoencoder post-processing (APP) as a term of the training loss."""

import logging
import math
from typing import Any, TypedDict

import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from torch import nn
from torch.amp import GradScaler, autocast

from ...errors import UserError
from ...io.masks import IGNORED
from ..processes.group import rank, share_weights, world_size
from .autoencoder import ACTIVATIONS, PAPER_WIDTHS, AppAutoencoder, reconstruction_grads
from .term_weight import TermWeight

SCHEDULES = ("constant", "cosine")

log = logging.getLogger(__name__)


class _Architecture(TypedDict):
    hidden: tuple[int, ...]
    act: str
    out: str


class AppCallback(Callback):
    """Train an autoencoder to reconstruct true masks from predicted ones, and add its loss to the model's.

    The paper's APP (3.1, Fig. 1, 4.2). The model itself is unchanged, and the autoencoder is not saved with it, so that
    inference is the same with and without APP. The main loss stays in the column `train_loss`. `history()` adds the
    mean of the term (`app_loss`), the ratio of its weighted gradient's norm to that of the main loss at the logits
    (`app_grad_ratio`), and the weight (`app_weight`).

    With weight "auto" the ratio is held at `target`. As published, with a mean squared error next to the released
    code's summed cross-entropy ("summed"), it is about a millionth, and the term has no effect. Raises `UserError` for
    unknown names.
    """

    order = 5  # before GradientAccumulation (6), which divides the sum; inside MixedPrecision (10)
    run_valid = False
    _stateattrs = ("autoencoder", "own_opt", "own_scaler", "waiting")  # not pickled, so that learn.export omits them

    def __init__(
        self,
        act: str = "gelu",  # gelu (the paper), relu
        weight: float | str = "auto",  # a number, "auto", or "summed": 1, next to a main loss summed over the pixels
        target: float = 0.1,  # the gradient ratio that "auto" holds
        loss: str = "mse",  # mse (the paper), ce (the released code)
        lr: float = 1e-3,  # of the autoencoder's own Adam
        schedule: str = "constant",  # constant, cosine
        hidden: tuple[int, ...] = PAPER_WIDTHS,
        out: str = "linear",  # after the last layer: linear, sigmoid, act (the released code)
        maps: str = "foreground",  # foreground, or all (one map per class, as in the released code)
        rows: float = 0.25,  # share of the rows of each tile, drawn at every step, that estimates the loss
        seed: int = 0,
    ):
        if act not in ACTIVATIONS:
            raise UserError(f"app={act!r} is unknown; it may be none, {' or '.join(ACTIVATIONS)}.")
        if schedule not in SCHEDULES:
            raise UserError(f"app_schedule={schedule!r} is unknown; it may be {' or '.join(SCHEDULES)}.")
        if not 0 < rows <= 1:
            raise UserError(f"app_rows={rows} must be greater than 0 and at most 1.")
        if loss not in ("mse", "ce"):
            raise UserError(f"app_loss={loss!r} is unknown; it may be mse or ce.")
        if loss == "ce" and out == "sigmoid":
            raise UserError("app_loss='ce' needs logits: the autoencoder's output may be linear or act, not sigmoid.")
        if maps not in ("foreground", "all"):
            raise UserError(f"the maps {maps!r} are unknown; they may be foreground or all.")
        self.term_weight = TermWeight(weight, target)
        self.loss_name, self.first_lr, self.schedule = loss, lr, schedule
        self.maps, self.rows, self.seed = maps, rows, seed
        self.made_of: _Architecture = {"hidden": tuple(hidden), "act": act, "out": out}
        self.autoencoder: AppAutoencoder | None = None
        self.waiting: dict[str, Any] | None = None  # a loaded state, until the autoencoder is built

    def before_fit(self) -> None:
        """Save the state before a mock training."""
        self.before_mock = self.state_dict() if hasattr(self.learn, "lr_finder") else None

    def after_fit(self) -> None:
        """Restore the state after `lr_find`; after a training, warn if the autoencoder had no gradients."""
        if self.before_mock is not None:
            self.load_state_dict(self.before_mock)
            self.before_mock = None
        elif self.term_weight.is_dead:
            log.warning(
                "APP: the reconstruction hardly depends on the prediction (its gradient needed a weight of %.0e), so "
                "the model learned nothing from it. Train longer, or use a lower `app_lr`.",
                self.term_weight.last,
            )

    def before_epoch(self) -> None:
        """Reset the means of the epoch."""
        self.term_weight.start_epoch()

    def after_loss(self) -> None:
        """Add the weighted reconstruction loss of this batch to the loss that is propagated back."""
        if not self.training or not len(self.learn.yb):
            return
        logits = self.learn.pred
        autoencoder = self.autoencoder
        if autoencoder is None:
            autoencoder = self._build(logits.shape[-1], logits.device)
        term = self._term(autoencoder, logits, self.learn.y)
        if term is not None:
            self.learn.loss_grad = self.learn.loss_grad + term

    def after_step(self) -> None:
        """Step the autoencoder when the model steps."""
        if self.autoencoder is None:
            return
        _average_gradients(self.autoencoder)
        self.own_opt.param_groups[0]["lr"] = self._rate()
        self.own_scaler.step(self.own_opt)
        self.own_scaler.update()
        self.own_opt.zero_grad()

    def history(self) -> dict[str, float]:
        """Return the columns of history.csv: means over the batches of the epoch."""
        return self.term_weight.history()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a resumed run needs: weights, optimiser, scaler, pending gradients, smoothed ratio."""
        if self.autoencoder is None:
            return self.waiting or {}
        return {
            "width": self.autoencoder.width,
            "autoencoder": {k: v.detach().clone() for k, v in self.autoencoder.state_dict().items()},
            "opt": _cloned(self.own_opt.state_dict()),
            "scaler": self.own_scaler.state_dict(),
            "grads": [None if p.grad is None else p.grad.clone() for p in self.autoencoder.parameters()],
            "log_ratio": self.term_weight.log_ratio,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; an empty one means that no batch was seen."""
        self.autoencoder, self.waiting = None, state or None
        self.term_weight.log_ratio = None

    def _build(self, width: int, device: torch.device) -> AppAutoencoder:
        """Create the autoencoder for tiles of this width, without drawing from the generators that others use."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.autoencoder = autoencoder = AppAutoencoder(width, **self.made_of).to(device)
        self.own_opt = torch.optim.Adam(autoencoder.parameters(), lr=self.first_lr)
        amp = getattr(self.learn, "amp", None)
        self.cast = amp.dtype if amp is not None else None
        self.own_scaler = GradScaler(device.type, enabled=self.cast is torch.float16)
        share_weights(autoencoder)
        if self.waiting is not None:
            self._restore(autoencoder, self.waiting, device)
            self.waiting = None
        return autoencoder

    def _restore(self, autoencoder: AppAutoencoder, state: dict[str, Any], device: torch.device) -> None:
        if state["width"] != autoencoder.width:
            raise UserError(f"APP was trained on tiles of {state['width']} px, but these have {autoencoder.width} px.")
        autoencoder.load_state_dict(state["autoencoder"])
        self.own_opt.load_state_dict(_cloned(state["opt"]))
        if state["scaler"]:
            self.own_scaler.load_state_dict(state["scaler"])
        for parameter, grad in zip(autoencoder.parameters(), state["grads"], strict=True):
            parameter.grad = None if grad is None else grad.clone().to(device)
        self.term_weight.log_ratio = state["log_ratio"]

    def _term(self, autoencoder: AppAutoencoder, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
        """A scalar with the value and gradient of the weighted loss; None if half precision overflowed anywhere."""
        with autocast(logits.device.type, enabled=False):
            probability = logits.float().softmax(dim=1)
        maps = probability if self.maps == "all" else probability[:, 1:].sum(dim=1, keepdim=True)
        rows = maps.movedim(1, 2).flatten(0, 1)  # (B * H, K, W)
        truth = _one_hot(mask, maps.shape[1]).flatten(0, 1)
        drawn = self._drawn_rows(len(mask), logits.shape[-2], logits.device)
        rows, truth = (rows, truth) if drawn is None else (rows[drawn], truth[drawn])
        scale = self.own_scaler.scale(torch.ones((), device=logits.device))
        with autocast(logits.device.type, self.cast or torch.bfloat16, enabled=self.cast is not None):
            value, gradient = reconstruction_grads(autoencoder, rows, truth, loss=self.loss_name, scale=scale)
        gradient = gradient / scale
        if self.cast is torch.float16 and not _is_finite_everywhere(gradient):
            return None
        flow = (rows * gradient).sum()  # its gradient with respect to the rows is `gradient`
        losses = (flow, self.learn.loss_grad)
        at_logits = [torch.autograd.grad(x, logits, retain_graph=True)[0].float() for x in losses]
        weight = self.term_weight.of_batch(at_logits, value, max(1, int((mask != IGNORED).sum())))
        return weight * (flow - flow.detach() + value)

    def _drawn_rows(self, tiles: int, height: int, device: torch.device) -> torch.Tensor | None:
        """Indices of a share of the rows of each tile, the same for every distribution of tiles to processes."""
        n_rows = max(1, round(self.rows * height))
        if n_rows == height:
            return None
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.learn.train_iter)
        order = torch.rand(tiles * world_size(), height, generator=generator)[rank() :: world_size()].argsort(dim=1)
        first = height * torch.arange(tiles)[:, None]
        return (first + order[:, :n_rows]).flatten().to(device)

    def _rate(self) -> float:
        if self.schedule == "constant":
            return self.first_lr
        return self.first_lr * (1 + math.cos(math.pi * self.learn.pct_train)) / 2


def _average_gradients(autoencoder: nn.Module) -> None:
    if world_size() > 1:
        for parameter in autoencoder.parameters():
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= world_size()


def _one_hot(mask: torch.Tensor, n_maps: int) -> torch.Tensor:
    """Masks (B, H, W) as (B, H, K, W) of 0, 1 and `IGNORED`: the map of the foreground, or one map per class."""
    unknown = (mask == IGNORED)[:, :, None]
    if n_maps == 1:
        maps = (mask > 0)[:, :, None]
    else:
        maps = nn.functional.one_hot(mask.long().clamp(min=0), n_maps).movedim(-1, 2)
    return maps.float().masked_fill(unknown, IGNORED)


def _is_finite_everywhere(gradient: torch.Tensor) -> bool:
    """True if no process overflowed: a process that skipped its term alone would miss the exchange of the norms."""
    is_finite = gradient.isfinite().all().int()
    if world_size() > 1:
        dist.all_reduce(is_finite, dist.ReduceOp.MIN)
    return bool(is_finite)


def _cloned(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {k: _cloned(v) for k, v in state.items()}
    return [_cloned(v) for v in state] if isinstance(state, list) else state
