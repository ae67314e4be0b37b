"""`Log` for Weights & Biases, by fastai's own callback; off-line with WANDB_MODE=offline."""

import os
import uuid
from collections.abc import Mapping
from typing import Any

import wandb
from fastai.callback.wandb import WandbCallback

from .tracker import PROJECT, Tracker, flat_scores


class Log(Tracker):
    """A run of wandb, whose files are in the run's folder wandb/."""

    def callback(self, steps_done: int) -> WandbCallback:
        """Open a run with the options as its configuration, or the run that was begun; return fastai's callback."""
        if not self.log_id:
            self.keep_id(uuid.uuid4().hex)
        self.opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.run.path.name,
            id=self.log_id,
            resume="allow",
            dir=str(self.run.path),
            config=self.options(),
            reinit="finish_previous",
        )
        return _Resumed(steps_done)

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Log scores and figures, and close the run."""
        self.opened.summary.update(dict(flat_scores(metrics)))
        self.opened.log({name: wandb.Image(str(path)) for name, path in self.figures().items()})
        self.opened.finish()


class _Resumed(WandbCallback):
    """fastai's callback, which counts on from `steps_done` batches; the options are logged already.

    wandb leaves out steps that it has: those of an interrupted epoch, which the resumed run repeats.
    """

    def __init__(self, steps_done: int):
        super().__init__(log=None, log_preds=False)
        self.steps_done = steps_done

    def before_fit(self) -> None:
        """Start counting; fastai's own method collects the arguments of all callbacks and fails with new fastcore."""
        self._wandb_step = self.steps_done - 1
        self._wandb_epoch = self.steps_done / len(self.dls.train)
