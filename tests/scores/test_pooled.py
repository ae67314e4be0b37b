"""Scores that are pooled over folds with thresholds of their own, and intervals over patients."""

import numpy as np
import pytest

from dedl_fastai.scores import BoundaryCounts, Counts, clf_scores
from dedl_fastai.scores.class_labels import constant_scores, pooled_constant_scores
from dedl_fastai.scores.intervals import pixel_intervals

VOCAB = ["a", "b"]


def test_each_item_is_decided_at_its_own_threshold():
    p = np.array([[0.4, 0.9], [0.4, 0.2], [0.6, 0.9], [0.6, 0.2]])
    y = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], dtype=bool)
    own = np.array([[0.3, 0.5], [0.3, 0.5], [0.7, 0.5], [0.7, 0.5]])  # two folds of two items
    scores = clf_scores(p, y, own, VOCAB)
    assert scores["f1_macro"] == 1 and scores["exact_match"] == 1
    assert clf_scores(p, y, 0.5, VOCAB)["per_class"]["a"]["f1"] == 0
    assert scores["per_class"]["a"]["threshold"] is None and scores["per_class"]["b"]["threshold"] == 0.5
    assert scores["per_class"]["a"]["auroc"] == 0  # of the pooled probabilities


def test_pooled_constants_of_one_fold_are_those_of_that_fold():
    rng = np.random.default_rng(0)
    train, test = rng.random((30, 2)) < 0.4, rng.random((10, 2)) < 0.4
    one = constant_scores(train, test, VOCAB)
    pooled = pooled_constant_scores([(train, test)], VOCAB)
    assert {k: one[k] for k in ("f1_macro", "f1_micro", "brier", "map", "auroc", "per_class")} == {
        k: pooled[k] for k in ("f1_macro", "f1_micro", "brier", "map", "auroc", "per_class")
    }
    assert {k: v for k, v in one["best_macro"].items() if k != "labels"} == pooled["best_macro"]


def test_pooled_constants_do_not_rank_items_by_the_prevalence_of_their_fold():
    positive, negative = np.ones((4, 2), dtype=bool), np.zeros((4, 2), dtype=bool)
    folds = [(negative, positive), (positive, negative)]  # the training items of a fold are tested in the other one
    scores = pooled_constant_scores(folds, VOCAB)
    assert scores["auroc"] == 0.5 and scores["map"] == 0.5
    assert scores["f1_macro"] == 0 and scores["brier"] == 1


def test_pixel_intervals_contain_the_pooled_scores_and_are_narrow_for_equal_patients():
    near = BoundaryCounts(10, 5, 10, 5)
    same = {p: (Counts(50, 25, 25, 900), near) for p in "abc"}
    assert pixel_intervals(same)["iou"] == [0.5, 0.5]
    assert pixel_intervals(same)["boundary_f1"] == [0.5, 0.5]
    different = {"a": (Counts(90, 5, 5, 900), near), "b": (Counts(10, 45, 45, 900), near)}
    assert pixel_intervals(different)["iou"] == [0.1, 0.9]  # two patients: either of them, or both
    assert pixel_intervals({"a": same["a"]}) is None


def test_pixel_intervals_weigh_a_patient_by_its_pixels():
    patients = {p: (Counts(90, 5, 5, 0), BoundaryCounts()) for p in "abcdefgh"}
    small = {**patients, "small": (Counts(0, 1, 1, 0), BoundaryCounts())}
    low, high = pixel_intervals(small)["iou"]
    assert high == pytest.approx(0.9) and low > 0.88
