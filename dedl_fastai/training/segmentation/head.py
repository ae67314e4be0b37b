"""`HeadCallback`: trains the maps of a head beside the classes, whose loss and metrics do not notice."""

import numpy as np
import torch
from fastai.callback.core import Callback

from ...cells.maps import true_maps
from ...data.segmentation.tensors import TensorInstances
from ...errors import UserError


class HeadCallback(Callback):
    """Add the loss of a head's maps to the model's, with ids of nuclei as targets (`seg_dataloaders(ids=True)`).

    The network returns the logits of the classes and of the maps. Everything else, from the loss and APP to the
    metrics, sees those of the classes, and masks of 0 and 1. `history()` adds the maps' loss (`head_loss`) as
    `head_loss`.
    """

    order = 4  # before APP (5) and all that reads the prediction

    def __init__(self, n_classes: int = 2, weight: float = 1.0):
        if weight < 0:
            raise UserError(f"head_weight={weight}: it cannot be negative.")
        self.n_classes, self.weight = n_classes, weight
        self.ids: torch.Tensor | None = None
        self.maps: torch.Tensor | None = None
        self.total, self.n = 0.0, 0

    def before_epoch(self) -> None:
        """Reset the mean of the epoch."""
        self.total, self.n = 0.0, 0

    def before_batch(self) -> None:
        """Keep the ids, and pass on masks of 0 and 1."""
        self.ids = None
        if not len(self.learn.yb):
            return
        (target,) = self.learn.yb
        if isinstance(target, TensorInstances):
            self.ids = target.as_subclass(torch.Tensor)
            self.learn.yb = (target.mask(),)
        elif self.training:
            raise UserError("the head needs ids of nuclei as targets: create the loaders with `ids=True`.")

    def after_pred(self) -> None:
        """Keep the logits of the maps, and pass on those of the classes."""
        self.maps = self.learn.pred[:, self.n_classes :]
        self.learn.pred = self.learn.pred[:, : self.n_classes]

    def after_loss(self) -> None:
        """Add the weighted loss of the maps to the loss that is propagated back."""
        if not self.training or self.ids is None or self.maps is None:
            return
        loss = head_loss(self.maps.as_subclass(torch.Tensor).float(), self.ids)
        self.total, self.n = self.total + float(loss.detach()), self.n + 1
        self.learn.loss_grad = self.learn.loss_grad + self.weight * loss

    def after_batch(self) -> None:
        """Forget the batch, which would otherwise be pickled by `learn.export`."""
        self.ids = self.maps = None

    def history(self) -> dict[str, float]:
        """Return the column of history.csv: the mean over the batches of the epoch."""
        return {"head_loss": round(self.total / self.n, 6) if self.n else float("nan")}


def head_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Squared error of the maps (B, maps, H, W), given as logits, from those of ids (B, H, W), where they are known.

    The sum of the means over nuclei and over background, since the rims of few nuclei would hardly count otherwise,
    times 10, which makes it about as large as the cross-entropy. (The cross-entropy of the distance itself is least
    where the distance is certain, and learns the dips between packed nuclei much more slowly.)
    """
    tiles = ids.clamp(min=0).cpu().numpy()
    target = torch.from_numpy(np.stack([true_maps(t, logits.shape[1]) for t in tiles])).to(logits)
    error = (logits.sigmoid() - target).square().sum(dim=1)
    nuclei, background = ((error * part).sum() / part.sum().clamp(min=1) for part in (ids > 0, ids == 0))
    return 10 * (nuclei + background)
