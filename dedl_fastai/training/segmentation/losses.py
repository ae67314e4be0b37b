"""Segmentation losses by name: cross-entropy with class weights (the paper's) or without, Dice, their sum, focal."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import UserError

LOSSES = ("weighted-ce", "ce", "dice", "ce-dice", "focal")


class SegLoss(nn.Module):
    """Base of losses of logits (B, K, H, W) and masks (B, H, W), with the methods by which fastai decodes logits."""

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the class probabilities (B, K, H, W)."""
        return logits.softmax(dim=1)

    def decodes(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the masks (B, H, W) of the likeliest class (for two classes, a threshold of 0.5)."""
        return probabilities.argmax(dim=1)


class CrossEntropy(SegLoss):
    """Mean cross-entropy over pixels; with `weight` (K,), the weighted mean (the paper's 4.2)."""

    weight: torch.Tensor | None

    def __init__(self, weight: Sequence[float] | None = None):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float32) if weight is not None else None)
        self.reduction = "mean"

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, or the loss of each pixel if `reduction` is "none"."""
        logits = logits.float()  # half precision would overflow in the mean over pixels
        weight = self.weight.to(logits) if self.weight is not None else None
        return F.cross_entropy(logits, mask.long(), weight=weight, reduction=self.reduction)


class Dice(SegLoss):
    """1 - soft Dice of the foreground, pooled over the batch, so that empty tiles do not dominate."""

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar in 0..1."""
        p = logits.float().softmax(dim=1)[:, 1:]
        t = F.one_hot(mask.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].to(p)
        overlap, size = (p * t).sum(dim=(0, 2, 3)), (p + t).sum(dim=(0, 2, 3))
        return 1 - ((2 * overlap + 1) / (size + 1)).mean()


class CrossEntropyDice(SegLoss):
    """Sum of cross-entropy and Dice (nnU-Net's loss)."""

    def __init__(self):
        super().__init__()
        self.ce, self.dice = CrossEntropy(), Dice()

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        return self.ce(logits, mask) + self.dice(logits, mask)


class Focal(SegLoss):
    """Softmax focal loss (Lin et al. 2017): mean of (1 - p_t)^gamma * cross-entropy."""

    def __init__(self, gamma: float = 2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar."""
        ce = F.cross_entropy(logits.float(), mask.long(), reduction="none")
        return ((1 - torch.exp(-ce)) ** self.gamma * ce).mean()


def seg_loss(name: str, class_weights: Sequence[float]) -> SegLoss:
    """Return the loss of that name; "weighted-ce" uses `class_weights` (background, nucleus)."""
    if name == "weighted-ce":
        return CrossEntropy(class_weights)
    losses: dict[str, Callable[[], SegLoss]] = {
        "ce": CrossEntropy,
        "dice": Dice,
        "ce-dice": CrossEntropyDice,
        "focal": Focal,
    }
    if name not in losses:
        raise UserError(f"loss={name!r} is unknown; it may be {', '.join(LOSSES)}.")
    return losses[name]()
