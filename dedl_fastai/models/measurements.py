"""Networks that see measurements of cells: standardised, alone or joined to the features of a picture."""

import torch
from torch import nn

_LIMIT = 5.0  # standardised measurements beyond it are those of artefacts
_SMALLEST = 1e-6  # spread of a measurement
_HIDDEN = 64


class Standardising(nn.Module):
    """A module that keeps mean and standard deviation of its measurements, as buffers next to its weights."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, features: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    def standardise_by(self, cells: torch.Tensor) -> None:
        """Set mean and standard deviation to those of training cells (N, F), which may have NaN."""
        mean = cells.nanmean(dim=0)
        self.mean.copy_(mean)
        self.std.copy_((cells - mean).square().nanmean(dim=0).sqrt().clamp(min=_SMALLEST))

    def standardised(self, cells: torch.Tensor) -> torch.Tensor:
        """Return measurements (N, F) less the mean, in standard deviations; 0, which is the mean, for NaN."""
        return ((cells - self.mean) / self.std).clamp(-_LIMIT, _LIMIT).nan_to_num(0.0)


class JoinedModel(Standardising):
    """A network of timm whose pooled features are joined by measurements of the same cell before the head."""

    def __init__(self, picture: nn.Module, width: int, *, measurements: int, classes: int, drop: float = 0.0):
        super().__init__(measurements)
        self.picture = picture  # (B, C, H, W) -> (B, width)
        self.measured = nn.Sequential(nn.Linear(measurements, _HIDDEN), nn.ReLU(), nn.Dropout(0.3))
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(width + _HIDDEN, classes)

    def forward(self, pictures: torch.Tensor, measurements: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes) of pictures (B, C, size, size) and measurements (B, F), not yet standardised."""
        measured = self.measured(self.standardised(measurements))
        return self.head(torch.cat([self.drop(self.picture(pictures)), measured], dim=1))

    def get_classifier(self) -> tuple[nn.Module, ...]:
        """The layers after the pooled features, under timm's name for them."""
        return self.measured, self.head
