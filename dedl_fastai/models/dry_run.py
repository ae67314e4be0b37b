"""Dry runs of networks on torch's meta device: they show whether a network runs, without computing anything."""

from collections.abc import Callable

import torch
from torch import nn

# what torch, smp and timm raise for networks and sizes that do not fit together
DOES_NOT_RUN = (RuntimeError, ValueError, TypeError, AssertionError, AttributeError, KeyError, IndexError)


def build_on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Return the network that `build()` makes, on the meta device and in eval mode."""
    try:
        with torch.device("meta"):
            model = build()
    except RuntimeError:  # smp's mit_b* need real numbers while they are built
        model = build()
    return model.to("meta").eval()  # smp makes the first convolution on the CPU in any case


def run_on_meta(model: nn.Module, *shape: int) -> torch.Tensor:
    """Return the output of a network on the meta device for an input of this shape."""
    with torch.device("meta"):
        return model(torch.empty(*shape))


def first_line(e: BaseException) -> str:
    """Return the first line of an exception's message."""
    return str(e).strip().split("\n")[0]
