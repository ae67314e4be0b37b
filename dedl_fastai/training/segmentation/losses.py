"""Segmentation losses by name: cross-entropy with class weights (the paper's) or without, Dice, their sum, focal.

Pixels whose mask is `IGNORED` do not count.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import UserError
from ...io.masks import IGNORED

LOSSES = ("weighted-ce", "ce", "dice", "ce-dice", "focal")


class SegLoss(nn.Module):
    """Base of losses of logits (B, K, H, W) and masks (B, H, W), with the methods by which fastai decodes logits."""

    def __init__(self):
        super().__init__()
        self.reduction = "mean"  # fastai sets it to "none" where it asks for the loss of each item

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

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, or the loss of each pixel if `reduction` is "none"; 0 if nothing is known."""
        logits = logits.float()  # half precision would overflow in the mean over pixels
        weight = self.weight.to(logits) if self.weight is not None else None
        mask = mask.long()
        if self.reduction != "none" and not (mask != IGNORED).any():
            return logits.sum() * 0  # the mean over no pixels is NaN
        return F.cross_entropy(logits, mask, weight=weight, reduction=self.reduction, ignore_index=IGNORED)


class Dice(SegLoss):
    """1 - soft Dice of the foreground, pooled over the batch, so that empty tiles do not dominate."""

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the loss in 0..1; with `reduction = "none"` the loss of each tile."""
        known = (mask != IGNORED)[:, None]
        p = logits.float().softmax(dim=1)[:, 1:] * known
        t = F.one_hot(mask.long().clamp(min=0), logits.shape[1]).movedim(-1, 1)[:, 1:].to(p)  # unknown as background
        pooled = (2, 3) if self.reduction == "none" else (0, 2, 3)
        overlap, size = (p * t).sum(dim=pooled), (p + t).sum(dim=pooled)
        return 1 - ((2 * overlap + 1) / (size + 1)).mean(dim=-1)


class CrossEntropyDice(SegLoss):
    """Sum of cross-entropy and Dice (nnU-Net's loss)."""

    def __init__(self):
        super().__init__()
        self.ce, self.dice = CrossEntropy(), Dice()

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the loss; with `reduction = "none"` the loss of each tile."""
        self.ce.reduction = self.dice.reduction = self.reduction
        ce = self.ce(logits, mask)
        return (ce.flatten(1).mean(dim=1) if self.reduction == "none" else ce) + self.dice(logits, mask)


class Focal(SegLoss):
    """Softmax focal loss (Lin et al. 2017): mean of (1 - p_t)^gamma * cross-entropy."""

    def __init__(self, gamma: float = 2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return the loss; with `reduction = "none"` the loss of each pixel."""
        mask = mask.long()
        ce = F.cross_entropy(logits.float(), mask, reduction="none", ignore_index=IGNORED)  # 0 where ignored
        loss = (1 - torch.exp(-ce)) ** self.gamma * ce
        return loss if self.reduction == "none" else loss.sum() / (mask != IGNORED).sum().clamp(min=1)


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
