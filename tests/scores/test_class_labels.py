"""Multi-label scores: agreement with scikit-learn, degenerate predictions, constants, thresholds and intervals."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from dedl_fastai.errors import UserError
from dedl_fastai.scores.calibration import calibration_bins, calibration_error
from dedl_fastai.scores.class_labels import best_constant, clf_scores, constant_probabilities, constant_scores
from dedl_fastai.scores.intervals import bootstrap_intervals
from dedl_fastai.scores.label_metrics import ranking_scores
from dedl_fastai.scores.thresholds import predicted_labels, tune_thresholds

PAPER = {"b": 187, "tfh": 91, "tfh217": 93, "th": 29, "other": 198}  # fields of 198


def names(k: int) -> list[str]:
    return [f"class{i}" for i in range(k)]


def random_case(seed: int, n: int = 60, k: int = 4, steps: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, k)) < rng.uniform(0.1, 0.9, k)
    p = np.clip(0.3 * truth + 0.7 * rng.random((n, k)), 0, 1)
    return (np.round(p * steps) / steps if steps else p), truth


def constant_truth():
    truth = random_case(5)[1]
    truth[:, 0], truth[:, 2] = True, False
    return truth


CASES = {
    **{f"random{i}": random_case(i) for i in range(3)},
    "ties": random_case(3, steps=5),
    "all-zeros": (np.zeros((60, 4)), random_case(4)[1]),
    "all-ones": (np.ones((60, 4)), random_case(4)[1]),
    "constant-classes": (random_case(5)[0], constant_truth()),
    "only-constant-classes": (random_case(6)[0], np.tile([True, False, True, False], (60, 1))),
    "single-class": random_case(7, k=1),
    "one-item": random_case(8, n=1),
    "one-item-one-class": random_case(9, n=1, k=1),
}
both = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def expected_overall(p, y, t) -> dict:
    guess = p >= t
    kinds = [k for k in range(y.shape[1]) if 0 < y[:, k].sum() < len(y)]
    # with an extra empty column: scikit-learn takes a single column for a binary problem; micro scores do not change
    wide = [np.hstack([m, np.zeros((len(m), 1), bool)]) for m in (y, guess)]
    scores = {"exact_match": (guess == y).all(axis=1).mean(), "brier": sk.mean_squared_error(y, p)}
    for name, score in (("f1", sk.f1_score), ("recall", sk.recall_score), ("precision", sk.precision_score)):
        scores[f"{name}_micro"] = score(*wide, average="micro", zero_division=0)
        scores[f"{name}_macro"] = score(*wide, average=None, zero_division=0)[:-1].mean()
    for name, score in (("map", sk.average_precision_score), ("auroc", sk.roc_auc_score)):
        scores[name] = np.mean([score(y[:, k], p[:, k]) for k in kinds]) if kinds else None
    return scores


@both
def test_overall_scores_equal_those_of_scikit_learn(case):
    p, y = case
    scores = clf_scores(p, y, 0.5, names(y.shape[1]))
    for name, value in expected_overall(p, y, 0.5).items():
        assert scores[name] == (None if value is None else pytest.approx(value, abs=1e-6)), name
    assert scores["n"] == len(y)


@both
def test_overall_scores_without_constant_classes_are_those_of_the_other_classes(case):
    p, y = case
    scores = clf_scores(p, y, 0.5, names(y.shape[1]))
    varying = y.any(axis=0) & ~y.all(axis=0)
    if not varying.any():
        assert scores["without_constant"] is None
        return
    fewer = clf_scores(p[:, varying], y[:, varying], 0.5, names(varying.sum()))
    assert scores["without_constant"] == {k: fewer[k] for k in scores["without_constant"]}


@both
def test_scores_of_each_class(case):
    p, y = case
    t = np.linspace(0.2, 0.8, y.shape[1])
    rows = clf_scores(p, y, t, names(y.shape[1]))["per_class"]
    assert list(rows) == names(y.shape[1])
    for k, row in enumerate(rows.values()):
        guess, true = p[:, k] >= t[k], y[:, k]
        assert (row["n"], row["threshold"]) == (true.sum(), t[k])
        assert row["prevalence"] == pytest.approx(true.mean(), abs=1e-6)
        assert row["f1"] == pytest.approx(sk.f1_score(true, guess, zero_division=0), abs=1e-6)
        assert row["recall"] == pytest.approx(sk.recall_score(true, guess, zero_division=0), abs=1e-6)
        assert row["precision"] == pytest.approx(sk.precision_score(true, guess, zero_division=0), abs=1e-6)
        if true.any() and not true.all():
            assert row["ap"] == pytest.approx(sk.average_precision_score(true, p[:, k]), abs=1e-6)
            assert row["auroc"] == pytest.approx(sk.roc_auc_score(true, p[:, k]), abs=1e-6)
        else:
            assert row["ap"] is row["auroc"] is None


@both
def test_scores_are_json_without_nan(case):
    p, y = case
    scores = clf_scores(p.astype(np.float32), y.astype(np.uint8), 0.5, names(y.shape[1]))
    for value in (scores, constant_scores(y, y, names(y.shape[1]))):
        assert json.loads(json.dumps(value, allow_nan=False)).keys() == value.keys()


def test_constant_classes_are_named():
    scores = clf_scores(*CASES["constant-classes"], 0.5, names(4))
    assert scores["constant_classes"] == {"always": ["class0"], "never": ["class2"]}


def test_f1_is_not_recall_where_there_are_false_positives():
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], bool)
    scores = clf_scores(np.ones((4, 2)), truth, 0.5, names(2))
    assert scores["recall_micro"] == scores["recall_macro"] == 1
    assert scores["f1_micro"] == pytest.approx(6 / 11, abs=1e-6)
    assert scores["f1_macro"] == pytest.approx((2 / 3 + 2 / 5) / 2, abs=1e-6)


def test_calibration_error_by_hand():
    p, y = np.array([[0.05], [0.05], [0.95], [1.0]]), np.array([[0], [1], [1], [1]], bool)
    assert calibration_bins(p, y)[0].tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert calibration_error(p, y) == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_true_probabilities_are_calibrated_and_overconfident_ones_are_not():
    rng = np.random.default_rng(0)
    p = rng.random((20000, 2))
    y = rng.random(p.shape) < p
    assert calibration_error(p, y) < 0.01
    assert calibration_error((p > 0.5).astype(float), y) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_tuned_thresholds_are_the_best_and_not_below_half_on_their_own_data(seed):
    p, y = random_case(seed, n=25, steps=(0, 4, 20)[seed % 3])
    tuned = tune_thresholds(p, y, standard_errors=0)
    for k in range(4):
        f1 = sk.f1_score(y[:, k], p[:, k] >= tuned[k], zero_division=0)
        others = [sk.f1_score(y[:, k], p[:, k] >= t, zero_division=0) for t in (*np.unique(p), 0.5, 2)]
        assert f1 >= max(others) - 1e-12


def test_tuned_threshold_is_in_the_middle_of_a_gap():
    p = np.array([0.1, 0.2, 0.6, 0.9])[:, None]
    assert tune_thresholds(p, np.array([0, 0, 1, 1], bool)[:, None], 0) == pytest.approx([0.4])


def test_the_threshold_stays_at_half_if_another_is_better_only_by_chance():
    rng = np.random.default_rng(0)
    y = rng.random((40, 1)) < 0.5
    p = np.clip(0.3 + 0.4 * y + rng.normal(0, 0.15, (40, 1)), 0, 1)
    assert tune_thresholds(p, y).tolist() == [0.5] and tune_thresholds(p, y, 0).tolist() != [0.5]


def test_a_threshold_that_is_clearly_better_is_taken():
    p = np.concatenate([np.linspace(0.0, 0.1, 50), np.linspace(0.2, 0.45, 50)])[:, None]
    y = np.repeat([False, True], 50)[:, None]
    assert tune_thresholds(p, y) == pytest.approx([0.15])


def test_threshold_stays_half_where_a_class_is_always_or_never_there():
    assert tune_thresholds(random_case(1, k=2)[0], np.tile([True, False], (60, 1))).tolist() == [0.5, 0.5]


def test_tuning_copes_with_neighbouring_floats_and_equal_probabilities():
    low = 0.5
    p = np.array([low, np.nextafter(low, 1)])[:, None]
    truth = np.array([0, 1], bool)[:, None]
    assert predicted_labels(p, tune_thresholds(p, truth, 0)).tolist() == truth.tolist()
    assert predicted_labels(np.zeros((2, 1)), tune_thresholds(np.zeros((2, 1)), truth)).all()


def test_labels_of_float32_probabilities_are_those_of_the_tuning():
    p = np.array([[0.7]], np.float32)
    assert not predicted_labels(p, 0.7)  # 0.7 as float32 is a little less
    assert predicted_labels(p, [float(p[0, 0])])


def paper_truth(n: int = 198) -> np.ndarray:
    truth = np.zeros((n, len(PAPER)), bool)
    for k, count in enumerate(PAPER.values()):
        truth[:count, k] = True
    return truth


def test_constants_on_the_prevalences_of_the_paper():
    truth, vocab = paper_truth(), list(PAPER)
    scores = constant_scores(truth, truth, vocab)
    assert [v for v, yes in zip(vocab, best_constant(truth), strict=True) if yes] == ["b", "tfh", "tfh217", "other"]
    best = scores["best_micro"]
    assert best["labels"] == ["b", "tfh", "tfh217", "other"]
    found = [round(best[k], 3) for k in ("f1_micro", "recall_micro", "f1_macro")]
    assert found == [0.819, 0.952, 0.648]
    every = scores["best_macro"]
    assert every["labels"] == vocab
    assert [round(every[k], 3) for k in ("f1_micro", "recall_micro", "f1_macro")] == [0.753, 1.0, 0.699]
    assert scores["labels"] == ["b", "other"] and round(scores["f1_micro"], 3) == 0.775
    assert scores["constant_classes"] == {"always": ["other"], "never": []}


@pytest.mark.parametrize("seed", range(5))
def test_best_constant_is_the_best_of_all_label_sets(seed):
    truth = random_case(seed, n=15, k=5)[1]
    sets = [[bool(i >> k & 1) for k in range(5)] for i in range(32)]
    f1 = [sk.f1_score(truth, np.tile(s, (15, 1)), average="micro", zero_division=0) for s in sets]
    chosen = np.tile(best_constant(truth), (15, 1))
    assert sk.f1_score(truth, chosen, average="micro", zero_division=0) == pytest.approx(max(f1))


def test_best_constant_without_positive_labels_is_the_empty_set():
    assert not best_constant(np.zeros((3, 2), bool)).any()


def test_constant_probabilities_are_the_prevalences():
    truth = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], bool)
    assert constant_probabilities(truth, 3).tolist() == [[0.5, 0.25]] * 3
    assert predicted_labels(constant_probabilities(truth, 1), 0.5).tolist() == [[True, False]]


def test_constants_are_chosen_on_the_training_split():
    train, test = np.array([[True, False]] * 4), np.array([[False, True]] * 3)
    scores = constant_scores(train, test, names(2))
    assert scores["labels"] == scores["best_micro"]["labels"] == scores["best_macro"]["labels"] == ["class0"]
    assert scores["f1_micro"] == scores["best_micro"]["f1_micro"] == 0


def test_item_weights_of_a_ranking_act_as_repetitions():
    p, y = random_case(2, k=1, steps=6)
    times = np.random.default_rng(0).integers(0, 4, len(p))
    ap, auroc = ranking_scores(p[:, 0], y[:, 0], times[None].astype(float))
    repeated = np.repeat(y[:, 0], times), np.repeat(p[:, 0], times)
    assert ap[0] == pytest.approx(sk.average_precision_score(*repeated))
    assert auroc[0] == pytest.approx(sk.roc_auc_score(*repeated))


def patients(n_items: int, n_patients: int) -> list[str]:
    return [f"p{i % n_patients}" for i in range(n_items)]


def test_intervals_contain_the_point_estimate_and_stay_within_0_and_1():
    p, y = random_case(1, n=120)
    scores = clf_scores(p, y, 0.5, names(4))
    intervals = bootstrap_intervals(p, y, patients(120, 12), 0.5)
    assert set(intervals) == {"f1_micro", "f1_macro", "map", "auroc", "exact_match", "brier"}
    for metric, (low, high) in intervals.items():
        assert 0 <= low < scores[metric] < high <= 1


def test_intervals_of_one_item_per_patient_equal_those_of_repeated_items():
    p, y = random_case(2, n=30)
    seed, n = 3, 50
    weights = np.random.default_rng(seed).multinomial(30, np.full(30, 1 / 30), size=n)
    f1 = [sk.f1_score(np.repeat(y, w, axis=0), np.repeat(p >= 0.5, w, axis=0), average="micro") for w in weights]
    got = bootstrap_intervals(p, y, [f"{i:02}" for i in range(30)], thresholds=0.5, n=n, seed=seed)["f1_micro"]
    assert got == pytest.approx(np.percentile(f1, [2.5, 97.5]), abs=1e-6)


def test_fewer_patients_give_wider_intervals():
    rng = np.random.default_rng(0)
    block = np.repeat(rng.random(40), 10)  # accuracy of the network on each block of related items
    y = rng.random((400, 3)) < 0.5
    p = np.where(rng.random(y.shape) < block[:, None], y, ~y) * 0.8 + 0.1
    few, many = ([f"p{i * n // 400:03}" for i in range(400)] for n in (5, 400))
    width = [np.diff(bootstrap_intervals(p, y, who, 0.5)["f1_macro"])[0] for who in (few, many)]
    assert width[0] > 1.3 * width[1]


def test_intervals_depend_only_on_the_seed(monkeypatch):
    p, y = random_case(1)
    who = patients(60, 6)
    first = bootstrap_intervals(p, y, who, thresholds=0.5, n=200, seed=1)
    assert first == bootstrap_intervals(p, y, who, thresholds=0.5, n=200, seed=1)
    assert first != bootstrap_intervals(p, y, who, thresholds=0.5, n=200, seed=2)
    monkeypatch.setattr("dedl_fastai.scores.intervals._BLOCK", 500)
    assert first == bootstrap_intervals(p, y, who, thresholds=0.5, n=200, seed=1)


def test_one_patient_has_no_interval():
    assert bootstrap_intervals(*random_case(1), ["p"] * 60, 0.5) is None


def test_ranking_intervals_are_none_if_all_classes_are_constant():
    intervals = bootstrap_intervals(*CASES["only-constant-classes"], patients(60, 6), 0.5)
    assert intervals["map"] is intervals["auroc"] is None
    assert intervals["f1_macro"] is not None


def test_a_class_missing_from_a_resample_does_not_lower_its_mean():
    truth = np.array([[1, 1], [1, 0], [1, 0], [1, 0]], bool)  # only the first patient has the second class
    intervals = bootstrap_intervals(truth.astype(float), truth, list("abcd"), 0.5)
    assert intervals["f1_macro"] == [1, 1]


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2), bool), "(items, classes)"),
        (np.zeros((0, 3)), np.zeros((0, 3), bool), "no item"),
        (np.full((2, 1), np.nan), np.zeros((2, 1), bool), "NaN"),
        (np.full((2, 1), 1.5), np.zeros((2, 1), bool), "outside"),
    ],
)
def test_invalid_input_is_refused(p, y, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        clf_scores(p, y, 0.5, names(p.shape[1]))
