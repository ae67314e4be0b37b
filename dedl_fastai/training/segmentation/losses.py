"""Segmentation losses by name: the paper's class-weighted cross-entropy, plain, Dice, their sum, focal."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import UserError

LOSSES = ("weighted-ce", "ce", "dice", "ce-dice", "focal")


class SegLoss(nn.Module):
    """Base of losses from logits (B, K, H, W) and masks (B, H, W); tells fastai how to turn logits into results."""

    def __init__(self):
        super().__init__()
        self.reduction = "mean"  # fastai sets it to "none" where it asks for the loss of each item

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Class probabilities (B, K, H, W)."""
        return logits.softmax(dim=1)

    def decodes(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Masks (B, H, W): the likeliest class (for two classes: a threshold of 0.5)."""
        return probabilities.argmax(dim=1)


class CrossEntropy(SegLoss):
    """Mean cross-entropy over pixels; with `weight` (K,), the weighted mean (the paper's 4.2)."""

    def __init__(self, weight: Sequence[float] | None = None):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight, dtype=torch.float32) if weight is not None else None)

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The loss; `reduction = "none"` gives it per pixel."""
        logits = logits.float()  # half precision would overflow in the mean over pixels
        weight = self.weight.to(logits) if self.weight is not None else None
        return F.cross_entropy(logits, mask.long(), weight=weight, reduction=self.reduction)


class Dice(SegLoss):
    """1 - soft Dice of the foreground, pooled over the batch, so that tiles without nuclei do no harm."""

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The loss in 0..1; `reduction = "none"` gives it for each tile."""
        p = logits.float().softmax(dim=1)[:, 1:]
        t = F.one_hot(mask.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].to(p)
        pooled = (2, 3) if self.reduction == "none" else (0, 2, 3)
        overlap, size = (p * t).sum(dim=pooled), (p + t).sum(dim=pooled)
        return 1 - ((2 * overlap + 1) / (size + 1)).mean(dim=-1)


class CrossEntropyDice(SegLoss):
    """Cross-entropy plus Dice, equal parts (nnU-Net's choice)."""

    def __init__(self):
        super().__init__()
        self.ce, self.dice = CrossEntropy(), Dice()

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The loss; `reduction = "none"` gives it for each tile."""
        self.ce.reduction = self.dice.reduction = self.reduction
        ce = self.ce(logits, mask)
        return (ce.flatten(1).mean(dim=1) if self.reduction == "none" else ce) + self.dice(logits, mask)


class Focal(SegLoss):
    """Softmax focal loss (Lin et al. 2017): mean of (1 - p_t)^gamma * cross-entropy."""

    def __init__(self, gamma: float = 2.0):
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The loss; `reduction = "none"` gives it per pixel."""
        ce = F.cross_entropy(logits.float(), mask.long(), reduction="none")
        loss = (1 - torch.exp(-ce)) ** self.gamma * ce
        return loss if self.reduction == "none" else loss.mean()


def seg_loss(name: str, class_weights: Sequence[float]) -> SegLoss:
    """The loss of that name; `class_weights` (background, nucleus) are for "weighted-ce"."""
    if name == "weighted-ce":
        return CrossEntropy(class_weights)
    made = {"ce": CrossEntropy, "dice": Dice, "ce-dice": CrossEntropyDice, "focal": Focal}
    if name not in made:
        raise UserError(f"loss={name!r} is unknown; it may be {', '.join(LOSSES)}.")
    return made[name]()
