"""`AppCallback`: the paper's autoencoder post-processing (APP) as a term of the training loss."""

import logging
import math
from typing import Any

import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from torch import nn
from torch.amp import GradScaler, autocast

from ...errors import UserError
from ..processes.group import rank, share_weights, world_size
from .autoencoder import ACTIVATIONS, PAPER_WIDTHS, AppAutoencoder, reconstruction_grads

SCHEDULES = ("constant", "cosine")
_SMOOTHING = 0.5  # of the gradient ratio that weight="auto" follows: noise is halved, growth is followed in two steps
_MOST = 2.0  # times the target: what the ratio may reach in one batch, also while the autoencoder's gradient grows
_DEAD = 1e5  # a weight that lives on rounding: an autoencoder that learns ends at 1 to 10, one that died at 1e6 to 1e9

log = logging.getLogger(__name__)


class AppCallback(Callback):
    """Trains an autoencoder to make the true mask of the predicted one, and lets its loss flow back into the model.

    The paper's APP (its 3.1, Fig. 1, 4.2). The model is not changed and never saved with it: at inference nothing is
    left. The main loss stays `train_loss`; `history()` tells the term's mean `app_loss`, the ratio of its weighted
    gradient's norm to the main one's at the logits, `app_grad_ratio`, and the weight.

    With weight "auto" the ratio is held at `target`: as published, a mean squared error ("summed") beside the released
    code's summed cross-entropy, it is about a millionth and the term does nothing. Raises `UserError` for unknown
    names.
    """

    order = 5  # before GradientAccumulation (6), which divides the sum; inside of MixedPrecision (10)
    run_valid = False
    _stateattrs = ("autoencoder", "own_opt", "own_scaler", "waiting")  # not pickled: learn.export has no trace of it

    def __init__(
        self,
        act: str = "gelu",  # gelu (the paper), relu
        weight: float | str = "auto",  # a number, "auto", or "summed": 1, beside a main loss summed over the pixels
        target: float = 0.1,  # what "auto" holds the gradient ratio at
        loss: str = "mse",  # mse (the paper), ce (the released code)
        lr: float = 1e-3,  # of the autoencoder's own Adam
        schedule: str = "constant",  # constant, cosine
        hidden: tuple[int, ...] = PAPER_WIDTHS,
        out: str = "linear",  # what the last layer ends with: linear, sigmoid, act (as released)
        maps: str = "foreground",  # foreground, or all (a map a class, as released)
        rows: float = 0.25,  # share of each tile's rows, drawn anew each step, that estimates the loss
        seed: int = 0,
    ):
        if act not in ACTIVATIONS:
            raise UserError(f"app={act!r} is unknown; it may be none, {' or '.join(ACTIVATIONS)}.")
        if schedule not in SCHEDULES:
            raise UserError(f"app_schedule={schedule!r} is unknown; it may be {' or '.join(SCHEDULES)}.")
        if not 0 < rows <= 1:
            raise UserError(f"app_rows={rows}: a share above 0, at most 1, is needed.")
        if loss not in ("mse", "ce"):
            raise UserError(f"app_loss={loss!r} is unknown; it may be mse or ce.")
        if loss == "ce" and out == "sigmoid":
            raise UserError("the loss ce is of logits: the autoencoder's end may then be linear or act, not sigmoid.")
        if maps not in ("foreground", "all"):
            raise UserError(f"the maps {maps!r} are unknown; they may be foreground or all.")
        self.weight, self.target, self.loss_name = _checked_weight(weight), target, loss
        self.first_lr, self.schedule, self.maps, self.rows, self.seed = lr, schedule, maps, rows, seed
        self.made_of = {"hidden": tuple(hidden), "act": act, "out": out}
        self.autoencoder: AppAutoencoder | None = None
        self.log_ratio: float | None = None
        self.waiting: dict[str, Any] | None = None
        self._forget_epoch()

    def before_fit(self) -> None:
        """Remember the autoencoder before a mock training."""
        self.before_mock = self.state_dict() if hasattr(self.learn, "lr_finder") else None

    def after_fit(self) -> None:
        """After `lr_find`, put everything back as it was; after a training, say if the autoencoder was dead."""
        if self.before_mock is not None:
            self.load_state_dict(self.before_mock)
            self.before_mock = None
        elif self.weight == "auto" and self.last_weight > _DEAD:
            log.warning(
                "APP: the reconstruction hardly depends on the prediction (its gradient needed a weight of %.0e), so "
                "that it taught nothing. Train longer, or use a lower `app_lr`.",
                self.last_weight,
            )

    def before_epoch(self) -> None:
        """Start the means of the epoch."""
        self._forget_epoch()

    def after_loss(self) -> None:
        """Add the weighted reconstruction loss of this batch to what is propagated back."""
        if not self.training or not len(self.learn.yb):
            return
        logits = self.learn.pred
        if self.autoencoder is None:
            self._build(logits.shape[-1], logits.device)
        term = self._term(logits, self.learn.y)
        if term is not None:
            self.learn.loss_grad = self.learn.loss_grad + term

    def after_step(self) -> None:
        """Step the autoencoder when the model steps."""
        if self.autoencoder is None:
            return
        self._average_gradients()
        self.own_opt.param_groups[0]["lr"] = self._rate()
        self.own_scaler.step(self.own_opt)
        self.own_scaler.update()
        self.own_opt.zero_grad()

    def history(self) -> dict[str, float]:
        """Columns of history.csv: means over the epoch's batches (of the ratio: the geometric one)."""
        n = max(1, self.n)
        ratio = math.exp(self.ratio_sum / n) if self.n else 0.0
        return {"app_loss": self.loss_sum / n, "app_grad_ratio": ratio, "app_weight": self.last_weight}

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs: weights, optimiser, scaler, waiting gradients, the controller."""
        if self.autoencoder is None:
            return self.waiting or {}
        return {
            "width": self.autoencoder.width,
            "autoencoder": {k: v.detach().clone() for k, v in self.autoencoder.state_dict().items()},
            "opt": _cloned(self.own_opt.state_dict()),
            "scaler": self.own_scaler.state_dict(),
            "grads": [None if p.grad is None else p.grad.clone() for p in self.autoencoder.parameters()],
            "log_ratio": self.log_ratio,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; an empty one means that no batch was seen."""
        self.autoencoder, self.log_ratio, self.waiting = None, None, state or None

    def _build(self, width: int, device: torch.device) -> None:
        """Make the autoencoder for tiles of this width, without a draw from the generators that others use."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.autoencoder = AppAutoencoder(width, **self.made_of).to(device)
        self.own_opt = torch.optim.Adam(self.autoencoder.parameters(), lr=self.first_lr)
        amp = getattr(self.learn, "amp", None)
        self.cast = amp.dtype if amp is not None else None
        self.own_scaler = GradScaler(device.type, enabled=self.cast is torch.float16)
        share_weights(self.autoencoder)
        if self.waiting is not None:
            self._restore(self.waiting, device)
            self.waiting = None

    def _restore(self, state: dict[str, Any], device: torch.device) -> None:
        if state["width"] != self.autoencoder.width:
            raise UserError(f"APP was trained on tiles of {state['width']} px, these have {self.autoencoder.width}.")
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.own_opt.load_state_dict(_cloned(state["opt"]))
        if state["scaler"]:
            self.own_scaler.load_state_dict(state["scaler"])
        for parameter, grad in zip(self.autoencoder.parameters(), state["grads"], strict=True):
            parameter.grad = None if grad is None else grad.clone().to(device)
        self.log_ratio = state["log_ratio"]

    def _term(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
        """A scalar with the loss's value and gradient; None where half precision overflowed, on any process."""
        with autocast(logits.device.type, enabled=False):
            probability = logits.float().softmax(dim=1)
        maps = probability if self.maps == "all" else probability[:, 1:].sum(dim=1, keepdim=True)
        rows = maps.movedim(1, 2).flatten(0, 1)  # (B * H, K, W)
        truth = _one_hot(mask, maps.shape[1]).flatten(0, 1)
        picked = self._pick(len(mask), logits.shape[-2], logits.device)
        rows, truth = (rows, truth) if picked is None else (rows[picked], truth[picked])
        scale = self.own_scaler.scale(torch.ones((), device=logits.device))
        with autocast(logits.device.type, self.cast or torch.bfloat16, enabled=self.cast is not None):
            value, gradient = reconstruction_grads(self.autoencoder, rows, truth, self.loss_name, scale)
        gradient = gradient / scale
        if self.cast is torch.float16 and not _is_finite_everywhere(gradient):
            return None
        flow = (rows * gradient).sum()  # its gradient with respect to the rows is `gradient`
        weight = self._weigh(flow, logits, mask, value)
        return weight * (flow - flow.detach() + value)

    def _pick(self, tiles: int, height: int, device: torch.device) -> torch.Tensor | None:
        """Indices of this step's rows: a share of each tile's, the same whichever process has the tile."""
        wanted = max(1, round(self.rows * height))
        if wanted == height:
            return None
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.learn.train_iter)
        drawn = torch.rand(tiles * world_size(), height, generator=generator)[rank() :: world_size()].argsort(dim=1)
        first = height * torch.arange(tiles)[:, None]
        return (first + drawn[:, :wanted]).flatten().to(device)

    def _weigh(self, flow: torch.Tensor, logits: torch.Tensor, mask: torch.Tensor, value: torch.Tensor) -> float:
        """The term's weight for this batch; keeps the means for `history`."""
        gradients = [torch.autograd.grad(x, logits, retain_graph=True)[0].float() for x in (flow, self.learn.loss_grad)]
        ours, main, loss = _of_whole_batch(gradients, value)
        log_ratio = math.log(max(ours, 1e-30) / max(main, 1e-30))
        if self.log_ratio is None:
            self.log_ratio = log_ratio
        self.log_ratio = _SMOOTHING * self.log_ratio + (1 - _SMOOTHING) * log_ratio
        if self.weight == "auto":
            weight = self.target / math.exp(max(self.log_ratio, log_ratio - math.log(_MOST)))
        else:
            weight = 1 / (mask.numel() * world_size()) if self.weight == "summed" else self.weight
        self.n += 1
        self.loss_sum += loss
        self.ratio_sum += log_ratio + math.log(max(weight, 1e-30))
        self.last_weight = weight
        return weight

    def _rate(self) -> float:
        if self.schedule == "constant":
            return self.first_lr
        return self.first_lr * (1 + math.cos(math.pi * self.learn.pct_train)) / 2

    def _forget_epoch(self) -> None:
        self.n, self.loss_sum, self.ratio_sum, self.last_weight = 0, 0.0, 0.0, 0.0

    def _average_gradients(self) -> None:
        if world_size() > 1:
            for parameter in self.autoencoder.parameters():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= world_size()


