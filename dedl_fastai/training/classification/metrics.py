"""Multi-label metrics over the whole validation set, exact for any batch size and number of processes."""

import torch
import torch.distributed as dist
from fastai.learner import Learner, Metric


class _LabelCounts(Metric):
    """TP, FP and FN of each class over all batches and processes; a class is predicted from a probability of 0.5 on."""

    def reset(self) -> None:
        """Forget the counts."""
        self.counts = torch.zeros(3, 1, dtype=torch.int64)

    def accumulate(self, learn: Learner) -> None:
        """Add a batch."""
        guess, truth = learn.pred > 0, learn.y > 0.5
        tp, n_guess, n_truth = (guess & truth).sum(0), guess.sum(0), truth.sum(0)
        self.counts = self.counts.to(tp.device) + torch.stack([tp, n_guess - tp, n_truth - tp])

    def _pooled(self) -> torch.Tensor:
        counts = self.counts.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        return counts.double()


def _f1(counts: torch.Tensor) -> torch.Tensor:
    """2 TP / (2 TP + FP + FN) of counts (3, ...); 0 where nothing is there and nothing predicted."""
    tp, fp, fn = counts
    return 2 * tp / (2 * tp + fp + fn).clamp(min=1)


class F1Macro(_LabelCounts):
    """Mean over the classes of their F1; a class without any positive and any prediction scores 0 (scikit-learn)."""

    @property
    def value(self) -> float:
        """The mean F1."""
        return _f1(self._pooled()).mean().item()

    @property
    def name(self) -> str:
        """Column in the history."""
        return "f1_macro"


class F1Micro(_LabelCounts):
    """F1 of all labels of all classes pooled."""

    @property
    def value(self) -> float:
        """The pooled F1."""
        return _f1(self._pooled().sum(dim=1)).item()

    @property
    def name(self) -> str:
        """Column in the history."""
        return "f1_micro"


class MeanAP(Metric):
    """Mean over the classes of their average precision; classes that no image holds are left out (0 if all are)."""

    def reset(self) -> None:
        """Forget the predictions."""
        self.logits, self.labels = [], []

    def accumulate(self, learn: Learner) -> None:
        """Keep a batch."""
        self.logits.append(learn.pred.detach().float().cpu())
        self.labels.append(learn.y.detach().cpu() > 0.5)

    @property
    def value(self) -> float | None:
        """The mean average precision; None if no labelled item was seen."""
        from sklearn.metrics import average_precision_score

        if not self.logits:
            return None
        scores, truth = self._gathered()
        held = truth.any(dim=0)
        if not held.any():
            return 0.0
        return float(average_precision_score(truth[:, held].numpy(), scores[:, held].numpy(), average="macro"))

    @property
    def name(self) -> str:
        """Column in the history."""
        return "map"

    def _gathered(self) -> tuple[torch.Tensor, torch.Tensor]:
        own = torch.cat(self.logits), torch.cat(self.labels)
        if not (dist.is_available() and dist.is_initialized()):
            return own
        parts: list = [None] * dist.get_world_size()
        dist.all_gather_object(parts, own)
        scores, truth = zip(*parts, strict=True)
        return torch.cat(scores), torch.cat(truth)
