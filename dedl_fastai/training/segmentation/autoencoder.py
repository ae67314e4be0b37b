"""`AppAutoencoder`: the paper's network that reconstructs a true mask from a predicted one, row by row."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from ...errors import UserError
from ...io.masks import IGNORED

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
PAPER_WIDTHS = (15360, 256, 128, 64, 32, 16)
_CHUNK = 1024  # rows in one pass: their 15360-wide float32 activation takes 63 MB


class AppAutoencoder(nn.Module):
    """Eleven linear layers on the last axis: width-15360-256-128-64-32-16-32-64-128-256-width (the paper's Fig. 1).

    Each row of a probability map is an item of its own. The paper does not say what follows the last layer; `out` may
    be "linear", "sigmoid", or "act" (the hidden activation, as in the released code). With Adam at the paper's 1e-3
    the first steps drive a sigmoid far below zero: all rows become empty and no gradient remains (`docs/app.md`). A
    linear output learns.
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
        outputs = {"sigmoid": nn.Sigmoid, "linear": nn.Identity, "act": ACTIVATIONS[act]}
        if out not in outputs:
            raise UserError(f"the autoencoder's output {out!r} is unknown; it may be {', '.join(outputs)}.")
        self.width = width
        sizes = [width, *hidden, *reversed(hidden[1:-1]), width]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), ACTIVATIONS[act]()]
        self.layers = nn.Sequential(*layers[:-1], outputs[out]())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction (..., width) of rows (..., width)."""
        return self.layers(x)


def reconstruction_grads(
    autoencoder: nn.Module,
    rows: torch.Tensor,  # (N, K, width): predicted probabilities, detached
    truth: torch.Tensor,  # (N, K, width): 0 and 1; `IGNORED` does not count
    loss: str = "mse",  # mse (the paper), ce (the released code; reconstructions are logits)
    scale: float | torch.Tensor = 1.0,
    chunk: int = _CHUNK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean reconstruction loss, and `scale` times its gradient with respect to `rows`.

    `scale` times the gradient of the autoencoder's own parameters is added to their `.grad`. Each chunk of rows is
    passed forward and backward before the next, so that the wide activations exist for one chunk only. Up to rounding,
    the result is that of one pass over all rows.
    """
    leaf = rows.detach().requires_grad_()
    total = rows.new_zeros((), dtype=torch.float32)
    size, n_known = max(1, chunk // rows.shape[1]), max(1, int((truth != IGNORED).sum()))
    with torch.enable_grad():
        for i in range(0, len(rows), size):
            part = _summed_loss(autoencoder(leaf[i : i + size]).float(), truth[i : i + size], loss) / n_known
            (part * scale).backward()
            total += part.detach()
    assert leaf.grad is not None  # there is at least one row
    return total, leaf.grad.float()


def _summed_loss(reconstruction: torch.Tensor, truth: torch.Tensor, loss: str) -> torch.Tensor:
    known = truth != IGNORED
    if loss == "mse":
        return nn.functional.mse_loss(reconstruction * known, truth.to(reconstruction) * known, reduction="sum")
    if loss != "ce":
        raise UserError(f"app_loss={loss!r} is unknown; it may be mse or ce.")
    if truth.shape[1] > 1:  # maps of all classes: their reconstructions are logits, as in the released code
        classes = truth.argmax(dim=1).masked_fill(~known[:, 0], IGNORED)
        loss_sum = nn.functional.cross_entropy(reconstruction, classes, reduction="sum", ignore_index=IGNORED)
        return loss_sum * truth.shape[1]
    return nn.functional.binary_cross_entropy_with_logits(
        reconstruction, truth.to(reconstruction).clamp(min=0), weight=known.to(reconstruction), reduction="sum"
    )