def _checked_weight(weight: float | str) -> float | str:
    if weight in ("auto", "summed"):
        return weight
    try:
        number = float(weight)
    except ValueError:
        number = -1.0
    if number < 0 or not math.isfinite(number):
        raise UserError(f"app_weight={weight!r}: auto, summed, or a number of at least 0, is needed.")
    return number


def _one_hot(mask: torch.Tensor, n_maps: int) -> torch.Tensor:
    """Masks (B, H, W) as (B, H, K, W) of 0 and 1: the foreground's map, or one a class."""
    if n_maps == 1:
        return (mask > 0)[:, :, None].float()
    return nn.functional.one_hot(mask.long(), n_maps).movedim(-1, 2).float()


def _is_finite_everywhere(gradient: torch.Tensor) -> bool:
    """True if no process overflowed: one that leaves its term out alone would miss the exchange of the norms."""
    is_finite = gradient.isfinite().all().int()
    if world_size() > 1:
        dist.all_reduce(is_finite, dist.ReduceOp.MIN)
    return bool(is_finite)


def _of_whole_batch(gradients: list[torch.Tensor], value: torch.Tensor) -> list[float]:
    """The gradients' norms and the loss over all processes: a share can have next to none of the main gradient."""
    sums = torch.stack([*(g.square().sum() for g in gradients), value.detach()])
    if world_size() > 1:
        dist.all_reduce(sums)
    return [*sums[:-1].sqrt().tolist(), sums[-1].item() / world_size()]


def _cloned(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {k: _cloned(v) for k, v in state.items()}
    return [_cloned(v) for v in state] if isinstance(state, list) else state
