"""`AppAutoencoder`: the paper's network that reconstructs a true mask from a predicted one, row by row."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from ...errors import UserError

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
PAPER_WIDTHS = (15360, 256, 128, 64, 32, 16)
_MANY_ROWS = 1024  # what one chunk may hold: a 15360-wide float32 activation of 63 MB


class AppAutoencoder(nn.Module):
    """Eleven linear layers on the last axis: width-15360-256-128-64-32-16-32-64-128-256-width (the paper's Fig. 1).

    Each row of a probability map is an item; nothing is shared between rows but the weights. `out` is what the last
    layer ends with, of which the paper says nothing: "linear", "sigmoid", or "act" (the hidden activation, as
    released). With Adam at the paper's 1e-3 the first steps drive a sigmoid far below zero, all rows become empty, and
    no gradient is left (`docs/app.md`); a linear end learns.
    """

    def __init__(
        self,
        width: int,  # of a tile, in pixels
        hidden: Sequence[int] = PAPER_WIDTHS,
        act: str = "gelu",  # the paper's; "relu" in its ablation and in the released code
        out: str = "linear",
    ):
        super().__init__()
        if act not in ACTIVATIONS:
            raise UserError(f"app={act!r} is unknown; it may be none, {' or '.join(ACTIVATIONS)}.")
        ends = {"sigmoid": nn.Sigmoid, "linear": nn.Identity, "act": ACTIVATIONS[act]}
        if out not in ends:
            raise UserError(f"the autoencoder's end {out!r} is unknown; it may be {', '.join(ends)}.")
        self.width = width
        sizes = [width, *hidden, *reversed(hidden[1:-1]), width]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), ACTIVATIONS[act]()]
        self.layers = nn.Sequential(*layers[:-1], ends[out]())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) -> (..., width)."""
        return self.layers(x)


def reconstruction_grads(
    autoencoder: nn.Module,
    rows: torch.Tensor,  # (N, K, width): predicted probabilities, detached
    truth: torch.Tensor,  # (N, K, width): 0 and 1
    loss: str = "mse",  # mse (the paper), ce (the released code) of reconstructions that are logits
    scale: float | torch.Tensor = 1.0,
    chunk: int = _MANY_ROWS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean reconstruction loss, and `scale` times its gradient with respect to `rows`.

    The autoencoder's own parameters get `scale` times their gradient added to `.grad`. Rows go through in chunks, each
    forward and at once backward, so that the wide activations exist for one chunk only; the result is that of one
    pass over all rows, up to rounding.
    """
    leaf = rows.detach().requires_grad_()
    total = rows.new_zeros((), dtype=torch.float32)
    size = max(1, chunk // rows.shape[1])
    with torch.enable_grad():
        for i in range(0, len(rows), size):
            part = _summed_loss(autoencoder(leaf[i : i + size]).float(), truth[i : i + size], loss) / truth.numel()
            (part * scale).backward()
            total += part.detach()
    return total, leaf.grad.float()


def _summed_loss(made: torch.Tensor, truth: torch.Tensor, loss: str) -> torch.Tensor:
    if loss == "mse":
        return nn.functional.mse_loss(made, truth.to(made), reduction="sum")
    if loss != "ce":
        raise UserError(f"app_loss={loss!r} is unknown; it may be mse or ce.")
    if truth.shape[1] > 1:  # the maps of all classes: their reconstructions are taken as logits, as released
        return nn.functional.cross_entropy(made, truth.argmax(dim=1), reduction="sum") * truth.shape[1]
    return nn.functional.binary_cross_entropy_with_logits(made, truth.to(made), reduction="sum")
