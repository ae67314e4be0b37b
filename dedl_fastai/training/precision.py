"""Callbacks for mixed precision, gradient accumulation and gradient clipping."""

import logging

import torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.training import GradientAccumulation, GradientClip
from torch.amp import GradScaler, autocast

from ..errors import UserError
from ..models.device import AMPS, fastest_amp

log = logging.getLogger(__name__)


class Amp(MixedPrecision):
    """fastai's mixed precision on the model's device: fastai's own callback casts on CUDA only."""

    def __init__(self, mode: str):
        super().__init__(mode)
        self.dtype = AMPS[mode]

    def before_fit(self) -> None:
        """Create the autocast context and, for fp16, the gradient scaler."""
        device = next(self.model.parameters()).device.type
        if device == "cuda" and self.dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
            raise UserError("this GPU does not support bfloat16: use amp=fp16.")
        self.autocast = autocast(device, dtype=self.dtype)
        self.learn.scaler = GradScaler(device, enabled=self.dtype is torch.float16)
        self.scales: list[float] = []
        self.inside = False

    def before_batch(self) -> None:
        """Switch casting on."""
        self.autocast.__enter__()
        self.inside = True

    def after_loss(self) -> None:
        """Switch casting off."""
        self.leave()

    def leave(self) -> None:
        """Switch casting off: it is a state of the process, so an interrupted batch must not leave it on."""
        if self.inside:
            self.inside = False
            self.autocast.__exit__(None, None, None)


def precision_callbacks(
    amp: str = "no",  # no, fp16, bf16, auto
    accumulate_items: int = 0,
    clip: float = 0.0,
    device: str | torch.device = "cpu",  # whose fastest precision `auto` is
) -> list[Callback]:
    """Return the callbacks for mixed precision, accumulation over this number of items, and clipping, as requested."""
    if amp not in ("no", "auto", *AMPS):
        raise UserError(f"amp={amp!r} is unknown; it may be no, fp16, bf16 or auto.")
    if amp == "auto":
        amp = fastest_amp(device)
        log.info("mixed precision on this device: %s", amp)
    cbs: list[Callback] = [Amp(amp)] if amp != "no" else []
    if accumulate_items:
        cbs.append(GradientAccumulation(accumulate_items))
    if clip:
        cbs.append(GradientClip(clip))
    return cbs
