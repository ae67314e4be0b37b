"""Drawing of classification batches and results: pictures, names of classes, probabilities and colours."""

import matplotlib.pyplot as plt
import pytest
import torch
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat

from dedl_fastai.data import clf_dataloaders, split_cohort
from dedl_fastai.data.classification.tensors import MISSED, RIGHT, WRONG, verdicts


class Probabilities(BCEWithLogitsLossFlat):
    """Loss that decodes into probabilities."""

    def decodes(self, x):
        return x


@pytest.fixture
def cohort(tiny_cohort):
    """The tiny cohort with the paper's split: 3 training, 2 validation, 2 test fields."""
    return split_cohort(tiny_cohort, "paper")


@pytest.mark.parametrize("input", ["thumbnail", "autofluorescence", "markers"])
def test_show_batch_draws_pictures_under_their_classes(cohort, input):
    clf_dataloaders(cohort, input, size=24, bs=2, device="cpu").show_batch(max_n=2)
    axes = plt.gcf().axes
    assert len(axes) == 2 and all(a.images and "b" in a.get_title() for a in axes)
    plt.close("all")


@pytest.mark.parametrize("loss", [BCEWithLogitsLossFlat(), Probabilities()])
def test_show_results_writes_truth_and_predictions(cohort, loss):
    dls = clf_dataloaders(cohort, size=24, bs=2, seed=0, device="cpu")
    head = torch.nn.Linear(3, 5)
    head.weight.data.zero_()
    head.bias.data = torch.tensor([2.0, 2.0, -2.0, -2.0, 2.0])  # always b, tfh, other
    learn = Learner(dls, torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head), loss_func=loss)
    learn.show_results(max_n=2, shuffle=False)
    axes = plt.gcf().axes
    written = [t.get_text() for a in axes for t in a.texts]
    assert len(axes) == 2 and any(t.startswith("tfh") for t in written)
    assert any("0.88" in t for t in written) == isinstance(loss, Probabilities)
    assert axes[0].get_title().replace("\n", "; ") == "; ".join(dls.valid.items[0].labels)
    plt.close("all")


def test_verdicts_are_coloured_by_what_is_wrong():
    values = {"a": 0.9, "b": 0.7, "c": 0.2, "d": 0.1}
    assert verdicts(["a", "c"], values) == [("a 0.90", RIGHT), ("b 0.70", WRONG), ("c 0.20 (missed)", MISSED)]
    assert verdicts(["a", "c"], values, [0.95, 0.5, 0.1, 0.5]) == [
        ("a 0.90 (missed)", MISSED),
        ("b 0.70", WRONG),
        ("c 0.20", RIGHT),
    ]
    assert verdicts(["a"], {"a": 1.0, "b": 0.0}) == [("a", RIGHT)]
