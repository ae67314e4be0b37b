"""Callbacks of every run: a seed and a log line per epoch."""

import logging
import random

from fastai.callback.core import Callback, TrainEvalCallback
from fastai.torch_core import set_seed
from torch.nn.modules.batchnorm import _BatchNorm

log = logging.getLogger(__name__)


class EpochSeed(Callback):
    """Seed every generator at the start of each epoch from the run's seed and the epoch's number.

    The batches and augmentations of an epoch thus do not depend on earlier epochs: a resumed run repeats them, and runs
    with and without APP see the same data in the same order. A second `fit` counts on, so that it does not repeat the
    epochs of the first one; `lr_find` does not count, and validation does not seed.
    """

    order = -50
    earlier = 0  # epochs of earlier fits
    trains = False

    def __init__(self, seed: int):
        self.seed = seed

    def before_train(self) -> None:
        """Seed Python, NumPy, torch and the loaders."""
        self.trains = True
        seed = (self.seed * 100_003 + self.earlier + self.learn.epoch) % 2**31
        set_seed(seed)
        for i, dl in enumerate(self.dls.loaders):
            dl.rng = random.Random(seed + i)

    def after_fit(self) -> None:
        """Count the epochs of this fit; fastai calls this after validation too."""
        if self.trains and not hasattr(self.learn, "lr_finder"):
            self.earlier += self.learn.n_epoch
        self.trains = False


class EpochLine(Callback):
    """Log one line per epoch, for output without a progress bar."""

    order = 62

    def after_epoch(self) -> None:
        """Log the losses and metrics of the epoch."""
        names, values = self.recorder.metric_names[1:-1], self.recorder.values[-1]
        values_text = "  ".join(f"{n} {v:.4f}" for n, v in zip(names, values, strict=True) if v is not None)
        log.info("epoch %d/%d  %s  %s", self.epoch + 1, self.n_epoch, values_text, self.recorder.log[-1])


def seed_callbacks(seed: int | None) -> list[Callback]:
    """Seed every generator for the initial weights that follow, and return the callback that seeds each epoch."""
    if seed is None:
        return []
    set_seed(seed)
    return [EpochSeed(seed)]


class KeepBatchStats(Callback):
    """Keeps the running statistics of batch normalisation, and normalises with them during training too.

    Training that continues a model on a few images would otherwise replace them by those of these images, and the
    model would fail on all others.
    """

    order = TrainEvalCallback.order + 1  # which sets the whole model to training

    def before_train(self) -> None:
        """Set the layers to evaluation; their weights are trained as before."""
        for module in self.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
