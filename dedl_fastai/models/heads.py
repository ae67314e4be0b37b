"""Heads: maps that a segmentation network predicts beside the classes, to tell touching nuclei apart."""

import copy

import torch
from torch import nn

from ..errors import UserError

MAPS = "segmentation_head.maps."  # start of the names of their weights


class ClassesAndMaps(nn.Sequential):
    """smp's segmentation head with a second one beside it: features -> logits of the classes, then of the maps.

    The first keeps the names of its weights, so that a network without maps loads into one with them.
    """

    def __init__(self, classes: nn.Sequential, maps: nn.Sequential):
        super().__init__(*classes)
        self.maps = maps

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes + maps, H, W)."""
        x = features
        for name, module in self.named_children():
            if name != "maps":
                x = module(x)
        return torch.cat([x, self.maps(features)], dim=1)


def add_maps(network: nn.Module, n: int) -> None:
    """Let an smp network predict `n` maps beside its classes; its other weights stay as they are."""
    classes = network.segmentation_head
    if not isinstance(classes, nn.Sequential) or not isinstance(classes[0], nn.Conv2d):
        raise UserError(f"{type(network).__name__} has no convolution as its last layer: use head='mask' with it.")
    maps = copy.deepcopy(classes)
    first = classes[0]
    kernel = (first.kernel_size[0], first.kernel_size[1])
    maps[0] = nn.Conv2d(first.in_channels, n, kernel, padding=kernel[0] // 2)
    network.segmentation_head = ClassesAndMaps(classes, maps)
