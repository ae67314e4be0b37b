"""Pruning of modules that do not affect a network's output, such as the encoder stages below the decoder's depth."""

from collections.abc import Callable, Container, Iterator

import torch
from torch import nn

from .dry_run import DOES_NOT_RUN, build_on_meta, run_on_meta


class Removed(nn.Module):
    """Replaces a removed module and returns its input: smp's EfficientNet runs blocks whose output it then drops."""

    def forward(self, x: torch.Tensor, *_) -> torch.Tensor:
        """Return `x` itself."""
        return x


def unused_modules(build: Callable[[], nn.Module], in_channels: int, tile: int) -> tuple[list[str], bool]:
    """Return the names of modules without effect on the output, and whether the network runs without them.

    The network that `build()` makes runs on the meta device only. Raises one of `DOES_NOT_RUN` if it does not run.
    """
    shape = (1, in_channels, tile, tile)
    model = build_on_meta(build)
    logits = run_on_meta(model, *shape)
    logits.sum().backward()
    if logits.shape[-2:] != (tile, tile):
        raise ValueError(f"its masks have {logits.shape[-1]} px")
    unused = modules_without(model, {name for name, p in model.named_parameters() if p.grad is not None})
    remove(model, unused)
    try:
        run_on_meta(model, *shape)
    except DOES_NOT_RUN:  # HRNet computes with outputs that it then drops
        return unused, False
    return unused, True


def remove(model: nn.Module, names: list[str]) -> None:
    """Replace the modules of these names by `Removed`."""
    for name in names:
        model.set_submodule(name, Removed())


def freeze(model: nn.Module, names: list[str]) -> None:
    """Exclude the parameters of the modules of these names from training."""
    for name in names:
        model.get_submodule(name).requires_grad_(False)


def modules_without(model: nn.Module, names: Container[str]) -> list[str]:
    """Return the names of the outermost modules none of whose parameters is among `names`."""
    return list(_outermost_without(model, names, ""))


def _outermost_without(module: nn.Module, names: Container[str], prefix: str) -> Iterator[str]:
    for name, child in module.named_children():
        known = [f"{prefix}{name}.{p}" in names for p, _ in child.named_parameters()]
        if known and not any(known):
            yield prefix + name
        elif not all(known):
            yield from _outermost_without(child, names, f"{prefix}{name}.")
