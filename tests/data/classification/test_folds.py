"""Folds for classification: patients in one split only, balanced classes, and the paper's split by image."""

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.data import Cohort, clf_folds, demo_cohort, field_labels, paper_clf_split
from dedl_fastai.errors import UserError


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Labels of 21 synthetic fields of 7 patients."""
    folder = tmp_path_factory.mktemp("folds") / "cohort"
    return field_labels(demo_cohort(folder, fields=21, patients=7, size=(64, 64), seed=3))


def given(tmp_path, labels, patients, split=""):
    """Return the given labels of a cohort without files."""
    table = pd.DataFrame({"labels": labels, "patient": patients}).assign(image="i", mask="", split=split)
    table.insert(0, "field", [f"f{i:03d}" for i in range(len(table))])
    return field_labels(Cohort(table, tmp_path, "manifest"))


def test_six_folds_of_the_demo_cohort_share_no_patient_and_cover_all_fields(demo):
    cohort = demo.cohort
    folds = clf_folds(cohort, demo, 6, seed=26)
    assert len(folds) == 6 and all(len(f) == len(cohort) for f in folds)
    for splits in folds:
        n_splits = cohort.with_split(splits).table.groupby("patient").split.nunique()
        assert n_splits.max() == 1 and set(splits) == {"train", "valid"}
    times_valid = np.sum([np.array(f) == "valid" for f in folds], axis=0)
    assert (times_valid == 1).all()


def test_folds_are_the_same_for_one_seed_in_any_order_of_the_fields(demo):
    folds = clf_folds(demo.cohort, demo, 4, seed=1)
    assert folds == clf_folds(demo.cohort, demo, 4, seed=1)
    order = np.random.default_rng(0).permutation(len(demo.cohort))
    mixed = Cohort(demo.cohort.table.iloc[order].reset_index(drop=True), demo.cohort.root, demo.cohort.layout)
    assert [[f[i] for i in order] for f in folds] == clf_folds(mixed, demo, 4, seed=1)


def test_rare_classes_and_sizes_are_as_balanced_as_patients_allow(tmp_path):
    names = [("rare;" if p < 6 else "") + ("often;" if i % 2 else "") + "other" for p in range(24) for i in range(4)]
    labels = given(tmp_path, names, [f"p{p:02d}" for p in range(24) for _ in range(4)])
    for splits in clf_folds(labels.cohort, labels, 6, seed=0):
        held = labels.matrix[np.array(splits) == "valid"]
        assert len(held) == 16 and held["rare"].sum() == 4 and held["often"].sum() == 8


def test_no_fold_is_empty_if_one_patient_has_most_fields(tmp_path):
    labels = given(tmp_path, ["a"] * 20 + ["b"] * 3, ["big"] * 20 + ["x", "y", "z"])
    folds = clf_folds(labels.cohort, labels, 4)
    assert sorted(f.count("valid") for f in folds) == [1, 1, 1, 20]


def test_test_fields_and_ignored_fields_keep_their_split(tmp_path):
    splits = ["test", "test", "ignore"] + ["train", "valid", ""] * 3
    labels = given(tmp_path, ["a", "b"] * 6, [f"p{i}" for i in range(12)], splits)
    for fold in clf_folds(labels.cohort, labels, 3):
        assert fold[:3] == splits[:3] and set(fold[3:]) == {"train", "valid"} and fold.count("valid") == 3


def test_impossible_folds_are_errors(demo, tmp_path):
    for n in (1, 8):
        with pytest.raises(UserError, match=f"folds={n} is not possible: .*outside the test split, 7"):
            clf_folds(demo.cohort, demo, n)
    no_pool = given(tmp_path, ["a"], ["p"])
    with pytest.raises(UserError, match="outside the test split, 0"):
        clf_folds(demo.cohort, no_pool, 2)


def test_fields_without_labels_are_ignored(tmp_path):
    labels = given(tmp_path, ["a", "b", "a"], ["p", "q", "r"])
    table = pd.concat([labels.cohort.table, labels.cohort.table.iloc[:1].assign(field="new")], ignore_index=True)
    folds = clf_folds(Cohort(table, tmp_path, "manifest"), labels, 3)
    assert all(f[3] == "ignore" and sorted(f[:3]) == ["train", "train", "valid"] for f in folds)


def test_the_papers_split_is_by_image_and_logs_the_leak(demo, caplog):
    parts = [paper_clf_split(demo.cohort, 6, k, seed=5) for k in range(6)]
    assert "leak" in caplog.text and "7 patients" in caplog.text
    tests = [set(p.table.field[p.table.split == "test"]) for p in parts]
    assert all(t == tests[0] for t in tests) and len(tests[0]) == 5  # a fifth of 21, rounded up
    valid = [f for p in parts for f in p.table.field[p.table.split == "valid"]]
    assert len(valid) == len(set(valid)) == 16 and not set(valid) & tests[0]
    assert paper_clf_split(demo.cohort, 6, 0, seed=5).table.equals(parts[0].table)


def test_the_papers_split_logs_nothing_if_each_field_is_a_patient(tmp_path, caplog):
    labels = given(tmp_path, ["a"] * 20, [f"p{i}" for i in range(20)])
    assert paper_clf_split(labels.cohort, 4).table.split.value_counts().to_dict() == {
        "train": 12,
        "test": 4,
        "valid": 4,
    }
    assert caplog.text == ""
    with pytest.raises(UserError, match="fold=4 does not exist"):
        paper_clf_split(labels.cohort, 4, 4)
    with pytest.raises(UserError, match="folds=17 is not possible with 20 fields"):
        paper_clf_split(labels.cohort, 17)
