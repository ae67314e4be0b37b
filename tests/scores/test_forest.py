"""The forest baseline: its features, and that it beats a constant where intensity separates the classes."""

import numpy as np
import pytest

from dedl_fastai.scores.class_labels import clf_scores, constant_scores
from dedl_fastai.scores.forest import HISTOGRAM, PERCENTILES, forest_probabilities, picture_statistics

A_CHANNEL = 2 + len(PERCENTILES) + HISTOGRAM + 2 + 2


def picture(channels: int = 3, size=(40, 50), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((channels, *size), dtype=np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(40, 50), (1, 9), (9, 1), (1, 1)])
def test_number_of_features_and_no_nan(channels, size):
    features = picture_statistics(picture(channels, size))
    assert features.shape == (channels * A_CHANNEL + channels * (channels - 1) // 2,)
    assert features.dtype == np.float32 and np.isfinite(features).all()


def test_first_features_are_mean_deviation_and_percentiles():
    plane = picture(1)
    got = picture_statistics(plane)[: 2 + len(PERCENTILES)]
    assert got == pytest.approx([plane.mean(), plane.std(), *np.percentile(plane, PERCENTILES)], abs=1e-5)


def test_constant_picture():
    features = picture_statistics(np.full((2, 8, 8), 0.3, np.float32))
    assert np.isfinite(features).all() and features[-1] == 0


def test_correlation_of_channels():
    plane = picture(1)[0]
    assert picture_statistics(np.stack([plane, plane]))[-1] == pytest.approx(1, abs=1e-5)
    assert picture_statistics(np.stack([plane, 1 - plane]))[-1] == pytest.approx(-1, abs=1e-5)


def test_spots_are_counted():
    plane = np.zeros((1, 100, 100), np.float32)
    plane[0, 10::20, 10::20] = 1
    spots = picture_statistics(plane)[A_CHANNEL - 2 : A_CHANNEL]
    assert spots[0] == pytest.approx(1000 * 25 / 10000)


def test_uint8_pictures_are_divided_by_255():
    whole = (255 * picture()).astype(np.uint8)
    assert np.allclose(picture_statistics(whole), picture_statistics(whole / np.float32(255)), atol=1e-5)


def toy(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures with a bright first channel where class 1 is present, and spots in the second where class 2 is."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 2)) < 0.4
    pictures = 0.2 * rng.random((n, 2, 24, 24), dtype=np.float32)
    pictures[:, 0] += 0.2 * truth[:, 0, None, None]
    pictures[:, 1, 4::8, 4::8] += 0.8 * truth[:, 1, None, None]
    return np.stack([picture_statistics(p) for p in pictures]), truth


def test_forest_beats_the_constant_where_the_classes_differ():
    train, train_truth = toy(60, 0)
    features, truth = toy(40, 1)
    p = forest_probabilities(train, train_truth, features, trees=50)
    forest = clf_scores(p, truth, 0.5, ["bright", "spots"])
    constant = constant_scores(train_truth, truth, ["bright", "spots"])
    assert forest["f1_macro"] > 0.95 > constant["best_macro"]["f1_macro"]
    assert forest["map"] > 0.95 > constant["map"]


def test_forest_depends_only_on_the_seed():
    train, train_truth = toy(20, 0)
    first, again, other = (forest_probabilities(train, train_truth, train, seed=seed, trees=10) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_class_that_is_constant_in_training_gets_that_constant():
    train, truth = toy(30, 0)
    wide = np.column_stack([np.ones(30, bool), truth[:, 0], np.zeros(30, bool)])
    p = forest_probabilities(train, wide, train, trees=10)
    assert p.shape == (30, 3) and (p[:, 0] == 1).all() and (p[:, 2] == 0).all()
    assert 0 <= p[:, 1].min() < 0.5 < p[:, 1].max() <= 1


def test_only_constant_classes_need_no_forest():
    p = forest_probabilities(np.zeros((3, 2)), np.array([[1, 0]] * 3, bool), np.zeros((4, 2)))
    assert p.tolist() == [[1, 0]] * 4
