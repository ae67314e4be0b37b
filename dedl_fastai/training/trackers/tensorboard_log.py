"""`Log` for TensorBoard: event files in the run's folder tensorboard/, by fastai's own callback."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from fastai.callback.tensorboard import TensorBoardCallback
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from .tracker import Tracker, flat_scores


class Log(Tracker):
    """Scalars at each batch and epoch; options as text; scores and figures at the end."""

    def callback(self, steps_done: int) -> TensorBoardCallback:
        """Write the options, and return fastai's callback, which continues after `steps_done` batches."""
        with self._writer() as writer:
            writer.add_text("options", "```json\n" + json.dumps(self.options(), indent=2) + "\n```")
        return _Resumed(self._writer(purge_step=steps_done + 1))

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Write scores and figures."""
        with self._writer() as writer:
            for name, value in flat_scores(metrics):
                writer.add_scalar(name, value)
            for name, path in self.figures().items():
                with Image.open(path) as image:
                    writer.add_image(name, np.asarray(image.convert("RGB")), dataformats="HWC")

    def _writer(self, **options: Any) -> SummaryWriter:
        return SummaryWriter(str(self.run.path / "tensorboard"), **options)


class _Resumed(TensorBoardCallback):
    """fastai's callback with a writer that hides what an interrupted epoch had logged; training batches only."""

    def __init__(self, writer: SummaryWriter):
        super().__init__(trace_model=False, log_preds=False)
        self.writer = writer

    def _setup_writer(self) -> None:
        """Keep the writer that was given."""

    def after_batch(self) -> None:
        if not self.training:
            return
        self.writer.add_scalar("train_loss", self.smooth_loss, self.train_iter)
        for i, hypers in enumerate(self.opt.hypers):  # fastai's logs all, but torch's have some that are no numbers
            self.writer.add_scalar(f"lr_{i}", hypers["lr"], self.train_iter)

    def after_epoch(self) -> None:
        super().after_epoch()
        self.writer.flush()  # a run may be killed at any time
