"""Matching of nuclei: constructed cases, agreement with the assignment over all pairs, counts that add up."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dedl_fastai.errors import UserError
from dedl_fastai.scores.object_matches import IOUS, Matches, count_matches, match, pool_matches


def boxes(*spans, width=60):
    """Labels 1, 2, ... of boxes of height 4 that span the columns (start, end)."""
    labels = np.zeros((4, width), np.int32)
    for i, (a, b) in enumerate(spans, 1):
        labels[:, a:b] = i
    return labels


def test_identical_objects_match_perfectly_whatever_their_ids():
    truth = boxes((0, 10), (15, 25), (30, 40))
    scores = match(np.array([0, 900, 7, 31])[truth], truth)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (3, 0, 0)
    assert all(scores[k] == 1 for k in ("precision", "recall", "f1", "ap", "pq", "mean_matched_iou", "mean_true_score"))


def test_one_found_one_invented_two_missed():
    truth = boxes((0, 10), (20, 30), (40, 50))
    predicted = boxes((0, 8), (32, 38))  # IoU 0.8 with the first
    scores = match(predicted, truth)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (1, 1, 2)
    assert scores["precision"] == 1 / 2
    assert scores["recall"] == 1 / 3
    assert scores["f1"] == pytest.approx(2 / 5)
    assert scores["ap"] == 1 / 4
    assert scores["pq"] == pytest.approx(0.8 / (1 + 0.5 + 1))
    assert scores["mean_matched_iou"] == pytest.approx(0.8)
    assert scores["mean_true_score"] == pytest.approx(0.8 / 3)


@pytest.mark.parametrize(("iou", "tp"), [(0.5, 1), (0.8, 1), (0.81, 0)])
def test_an_iou_equal_to_the_threshold_counts_as_a_match(iou, tp):
    assert match(boxes((0, 8)), boxes((0, 10)), iou)["tp"] == tp


def test_merged_and_split_nuclei():
    one, two = boxes((0, 20)), boxes((0, 12), (12, 20))
    assert [match(one, two)[k] for k in ("tp", "fp", "fn")] == [1, 0, 1]  # 12 / 20
    assert [match(two, one)[k] for k in ("tp", "fp", "fn")] == [1, 1, 0]
    assert match(one, two, 0.7)["tp"] == 0


def test_at_half_only_one_of_two_candidates_is_matched():
    assert [match(boxes((0, 10), (10, 20)), boxes((0, 20)))[k] for k in ("tp", "fp", "fn")] == [1, 1, 0]


def test_below_half_as_many_objects_as_possible_are_matched():
    truth = boxes((0, 10), (10, 20))
    predicted = boxes((2, 12), (12, 22))  # 0.67 with the first; 0.09 crosswise; 0.67 with the second
    assert match(predicted, truth, 0.05)["tp"] == 2
    shifted = boxes((6, 16), (16, 30))  # the first overlaps the second more, but then the other would have no match
    assert match(shifted, truth, 0.2)["tp"] == 2


def dense_reference(predicted, truth, iou):
    p, t = [[m == i for i in np.unique(m)[1:]] for m in (predicted, truth)]
    ious = np.array([[(a & b).sum() / (a | b).sum() for b in t] for a in p])
    ok = ious >= iou
    i, j = linear_sum_assignment(-(ok + ious / (2 * min(ious.shape))))
    return int(ok[i, j].sum()), float(ious[i, j][ok[i, j]].sum())


@pytest.mark.parametrize("seed", range(6))
def test_matches_equal_the_assignment_over_all_pairs(seed):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, 9, (12, 12)), np.ones((4, 4), int))
    predicted = np.where(rng.random(truth.shape) < 0.35, rng.integers(0, 9, truth.shape), truth)
    for iou in (0.05, 0.3, 0.5, 0.7):
        matches = count_matches(predicted, truth, [iou])[iou]
        tp, iou_sum = dense_reference(predicted, truth, iou)
        assert matches.tp == tp
        if iou >= 0.5:  # below, scipy's reference also weighs pairs under the threshold
            assert matches.iou_sum == pytest.approx(iou_sum)


def test_empty_fields():
    empty, single = np.zeros((4, 60), int), boxes((0, 10))
    assert match(empty, empty)["ap"] == match(empty, empty)["pq"] == match(empty, empty)["f1"] == 1
    for scores in (match(empty, single), match(single, empty)):
        assert scores["ap"] == scores["f1"] == scores["pq"] == scores["precision"] == scores["recall"] == 0
        assert scores["mean_true_score"] == 0


def test_counts_of_fields_add_up_and_are_pooled_at_each_iou():
    truth = [boxes((0, 10), (20, 30)), boxes((5, 15))]
    predicted = [boxes((0, 9)), boxes((5, 15), (30, 35))]
    total = count_matches(predicted[0], truth[0])[0.5] + count_matches(predicted[1], truth[1])[0.5]
    assert total == Matches(2, 1, 1, pytest.approx(1.9))
    pooled = pool_matches(count_matches(p, t) for p, t in zip(predicted, truth, strict=True))
    assert list(pooled) == list(IOUS)
    assert pooled[0.5].scores() == pytest.approx(total.scores())
    assert (np.diff([matches.tp for matches in pooled.values()]) <= 0).all()
    assert [matches.tp for matches in count_matches(predicted[0], truth[0], (0.5, 0.95)).values()] == [1, 0]


def test_labels_of_different_shapes_are_refused():
    with pytest.raises(UserError, match=r"\(4, 60\)"):
        match(boxes((0, 5)), np.zeros((4, 61), int))


@pytest.mark.parametrize("iou", [0, 1.5])
def test_an_iou_outside_0_to_1_is_refused(iou):
    with pytest.raises(UserError, match="IoU"):
        match(boxes((0, 5)), boxes((0, 5)), iou)
