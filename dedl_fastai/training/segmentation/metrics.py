"""Segmentation metrics pooled over the validation tiles, exact for any batch size and number of processes."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from fastai.learner import Learner, Metric

from ...data.tiles import Tile
from ...scores.pixel_counts import Counts
from ...scores.whole_fields import STEPS, counts_by_step
from ..processes.group import rank, world_size


class _CountingMetric(Metric):
    """Counts that are summed over all batches and processes."""

    n_counts: int

    def reset(self) -> None:
        """Reset the counts."""
        self.counts = torch.zeros(self.n_counts, dtype=torch.int64)

    def _add(self, counts: torch.Tensor) -> None:
        self.counts = self.counts.to(counts.device) + counts

    def _total(self) -> torch.Tensor:
        counts = self.counts.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        return counts


class _LikeliestClass(_CountingMetric):
    """A ratio of the pixels of all tiles; the prediction is the likeliest class."""

    n_counts = 3

    def accumulate(self, learn: Learner) -> None:
        """Add TP, FP and FN of the foreground of a batch."""
        truth, known = learn.y > 0, learn.y >= 0
        predicted = (learn.pred.argmax(dim=1) > 0) & known
        tp, n_predicted, n_truth = (predicted & truth).sum(), predicted.sum(), truth.sum()
        self._add(torch.stack([tp, n_predicted - tp, n_truth - tp]))

    def _pooled(self) -> Counts:
        tp, fp, fn = self._total().tolist()
        return Counts(tp, fp, fn)


class TileIoU(_LikeliestClass):
    """IoU of the nuclei pooled over the validation tiles."""

    @property
    def value(self) -> float:
        """The pooled IoU."""
        return self._pooled().iou

    @property
    def name(self) -> str:
        """The column in the history."""
        return "iou"


class TileDice(_LikeliestClass):
    """Dice of the nuclei pooled over the validation tiles."""

    @property
    def value(self) -> float:
        """The pooled Dice."""
        return self._pooled().dice

    @property
    def name(self) -> str:
        """The column in the history."""
        return "dice"


class TunedIoU(_CountingMetric):
    """IoU of the nuclei at the threshold with the best IoU, pooled over the pixels of the validation fields.

    A run's threshold is tuned in the same way after training, so an epoch is not preferred because its probabilities
    suit a threshold of 0.5. Padding beyond a field's edge is left out, and so are unknown pixels. Where the tiles of a
    batch are unknown (a shuffled loader, or items that are not `Tile`s), all tiles are counted whole.
    """

    n_counts = 2 * (STEPS + 1)

    def accumulate(self, learn: Learner) -> None:
        """Add the histograms of the foreground's probability of a batch, for true background and true nuclei."""
        probability = 1 - learn.pred.detach().as_subclass(torch.Tensor).float().softmax(dim=1)[:, 0]
        steps = (probability.nan_to_num() * STEPS + 1e-4).long()  # rounding must not push k/200 below step k
        truth, known = (learn.y.as_subclass(torch.Tensor) > 0), (learn.y.as_subclass(torch.Tensor) >= 0)
        both = (steps + (STEPS + 1) * truth)[_inside(truth.shape, _tiles(learn)).to(truth.device) & known]
        self._add(torch.bincount(both, minlength=self.n_counts))

    @property
    def value(self) -> float:
        """The best pooled IoU; at a threshold of 0 everything would be a nucleus."""
        histograms = self._total().reshape(2, STEPS + 1).cpu().numpy()
        return max(counts.iou for counts in counts_by_step(histograms)[1:])

    @property
    def name(self) -> str:
        """The column in the history."""
        return "iou_tuned"


def _tiles(learn: Learner) -> Sequence[Tile]:
    """The tiles of the current batch, or none if they are unknown; several processes share them as in `TileShare`."""
    all_items = getattr(learn.dl, "items", None)
    if all_items is None or learn.dl.shuffle:
        return []
    first = learn.iter * learn.dl.bs
    own = slice(rank() + first * world_size(), rank() + (first + len(learn.y)) * world_size(), world_size())
    items = list(all_items[own])
    return items if all(isinstance(item, Tile) for item in items) else []


def _inside(shape: torch.Size, tiles: Sequence[Tile]) -> torch.Tensor:
    """Bool (B, H, W): the pixels that are within the field."""
    inside = torch.ones(shape, dtype=torch.bool)
    for pixels, tile in zip(inside, tiles, strict=False):  # without tiles, everything
        height, width = tile.inside
        pixels[height:], pixels[:, width:] = False, False
    return inside
