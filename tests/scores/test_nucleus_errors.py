"""Found, missed, split, merged and false nuclei of constructed fields."""

import numpy as np

from dedl_fastai.scores.nucleus_errors import nucleus_errors


def strip(*runs: tuple[int, int]) -> np.ndarray:
    """One row of labels from (id, length) pairs."""
    return np.concatenate([np.full(n, i) for i, n in runs])[None]


def test_every_kind_once():
    truth = strip((0, 2), (1, 10), (0, 2), (2, 12), (0, 2), (3, 5), (4, 5), (0, 2), (5, 8), (0, 10))
    found = strip((0, 2), (1, 9), (0, 3), (2, 4), (3, 4), (4, 4), (0, 2), (5, 10), (0, 14), (6, 5), (0, 1))
    errors = nucleus_errors(found, truth, iou=0.6)
    assert errors.true == {1: "found", 2: "split", 3: "merged", 4: "merged", 5: "missed"}
    assert errors.predicted == {1: "found", 2: "split", 3: "split", 4: "split", 5: "merged", 6: "false"}


def test_a_split_nucleus_and_its_parts():
    errors = nucleus_errors(strip((1, 4), (2, 4), (3, 4)), strip((1, 12)))
    assert errors.true == {1: "split"} and set(errors.predicted.values()) == {"split"}
    assert errors.counts() == {"found": 0, "missed": 0, "split": 1, "merged": 0, "false": 0}


def test_merged_nuclei_and_what_holds_them():
    errors = nucleus_errors(strip((7, 12)), strip((1, 4), (2, 4), (3, 4)))
    assert errors.true == {1: "merged", 2: "merged", 3: "merged"} and errors.predicted == {7: "merged"}
    assert errors.counts()["merged"] == 3 and errors.counts()["false"] == 0


def test_a_large_nucleus_that_swallowed_a_small_one_is_found_and_the_small_one_merged():
    errors = nucleus_errors(strip((1, 12)), strip((1, 9), (2, 3)))
    assert errors.true == {1: "found", 2: "merged"} and errors.predicted == {1: "found"}


def test_an_empty_prediction_misses_and_an_empty_truth_makes_false():
    labels, nothing = strip((1, 3), (0, 1), (2, 3)), strip((0, 7))
    assert nucleus_errors(nothing, labels).counts()["missed"] == 2
    assert nucleus_errors(labels, nothing).counts()["false"] == 2
    assert nucleus_errors(labels, labels).counts() == {"found": 2, "missed": 0, "split": 0, "merged": 0, "false": 0}
