"""A replacement of `clf_dataloaders`: small random pictures whose first channel depends on their labels."""

from dataclasses import dataclass

import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.vision.core import TensorImage


@dataclass(frozen=True)
class Facts:
    """The fields of `dls.facts` that `clf_learner` reads."""

    size: int = 32
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.2, 0.2, 0.2)
    vocab: tuple[str, ...] = ("b", "t", "other")
    prevalence: tuple[float, ...] = (0.5, 0.25, 1.0)
    n_train: int = 20
    measurements: tuple[str, ...] = ()


def item(i: int, facts: Facts):
    """The picture and the labels number i."""
    generator = torch.Generator().manual_seed(i)
    labels = torch.tensor([float(i % 2 == 0), float(i % 4 == 1), 1.0])[: len(facts.vocab)]
    x = torch.rand(len(facts.mean), facts.size, facts.size, generator=generator)
    x[0] += labels[0]
    return TensorImage(x), labels


def noisy(batch):
    """A random augmentation of a batch."""
    x, y = batch
    return x + torch.randn_like(x) * 0.1, y


def pictures(facts: Facts | None = None, bs: int = 4, shuffle: bool = True, n: int = 20, augment=noisy) -> DataLoaders:
    """Loaders of `n` training and 8 validation pictures."""
    facts = facts or Facts()
    train = DataLoader([item(i, facts) for i in range(n)], bs=bs, shuffle=shuffle, after_batch=augment)
    dls = DataLoaders(train, DataLoader([item(100 + i, facts) for i in range(8)], bs=bs), device=torch.device("cpu"))
    dls.facts = facts
    return dls


def quiet_fit(learn, n, lr=1e-3, lr_min=1e-4, **options):
    """Train without a progress bar and log."""
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(n, lr, lr_min, **options)
    return learn
