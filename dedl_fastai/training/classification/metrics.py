"""Multi-label metrics of the whole validation set, exact for any batch size and number of processes."""

import torch
import torch.distributed as dist
from fastai.learner import Learner, Metric


class _LabelCounts(Metric):
    """TP, FP and FN of each class over all batches and processes; predicted are classes with a probability over 0.5."""

    def reset(self) -> None:
        """Reset the counts."""
        self.counts = torch.zeros(3, 1, dtype=torch.int64)

    def accumulate(self, learn: Learner) -> None:
        """Add the counts of a batch."""
        predicted, truth = learn.pred > 0, learn.y > 0.5
        tp, n_predicted, n_truth = (predicted & truth).sum(0), predicted.sum(0), truth.sum(0)
        self.counts = self.counts.to(tp.device) + torch.stack([tp, n_predicted - tp, n_truth - tp])

    def _pooled(self) -> torch.Tensor:
        counts = self.counts.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        return counts.double()


def _f1(counts: torch.Tensor) -> torch.Tensor:
    """2 TP / (2 TP + FP + FN) of counts (3, ...); 0 for classes that are neither present nor predicted."""
    tp, fp, fn = counts
    return 2 * tp / (2 * tp + fp + fn).clamp(min=1)


class F1Macro(_LabelCounts):
    """Mean of the F1 of the classes; a class that is neither present nor predicted has 0, as in scikit-learn."""

    @property
    def value(self) -> float:
        """The mean F1."""
        return _f1(self._pooled()).mean().item()

    @property
    def name(self) -> str:
        """The column in the history."""
        return "f1_macro"


class F1Micro(_LabelCounts):
    """F1 of the pooled labels of all classes."""

    @property
    def value(self) -> float:
        """The pooled F1."""
        return _f1(self._pooled().sum(dim=1)).item()

    @property
    def name(self) -> str:
        """The column in the history."""
        return "f1_micro"


class MeanAP(Metric):
    """Mean average precision of the classes that occur in at least one image; 0 if there is none."""

    def reset(self) -> None:
        """Discard the predictions."""
        self.logits: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []

    def accumulate(self, learn: Learner) -> None:
        """Keep the predictions and labels of a batch."""
        self.logits.append(learn.pred.detach().float().cpu())
        self.labels.append(learn.y.detach().cpu() > 0.5)

    @property
    def value(self) -> float | None:
        """The mean average precision; None if no labelled item was seen."""
        from sklearn.metrics import average_precision_score

        if not self.logits:
            return None
        scores, truth = self._gathered()
        present = truth.any(dim=0)
        if not present.any():
            return 0.0
        return float(average_precision_score(truth[:, present].numpy(), scores[:, present].numpy(), average="macro"))

    @property
    def name(self) -> str:
        """The column in the history."""
        return "map"

    def _gathered(self) -> tuple[torch.Tensor, torch.Tensor]:
        own = torch.cat(self.logits), torch.cat(self.labels)
        if not (dist.is_available() and dist.is_initialized()):
            return own
        parts: list = [None] * dist.get_world_size()
        dist.all_gather_object(parts, own)
        scores, truth = zip(*parts, strict=True)
        return torch.cat(scores), torch.cat(truth)
