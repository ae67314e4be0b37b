"""Batch norm over the whole batch where several processes on CPU share it; torch has that for GPUs only."""

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
    """Within the block the model's batch norm takes mean and variance over the shares of all processes.

    All shares must be of one size. The modules stay what they are, timm's with an activation of their own too.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.affine and m.track_running_stats]
    for norm in norms:
        norm.forward = MethodType(_forward, norm)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

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
    _remember(self, mean.detach(), variance.detach(), x.numel() // x.shape[1] * world_size())
    scale = self.weight * (variance + self.eps).rsqrt()
    y = (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
    for name in ("drop", "act"):  # parts of timm's BatchNormAct2d, in its order
        y = getattr(self, name)(y) if hasattr(self, name) else y
    return y


def _mean(x: torch.Tensor) -> torch.Tensor:
    return _Sum.apply(x) / world_size()


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: torch.Tensor, variance: torch.Tensor, n: int) -> None:
    """Follow with the running statistics, as torch does: the variance without bias."""
    norm.num_batches_tracked += 1
    share = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.item()
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance * (n / max(1, n - 1)), share)
