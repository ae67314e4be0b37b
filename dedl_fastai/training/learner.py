"""`seg_learner`: a fastai Learner of the paper's segmentation, with `fit_cosine`."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch.amp import GradScaler, autocast

from ..errors import UserError
from ..models.segmentation import SegSpec, create_seg_model
from .losses import seg_loss
from .metrics import TileDice, TileIoU
from .schedule import schedule_callbacks

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
AMPS = {"fp16": torch.float16, "bf16": torch.bfloat16}


class FieldLearner(Learner):
    """A Learner that can start at a later epoch, and knows the paper's schedule.

    fastai's own `start_epoch` runs the trackers on the epochs it skips (fastai issue 3780); here those epochs do not
    happen at all, and `pct_train` and `epoch` count as if they had.
    """

    first_epoch = 0
    group_factors: tuple[float, ...] = ()  # a share of the learning rate for each parameter group; empty: all the same

    def _do_fit(self) -> None:
        if self.first_epoch and getattr(self, "progress", None):
            self.progress.mbar.update(0)  # the bar starts its clock at 0 only
        for epoch in range(self.first_epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)

    def one_batch(self, i: int, b: tuple) -> None:
        """fastai's, but what mixed precision switches on is switched off even if the batch is interrupted."""
        try:
            super().one_batch(i, b)
        finally:
            for cb in self.cbs:
                if isinstance(cb, Amp):
                    cb.leave()

    def fit_cosine(
        self,
        n_epoch: int,
        lr: float = 3.6e-4,
        lr_min: float = 3.4e-4,
        cbs: Callback | Sequence[Callback] | None = None,
    ) -> None:
        """Train for `n_epoch` epochs while the learning rate falls once, as a cosine, from `lr` to `lr_min`.

        The defaults are the paper's (its 7.5), which is nearly a constant rate.
        """
        self.fit_schedule("cosine", n_epoch, lr, lr_min, cbs)

    def fit_schedule(
        self,
        schedule: str,  # cosine, one-cycle, dedl (as released: swings every 50 batches), constant
        n_epoch: int,
        lr: float,
        lr_min: float,
        cbs: Callback | Sequence[Callback] | None = None,
    ) -> None:
        """Train for `n_epoch` epochs with a schedule by name; `group_factors` scale the rates of the groups."""
        extra = [cbs] if isinstance(cbs, Callback) else list(cbs or [])
        lr, lr_min = self.group_rates(lr), self.group_rates(lr_min)
        self.fit(n_epoch, lr, cbs=[*schedule_callbacks(schedule, lr, lr_min), *extra])

    def group_rates(self, lr: float) -> float | np.ndarray:
        """The rate, or one a parameter group where they differ."""
        return lr if len(set(self.group_factors)) < 2 else lr * np.array(self.group_factors)


class FloatOptim(OptimWrapper):
    """fastai's wrapper of torch's optimisers, whose hyper-parameters stay Python's: weights_only refuses NumPy's."""

    def _set_hyper(self, k: str, v: Iterable[float]) -> None:
        super()._set_hyper(k, [float(x) for x in v])


class Amp(MixedPrecision):
    """fastai's mixed precision on the device the model is on: its own version casts on CUDA only."""

    def __init__(self, mode: str):
        super().__init__(mode)
        self.dtype = AMPS[mode]

    def before_fit(self) -> None:
        """Make the casting context and, for fp16, the gradient scaler."""
        device = next(self.model.parameters()).device.type
        if device == "cuda" and self.dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
            raise UserError("this GPU does not calculate in bfloat16: use --amp fp16.")
        self.autocast = autocast(device, dtype=self.dtype)
        self.learn.scaler = GradScaler(device, enabled=self.dtype is torch.float16)
        self.scales = []
        self.inside = False

    def before_batch(self) -> None:
        """Cast from here on."""
        self.autocast.__enter__()
        self.inside = True

    def after_loss(self) -> None:
        """Cast no more."""
        self.leave()

    def leave(self) -> None:
        """Switch casting off; it is a state of the whole process, which an interrupted batch must not leave behind."""
        if self.inside:
            self.inside = False
            self.autocast.__exit__(None, None, None)


def seg_learner(
    dls: DataLoaders,  # from `seg_dataloaders`
    arch: str = "unet",
    encoder: str = "resnet34",
    weights: str = "imagenet",  # none, imagenet, advprop, noisy-student, or a file
    depth: int = 3,
    decoder_channels: Sequence[int] = (),  # default: 256, 128, 64 for depth 3
    attention: str = "se",  # in the decoder: none, se (the paper), scse (the released code)
    loss: str | Callable = "weighted-ce",  # a name, or a loss of logits and masks
    opt: str = "adam",  # adam with L2 (the paper), adamw
    wd: float = 1e-5,
    amp: str = "no",  # no, fp16, bf16
    accumulate: int = 1,  # batches whose gradients are added before a step
    clip: float = 0.0,  # largest gradient norm; 0: no limit
    app: str | Callback = "none",  # the paper's autoencoder post-processing: none, gelu, relu, or an `AppCallback`
    cbs: Sequence[Callback] = (),
    path: str | Path = ".",
) -> FieldLearner:
    """A Learner for tiles of fields: model by name, loss, optimiser and metrics set up as in the paper.

    Raises `UserError` for unknown names, for tiles the network cannot take, and for weights that cannot be had.
    """
    facts = dls.facts
    spec = SegSpec(arch, encoder, depth, tuple(decoder_channels), attention, len(facts.channels), len(facts.classes))
    model = create_seg_model(spec, weights, facts.tile)
    if app != "none":
        cbs = [*cbs, _app(app)]
    loss_func = seg_loss(loss, facts.class_weights) if isinstance(loss, str) else loss
    learn = FieldLearner(
        dls,
        model,
        loss_func=loss_func,
        opt_func=optimizer(opt, wd),
        metrics=[TileIoU(), TileDice()],
        cbs=[*precision_callbacks(amp, accumulate * dls.train.bs if accumulate > 1 else 0, clip), *cbs],
        path=path,
    )
    learn.spec = spec
    return learn


def _app(app: str | Callback) -> Callback:
    if isinstance(app, Callback):
        return app
    from .app import AppCallback  # not needed by anything that only predicts

    return AppCallback(app)


def optimizer(name: str, wd: float) -> Callable:
    """An `opt_func` on torch's own optimiser: its betas and eps, not fastai's (0.99, 1e-5)."""
    if name not in OPTIMIZERS:
        raise UserError(f"--opt {name!r} is unknown; it may be {', '.join(OPTIMIZERS)}.")
    return partial(FloatOptim, opt=OPTIMIZERS[name], weight_decay=wd)


def precision_callbacks(amp: str = "no", accumulate_items: int = 0, clip: float = 0.0) -> list[Callback]:
    """Mixed precision, accumulation over that many items, and clipping, where they are asked for."""
    if amp not in ("no", *AMPS):
        raise UserError(f"--amp {amp!r} is unknown; it may be no, fp16 or bf16.")
    cbs: list[Callback] = [Amp(amp)] if amp != "no" else []
    if accumulate_items:
        cbs.append(GradientAccumulation(accumulate_items))
    if clip:
        cbs.append(GradientClip(clip))
    return cbs
