"""`TermWeight`: the weight of APP's term in the training loss, constant or controlled by the ratio of the gradients."""

import math

import torch
import torch.distributed as dist

from ...errors import UserError
from ..processes.group import world_size

_SMOOTHING = 0.5  # of the ratio that "auto" follows: halves its noise, and follows its growth within two steps
_MAX_EXCESS = 2.0  # the weighted ratio of one batch is at most this many times the target, even while it grows
_DEAD = 1e5  # a trained autoencoder ends at weights of 1 to 10; one without gradients, but for rounding, at 1e6 to 1e9


class TermWeight:
    """The weight of APP's term, and the term's means over an epoch for history.csv.

    "auto" holds the ratio of the weighted term's gradient norm to the main loss's, both at the logits, at `target`.
    "summed" is 1 / pixels: an unweighted mean next to a main loss summed over the pixels. Raises `UserError` for other
    words and for negative numbers.
    """

    def __init__(self, weight: float | str, target: float):
        self.weight, self.target = _checked(weight), target
        self.log_ratio: float | None = None  # smoothed, of the unweighted term
        self.start_epoch()

    def start_epoch(self) -> None:
        """Reset the means."""
        self.n, self.loss_sum, self.log_ratio_sum, self.last = 0, 0.0, 0.0, 0.0

    def of_batch(self, gradients: list[torch.Tensor], value: torch.Tensor, n_pixels: int) -> float:
        """Return the weight of the APP term for a batch, from its loss, its gradients and those of the main loss."""
        ours, main, loss = _of_whole_batch(gradients, value)
        log_ratio = math.log(max(ours, 1e-30) / max(main, 1e-30))
        if self.log_ratio is None:
            self.log_ratio = log_ratio
        self.log_ratio = _SMOOTHING * self.log_ratio + (1 - _SMOOTHING) * log_ratio
        if self.weight == "auto":
            weight = self.target / math.exp(max(self.log_ratio, log_ratio - math.log(_MAX_EXCESS)))
        else:
            weight = 1 / (n_pixels * world_size()) if self.weight == "summed" else float(self.weight)
        self.n += 1
        self.loss_sum += loss
        self.log_ratio_sum += log_ratio + math.log(max(weight, 1e-30))
        self.last = weight
        return weight

    @property
    def is_dead(self) -> bool:
        """Whether "auto" chose a weight so large that the autoencoder must pass no gradients."""
        return self.weight == "auto" and self.last > _DEAD

    def history(self) -> dict[str, float]:
        """Return the columns of history.csv: arithmetic mean of the loss, geometric mean of the ratio, last weight."""
        n = max(1, self.n)
        ratio = math.exp(self.log_ratio_sum / n) if self.n else 0.0
        return {"app_loss": self.loss_sum / n, "app_grad_ratio": ratio, "app_weight": self.last}


def _checked(weight: float | str) -> float | str:
    if weight in ("auto", "summed"):
        return weight
    try:
        number = float(weight)
    except ValueError:
        number = -1.0
    if number < 0 or not math.isfinite(number):
        raise UserError(f"app_weight={weight!r} must be auto, summed, or a number of at least 0.")
    return number


def _of_whole_batch(gradients: list[torch.Tensor], value: torch.Tensor) -> list[float]:
    """Norms of the gradients and the loss over all processes: one share may have almost no main gradient."""
    sums = torch.stack([*(g.square().sum() for g in gradients), value.detach()])
    if world_size() > 1:
        dist.all_reduce(sums)
    return [*sums[:-1].sqrt().tolist(), sums[-1].item() / world_size()]
