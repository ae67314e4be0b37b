"""Segmentation metrics pooled over the validation tiles, exact for any batch size and number of processes."""

import torch
import torch.distributed as dist
from fastai.learner import Learner, Metric

from ...scores.pixel_counts import Counts


class _PooledMetric(Metric):
    """A ratio of counts that are summed over all batches and processes; the prediction is the likeliest class."""

    def reset(self) -> None:
        """Reset the counts."""
        self.counts = torch.zeros(3, dtype=torch.int64)

    def accumulate(self, learn: Learner) -> None:
        """Add TP, FP and FN of the foreground of a batch."""
        predicted, truth = learn.pred.argmax(dim=1) > 0, learn.y > 0
        tp, n_predicted, n_truth = (predicted & truth).sum(), predicted.sum(), truth.sum()
        self.counts = self.counts.to(tp.device) + torch.stack([tp, n_predicted - tp, n_truth - tp])

    def _pooled(self) -> Counts:
        counts = self.counts.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        tp, fp, fn = counts.tolist()
        return Counts(tp, fp, fn)


class TileIoU(_PooledMetric):
    """IoU of the nuclei pooled over the validation tiles."""

    @property
    def value(self) -> float:
        """The pooled IoU."""
        return self._pooled().iou

    @property
    def name(self) -> str:
        """The column in the history."""
        return "iou"


class TileDice(_PooledMetric):
    """Dice of the nuclei pooled over the validation tiles."""

    @property
    def value(self) -> float:
        """The pooled Dice."""
        return self._pooled().dice

    @property
    def name(self) -> str:
        """The column in the history."""
        return "dice"
