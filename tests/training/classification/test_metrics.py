"""Multi-label metrics: equal to scikit-learn's on random and degenerate predictions, for any batch size."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from sklearn.metrics import average_precision_score, f1_score

from dedl_fastai.training.classification.metrics import F1Macro, F1Micro, MeanAP


def value(metric, logits, labels, bs=5):
    metric.reset()
    for i in range(0, len(logits), bs):
        metric.accumulate(SimpleNamespace(pred=logits[i : i + bs], y=labels[i : i + bs]))
    return metric.value


def random_case(n=23, k=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, k, generator=generator) < torch.linspace(0.1, 0.9, k)
    return torch.randn(n, k, generator=generator) + labels.float(), labels.float()


def degenerate_cases():
    logits, labels = random_case()
    return {
        "nothing predicted": (-logits.abs() - 1, labels),
        "all predicted": (logits.abs() + 1, labels),
        "nothing true": (logits, torch.zeros_like(labels)),
        "nothing at all": (-logits.abs() - 1, torch.zeros_like(labels)),
        "all true": (logits, torch.ones_like(labels)),
        "one class never true nor predicted": (
            torch.cat([logits, torch.full((23, 1), -3.0)], 1),
            torch.cat([labels, torch.zeros(23, 1)], 1),
        ),
        "one image": (logits[:1], labels[:1]),
        "one class": (logits[:, :1], labels[:, :1]),
    }


CASES = {f"random {s}": random_case(seed=s) for s in range(3)} | degenerate_cases()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("metric", "average"), [(F1Macro(), "macro"), (F1Micro(), "micro")])
def test_f1_equals_scikit_learns(metric, average, case):
    logits, labels = CASES[case]
    truth, guess = labels.numpy().astype(int), (logits > 0).numpy().astype(int)
    if truth.shape[1] == 1:  # scikit-learn takes one column as a binary problem, whose micro-F1 counts both classes
        scores = [f1_score(truth[:, 0], guess[:, 0], zero_division=0)] * 2
    else:
        scores = [f1_score(truth, guess, average=average, zero_division=0)]
    assert value(metric, logits, labels) == pytest.approx(scores[0])


@pytest.mark.parametrize("case", CASES)
def test_map_equals_scikit_learns_mean_over_the_present_classes(case):
    logits, labels = CASES[case]
    scores = [
        average_precision_score(labels[:, k].numpy(), logits[:, k].numpy())
        for k in range(labels.shape[1])
        if labels[:, k].any()
    ]
    assert value(MeanAP(), logits, labels) == pytest.approx(np.mean(scores) if scores else 0.0)


@pytest.mark.parametrize("metric", [F1Macro(), F1Micro(), MeanAP()])
@pytest.mark.parametrize("bs", [1, 7, 100])
def test_value_does_not_depend_on_the_batch_size(metric, bs):
    assert value(metric, *random_case(), bs) == pytest.approx(value(metric, *random_case(), 5))


@pytest.mark.parametrize("metric", [F1Macro(), F1Micro(), MeanAP()])
def test_reset_discards_earlier_batches(metric):
    value(metric, *random_case(seed=1))
    assert value(metric, *random_case()) == value(type(metric)(), *random_case())


def test_f1_is_not_recall_with_false_positives():
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert value(F1Micro(), torch.ones(2, 2), labels) == pytest.approx(2 / 3)  # recall is 1


def test_ties_are_counted_as_in_scikit_learn():
    logits = torch.tensor([[0.5], [0.5], [0.5], [-1.0]])
    labels = torch.tensor([[1.0], [0.0], [1.0], [1.0]])
    assert value(MeanAP(), logits, labels) == pytest.approx(average_precision_score(labels[:, 0], logits[:, 0]))


@pytest.mark.parametrize(("metric", "column"), [(F1Macro(), "f1_macro"), (F1Micro(), "f1_micro"), (MeanAP(), "map")])
def test_columns(metric, column):
    assert metric.name == column


def test_counts_and_predictions_of_two_processes_are_pooled(monkeypatch):
    logits, labels = random_case()
    whole = [value(m, logits, labels) for m in (F1Macro(), F1Micro(), MeanAP())]
    parts = [(logits[:10], labels[:10]), (logits[10:], labels[10:])]

    def counts(part):
        metric = F1Macro()
        value(metric, *part)
        return metric.counts

    other = counts(parts[1])
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda c: c.add_(other))
    monkeypatch.setattr(dist, "all_gather_object", lambda out, own: out.__setitem__(slice(None), [own, remote]))
    remote = (parts[1][0], parts[1][1] > 0.5)
    assert [value(m, *parts[0]) for m in (F1Macro(), F1Micro(), MeanAP())] == pytest.approx(whole)
