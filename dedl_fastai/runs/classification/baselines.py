"""Baselines of classification: constant predictors, and a random forest on statistics of the pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.classification.items import ClfItem
from ...scores.class_labels import clf_scores, constant_scores
from ...scores.forest import forest_probabilities, picture_statistics
from .item_scores import Items, Predictions, Thresholds, headlines, truth_of, tuned_thresholds


def baselines(items: Items, vocab: Sequence[str], splits: list[str]) -> dict[str, Any]:
    """Score a constant predictor and a random forest, fitted to the training items; the last split on top.

    The forest's thresholds are tuned on the validation items, as the model's are.
    """
    if "train" not in items or not splits:
        return {}
    train = truth_of(items["train"])
    forest, thresholds = forest_predictions(items, splits)
    rows = {
        "constant": {s: constant_scores(train, truth_of(items[s]), vocab) for s in splits},
        "forest": {s: _tuned_and_at_half(items[s], forest[s], thresholds, vocab) for s in splits},
    }
    return {name: {**row[splits[-1]], "split": splits[-1], **row} for name, row in rows.items()}


def forest_predictions(
    items: Items, splits: Sequence[str], known: dict[tuple, np.ndarray] | None = None
) -> tuple[Predictions, list[float]]:
    """Return the probabilities of a forest that is fitted to the training items, and its thresholds for each class.

    The thresholds are tuned on the validation items; they are 0.5 if there are none. `known` keeps the statistics of
    pictures between calls.
    """
    known = {} if known is None else known
    used = list(dict.fromkeys([*(s for s in ("valid",) if s in items), *splits]))
    features = {s: np.array([_statistics(i, known) for i in items[s]]) for s in dict.fromkeys(["train", *used])}
    train = truth_of(items["train"])
    p = forest_probabilities(features["train"], train, np.concatenate([features[s] for s in used]))
    forest = dict(zip(used, np.split(p, np.cumsum([len(items[s]) for s in used])[:-1]), strict=True))
    if "valid" not in forest:
        return forest, [0.5] * train.shape[1]
    return forest, tuned_thresholds(forest["valid"], items["valid"])


def _statistics(item: ClfItem, known: dict[tuple, np.ndarray]) -> np.ndarray:
    key = (item.picture, item.y, item.x)
    if key not in known:
        known[key] = picture_statistics(item.pixels())
    return known[key]


def _tuned_and_at_half(
    items: list[ClfItem], p: np.ndarray, thresholds: Thresholds, vocab: Sequence[str]
) -> dict[str, Any]:
    return {**clf_scores(p, truth_of(items), thresholds, vocab), "at_0.5": headlines(items, p, 0.5, vocab)}
