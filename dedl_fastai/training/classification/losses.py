"""Multi-label losses by name: focal (the paper's), binary cross-entropy, asymmetric; and the weights of classes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import UserError

LOSSES = ("focal", "bce", "asymmetric")
CLASS_WEIGHTS = ("inverse", "effective", "none", "dedl")
_BETA = 0.999  # of the effective number of samples (Cui et al. 2019)


class ClfLoss(nn.Module):
    """Base of losses of logits (B, K) and labels (B, K) of 0 and 1, with the methods by which fastai decodes logits.

    The loss is the mean of `per_label` times the class weights over images and classes.
    """

    weight: torch.Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None):
        super().__init__()
        weight = None if class_weights is None else torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("weight", weight)
        self.reduction = "mean"
        self.thresh = 0.5

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss, or the loss of each image and class if `reduction` is "none"."""
        loss = self.per_label(logits.float(), labels.float())  # half precision loses small probabilities
        if self.weight is not None:
            loss = loss * self.weight.to(loss)
        return loss if self.reduction == "none" else loss.mean()

    def per_label(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the unweighted loss of each image and class (B, K)."""
        raise NotImplementedError

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the probability of each class (B, K)."""
        return logits.sigmoid()

    def decodes(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return which classes are present (B, K), as booleans."""
        return probabilities > self.thresh


class MultiLabelFocal(ClfLoss):
    """Binary focal loss (Lin et al. 2017) of each class: -(1 - p_t)^gamma log(p_t), as in the released code."""

    def __init__(self, class_weights: Sequence[float] | None = None, gamma: float = 2.0):
        super().__init__(class_weights)
        self.gamma = gamma

    def per_label(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss (B, K); a label between 0 and 1 weights the losses of presence and absence."""
        present, absent = F.logsigmoid(logits), F.logsigmoid(-logits)  # log p and log(1 - p), finite for any logit
        return -labels * (self.gamma * absent).exp() * present - (1 - labels) * (self.gamma * present).exp() * absent


class MultiLabelBce(ClfLoss):
    """Binary cross-entropy of each class."""

    def per_label(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss (B, K)."""
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


class Asymmetric(ClfLoss):
    """Asymmetric loss (Ridnik et al. 2021), with the constants of its released code.

    It is -(1 - p)^gamma_pos log(p) if a class is present, and -p_m^gamma_neg log(1 - p_m) with p_m = max(p - margin, 0)
    if it is absent.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        gamma_neg: float = 4.0,
        gamma_pos: float = 1.0,
        margin: float = 0.05,
    ):
        super().__init__(class_weights)
        self.gamma_neg, self.gamma_pos, self.margin = gamma_neg, gamma_pos, margin

    def per_label(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss (B, K)."""
        present = -(self.gamma_pos * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)
        p = (logits.sigmoid() - self.margin).clamp(min=0)  # at most 1 - margin, so that the logarithm below is finite
        absent = -(p**self.gamma_neg) * torch.log1p(-p)
        return labels * present + (1 - labels) * absent


def clf_loss(
    name: str,  # focal, bce, asymmetric
    class_weights: Sequence[float] | None = None,  # from `class_weights`; None: all 1
    gamma: float = 2.0,  # of the focal loss
) -> ClfLoss:
    """Return the loss of that name."""
    if name not in LOSSES:
        raise UserError(f"loss={name!r} is unknown; it may be {', '.join(LOSSES)}.")
    if name == "focal":
        if gamma < 0:
            raise UserError(f"gamma={gamma} must be at least 0.")
        return MultiLabelFocal(class_weights, gamma)
    return MultiLabelBce(class_weights) if name == "bce" else Asymmetric(class_weights)


def class_weights(
    weighting: str,  # inverse, effective, none, dedl
    prevalence: Sequence[float],  # share of the training images with each class
    n: int,  # number of training images
) -> tuple[float, ...]:
    """Return the weight of each class in the loss.

    "inverse" is 1 / prevalence, "effective" is 1 / effective number of samples (Cui et al. 2019, beta 0.999); both are
    scaled to a mean of 1. "dedl" is the released code's: prevalences rescaled to 0.2..1, so that common classes weigh
    *more*. A class that no training image has is treated as if one image had it.
    """
    if weighting not in CLASS_WEIGHTS:
        raise UserError(f"class_weight={weighting!r} is unknown; it may be {', '.join(CLASS_WEIGHTS)}.")
    counts = [max(p * n, 1.0) for p in prevalence]
    if weighting == "none":
        return tuple(1.0 for _ in counts)
    if weighting == "dedl":
        low, spread = min(prevalence), max(prevalence) - min(prevalence)
        return tuple(0.2 + 0.8 * (p - low) / spread if spread else 1.0 for p in prevalence)
    raw = [1 / c if weighting == "inverse" else (1 - _BETA) / (1 - _BETA**c) for c in counts]
    return tuple(w * len(raw) / sum(raw) for w in raw)
