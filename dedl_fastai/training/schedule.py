"""Learning-rate schedules by name: cosine, one-cycle, steps, the released code's oscillation, and constant."""

import math

import numpy as np
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler, SchedCos, SchedNo, combine_scheds, combined_cos

from ..errors import UserError

Rate = float | np.ndarray

SCHEDULES = ("cosine", "one-cycle", "step", "dedl", "constant")


class OscillatingCosine(Callback):
    """The released code's schedule: `CosineAnnealingLR(T_max=50)` stepped every batch, so that its period is 100."""

    order, run_valid = 60, False

    def __init__(self, lr: Rate, lr_min: Rate, half_period: int = 50):
        self.lr_max, self.lr_min, self.half_period = lr, lr_min, half_period

    def before_batch(self) -> None:
        """Set the learning rate for this batch."""
        height = (1 + math.cos(math.pi * self.learn.train_iter / self.half_period)) / 2
        self.opt.set_hyper("lr", self.lr_min + (self.lr_max - self.lr_min) * height)


def schedule_callbacks(name: str, lr: Rate, lr_min: Rate) -> list[Callback]:
    """Return the callbacks that set the learning rate (and, for one-cycle, Adam's first beta) over a run.

    `lr` and `lr_min` may be arrays with a value per parameter group. "cosine" falls once from `lr` to `lr_min` (the
    paper: 3.6e-4 to 3.4e-4). "one-cycle" is fastai's: it rises from lr/25 and falls to `lr_min`. "step" divides `lr` by
    10 after each third of the run, which is probably what the paper's predecessor did. "dedl" is the schedule of the
    released code. "constant" stays at `lr`.
    """
    if name == "cosine":
        return [ParamScheduler({"lr": SchedCos(lr, lr_min)})]
    if name == "one-cycle":
        momentum = combined_cos(0.25, 0.95, 0.85, 0.95)
        return [ParamScheduler({"lr": combined_cos(0.25, lr / 25, lr, lr_min), "mom": momentum})]
    if name == "step":
        steps = [SchedNo(lr / 10**i, lr / 10**i) for i in range(3)]
        return [ParamScheduler({"lr": combine_scheds([1 / 3, 1 / 3, 1 / 3], steps)})]
    if name == "dedl":
        return [OscillatingCosine(lr, lr_min)]
    if name == "constant":
        return []
    raise UserError(f"schedule={name!r} is unknown; it may be {', '.join(SCHEDULES)}.")
