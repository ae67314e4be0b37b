"""`FieldLearner`: the fastai Learner of both tasks, with schedules by name; and torch's optimisers for it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper

from ..errors import UserError
from .options import SEG_RATES, floor_of
from .precision import Amp
from .schedule import schedule_callbacks

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class FieldLearner(Learner):
    """A Learner that can start at a later epoch, and has the paper's schedule.

    fastai's own `start_epoch` runs the trackers on the skipped epochs (fastai issue 3780). Here nothing runs in them,
    and `pct_train` and `epoch` count them.
    """

    first_epoch = 0
    paper_rates = SEG_RATES
    group_factors: tuple[float, ...] = ()  # per parameter group, times the learning rate; empty: all 1

    def _do_fit(self) -> None:
        if self.first_epoch and getattr(self, "progress", None):
            self.progress.mbar.update(0)  # the bar starts timing only at 0
        for epoch in range(self.first_epoch, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)

    def one_batch(self, i: int, b: tuple) -> None:
        """Train on a batch as fastai does, but leave mixed precision even if the batch is interrupted."""
        try:
            super().one_batch(i, b)
        finally:
            for cb in self.cbs:
                if isinstance(cb, Amp):
                    cb.leave()

    def to_fp16(self) -> "FieldLearner":
        """Train in mixed precision with float16, on any device that has it."""
        return self.to_fp32().add_cb(Amp("fp16"))

    def to_bf16(self) -> "FieldLearner":
        """Train in mixed precision with bfloat16, on any device that has it."""
        return self.to_fp32().add_cb(Amp("bf16"))

    def to_fp32(self) -> "FieldLearner":
        """Train in float32."""
        return self.remove_cbs([cb for cb in self.cbs if isinstance(cb, Amp)])

    def fit_cosine(
        self,
        n_epoch: int,
        lr: float | None = None,  # default: the paper's, 3.6e-4 for segmentation, 1e-3 for classification
        lr_min: float | None = None,  # default: as far below `lr` as the paper's floor is below its rate
        cbs: Callback | Sequence[Callback] | None = None,
    ) -> None:
        """Train for `n_epoch` epochs while the learning rate falls once from `lr` to `lr_min`, as a cosine.

        The paper's rates (section 7.5) are nearly constant for segmentation. Raises `UserError` for a floor above `lr`.
        """
        lr = self.paper_rates[0] if lr is None else lr
        lr_min = floor_of(lr, self.paper_rates) if lr_min is None else lr_min
        self.fit_schedule("cosine", n_epoch, lr=lr, lr_min=lr_min, cbs=cbs)

    def fit_schedule(
        self,
        schedule: str,  # cosine, one-cycle, step, dedl (the released code: half a period of 50 batches), constant
        n_epoch: int,
        lr: float,
        lr_min: float,
        cbs: Callback | Sequence[Callback] | None = None,
    ) -> None:
        """Train for `n_epoch` epochs with a schedule by name; `group_factors` scale the rates of the groups."""
        extra = [cbs] if isinstance(cbs, Callback) else list(cbs or [])
        rates, floors = self.group_rates(lr), self.group_rates(lr_min)
        self.fit(n_epoch, rates, cbs=[*schedule_callbacks(schedule, rates, floors), *extra])

    def group_rates(self, lr: float) -> float | np.ndarray:
        """Return the rate, or one rate per parameter group if they differ."""
        return lr if len(set(self.group_factors)) < 2 else lr * np.array(self.group_factors)


class FloatOptim(OptimWrapper):
    """fastai's wrapper of torch's optimisers with hyper-parameters as Python floats: weights_only refuses NumPy's."""

    def _set_hyper(self, k: str, v: Iterable[float]) -> None:
        super()._set_hyper(k, [float(x) for x in v])


def optimizer(name: str, wd: float) -> Callable:
    """Return an `opt_func` of torch's optimiser, with torch's betas and eps instead of fastai's (0.99, 1e-5)."""
    if name not in OPTIMIZERS:
        raise UserError(f"opt={name!r} is unknown; it may be {', '.join(OPTIMIZERS)}.")
    return partial(FloatOptim, opt=OPTIMIZERS[name], weight_decay=wd)
