"""Batch norm over a batch that is distributed over several processes on CPU; torch supports this on GPUs only."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .group import world_size


@contextmanager
def shared_batch_norm(model: nn.Module) -> Iterator[None]:
    """Compute the mean and variance of the model's batch norm over the shares of all processes, within the block.

    All shares must have the same size. The modules are not replaced, so that timm's keep their activation.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.affine and m.track_running_stats]
    for norm in norms:
        norm.forward = MethodType(_forward, norm)  # type: ignore[method-assign]  # hides the class's, until deleted
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def _forward(self: _BatchNorm, x: torch.Tensor) -> torch.Tensor:
    if not self.training:
        return type(self).forward(self, x)
    others = [d for d in range(x.dim()) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(x.dim())]
    mean = _mean(x.float().mean(others))
    centred = x.float() - mean.view(shape)
    variance = _mean(centred.square().mean(others))
    _update_running_statistics(self, mean.detach(), variance.detach(), x.numel() // x.shape[1] * world_size())
    scale = self.weight * (variance + self.eps).rsqrt()
    y = (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
    for name in ("drop", "act"):  # modules of timm's BatchNormAct2d, in its order
        y = getattr(self, name)(y) if hasattr(self, name) else y
    return y


def _mean(x: torch.Tensor) -> torch.Tensor:
    return _Sum.apply(x) / world_size()


@torch.no_grad()
def _update_running_statistics(norm: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor, n: int) -> None:
    """Update the running statistics as torch does, with the unbiased variance."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    share = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.item()
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (n / max(1, n - 1)), share)
