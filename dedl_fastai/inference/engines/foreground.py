"""`foreground_and_maps`: what engines return, from the logits of a segmentation network."""

import torch
from torch import nn


def foreground(logits: torch.Tensor) -> torch.Tensor:
    """Probability of all classes except class 0, float32 (b, t, t), from logits (b, K, t, t)."""
    logits = logits.float()
    if logits.shape[1] == 2:  # equal to the softmax, and cheaper
        return (logits[:, 1] - logits[:, 0]).sigmoid()
    return 1 - logits.softmax(dim=1)[:, 0]


def foreground_and_maps(logits: torch.Tensor, n_maps: int = 0) -> torch.Tensor:
    """Probability of the foreground, (b, t, t); with maps of a head after the classes, (b, 1 + maps, t, t)."""
    if not n_maps:
        return foreground(logits)
    return torch.cat([foreground(logits[:, :-n_maps])[:, None], logits[:, -n_maps:].float().sigmoid()], dim=1)


class Foreground(nn.Module):
    """A segmentation network with `foreground_and_maps` applied to its logits."""

    def __init__(self, network: nn.Module, n_maps: int = 0):
        super().__init__()
        self.network, self.n_maps = network, n_maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probability of the foreground of each pixel, and the maps of the head if there is one."""
        return foreground_and_maps(self.network(x), self.n_maps)
