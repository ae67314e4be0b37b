"""Scores of cells' types from confusion matrices, and calibrated confidence."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score

from dedl_fastai.scores.cell_types import (
    confusion_matrix,
    kappa,
    overall_scores,
    patient_matrices,
    type_intervals,
    type_scores,
)
from dedl_fastai.scores.confidence import Calibration, confidence_error, decided, fit_calibration

TRUTH = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, -1, 2])


def test_the_last_column_counts_undecided_cells():
    assert confusion_matrix(TRUTH, PREDICTED, 3).tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]]


def test_scores_of_a_constructed_case():
    scores = type_scores(confusion_matrix(TRUTH, PREDICTED, 3), ["a", "b", "c"])
    assert scores["n"] == 6
    assert scores["accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    assert scores["accuracy_decided"] == pytest.approx(4 / 5)
    assert scores["undecided"] == pytest.approx(1 / 6, abs=1e-6)
    assert scores["per_class"]["b"] == {
        "n": 2,
        "found": 2,
        "f1": 0.5,
        "recall": 0.5,
        "precision": 0.5,
        "undecided": 1,
    }
    assert scores["f1_macro"] == pytest.approx((0.8 + 0.5 + 1) / 3)


def test_f1_is_that_of_scikit_learn_where_all_cells_are_decided():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (2, 200))
    expected = f1_score(truth, predicted, average="macro")
    assert overall_scores(confusion_matrix(truth, predicted, 4))["f1_macro"] == pytest.approx(expected, abs=1e-6)


def test_kappa_is_that_of_scikit_learn_with_undecided_cells_as_another_class():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 3, 200), rng.integers(-1, 3, 200)
    expected = cohen_kappa_score(truth, np.where(predicted < 0, 3, predicted))
    assert kappa(confusion_matrix(truth, predicted, 3)) == pytest.approx(expected)


def test_a_class_without_true_cells_is_not_in_the_mean():
    counts = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 1]), 3)
    assert overall_scores(counts)["f1_macro"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)


def test_matrices_of_patients_add_up_and_give_intervals():
    patients = ["p", "q", "p", "q", "p", "q"]
    matrices = patient_matrices(TRUTH, PREDICTED, patients, 3)
    assert (sum(matrices.values()) == confusion_matrix(TRUTH, PREDICTED, 3)).all()
    low, high = type_intervals(matrices)["accuracy"]
    assert 0 <= low <= 4 / 6 <= high <= 1
    assert type_intervals({"p": matrices["p"]}) is None


def test_undecided_is_below_the_confidence_or_not_a_number():
    p = np.array([[0.7, 0.3], [0.4, 0.6], [np.nan, np.nan]])
    assert decided(p).tolist() == [0, 1, -1]
    assert decided(p, 0.65).tolist() == [0, -1, -1]
    assert decided(p[:0]).tolist() == []


def test_calibration_makes_overconfident_probabilities_mean_what_they_say():
    rng = np.random.default_rng(1)
    honest = rng.dirichlet([0.5, 0.5, 0.5], 5000)
    truth = np.array([rng.choice(3, p=p) for p in honest])
    boasting = honest**3 / (honest**3).sum(axis=1, keepdims=True)
    calibration = fit_calibration(boasting, truth)
    assert calibration.temperature == pytest.approx(3, rel=0.25)
    assert confidence_error(calibration(boasting), truth) < 0.03 < confidence_error(boasting, truth)


def test_calibration_corrects_probabilities_from_balanced_training():
    rng = np.random.default_rng(2)
    truth = (rng.random(4000) < 0.1).astype(int)
    x = rng.normal(2.0 * truth, 1)
    odds = np.exp(2 * x - 2)  # those of equally frequent classes
    calibration = fit_calibration(np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1), truth)
    assert calibration.bias[0] - calibration.bias[1] == pytest.approx(np.log(9), abs=0.4)


def test_calibration_without_items_changes_nothing():
    p = np.array([[0.2, 0.8]])
    assert np.allclose(fit_calibration(p[:0], np.zeros(0, int))(p), p)
    assert np.allclose(Calibration()(p), p)
