"""Outer folds: every patient is tested once, others validate and train; balance, reproducibility, errors."""

import pandas as pd
import pytest

from dedl_fastai.data import outer_folds
from dedl_fastai.errors import UserError


def patients(cohort, split) -> set[str]:
    return set(cohort.part(split).table.patient)


@pytest.mark.parametrize("n", [2, 3, 6, "patients"])
@pytest.mark.parametrize("seed", range(5))
def test_each_patient_is_tested_once_and_never_trained_on_in_that_fold(listed, n, seed):
    cohort = listed({f"p{i}": 1 + i % 4 for i in range(6)})
    folds = outer_folds(cohort, n, seed)
    assert len(folds) == (6 if n == "patients" else n)
    for fold in folds:
        parts = [patients(fold, s) for s in ("train", "valid", "test")]
        assert all(parts) and len(set.union(*parts)) == sum(map(len, parts)) == 6
    assert sorted(p for fold in folds for p in patients(fold, "test")) == sorted(patients(cohort, "all"))


def test_folds_are_balanced_in_the_number_of_fields(listed):
    folds = outer_folds(listed({"a": 8, "b": 5, "c": 5, "d": 3, "e": 3}), 3)
    assert [len(fold.part("test")) for fold in folds] == [8, 8, 8]


def test_folds_are_balanced_in_the_classes(listed):
    cohort = listed({f"p{i}": 2 for i in range(8)})
    is_rare = cohort.table.patient.isin(["p0", "p1", "p2", "p3"]).to_numpy()
    classes = pd.DataFrame({"rare": is_rare, "common": True}, index=cohort.table.field)
    for fold in outer_folds(cohort, 4, classes=classes):
        assert len(patients(fold, "test") & {"p0", "p1", "p2", "p3"}) == 1


def test_the_validation_share_is_that_of_the_usual_split(listed):
    for fold in outer_folds(listed({f"p{i:02}": 1 for i in range(40)}), 4):
        assert {s: len(fold.part(s)) for s in ("train", "valid", "test")} == {"train": 24, "valid": 6, "test": 10}


def test_the_folds_depend_on_the_seed_alone(listed):
    sizes = {f"p{i}": 2 for i in range(9)}
    one, same, other = ([f.table.split.tolist() for f in outer_folds(listed(sizes), 3, s)] for s in (1, 1, 2))
    assert one == same != other


def test_ignored_and_unlabelled_fields_stay_out_and_other_splits_are_not_used(listed, caplog):
    cohort = listed({f"p{i}": 2 for i in range(4)}, ["train", "ignore", "test", "test", "", "", "valid", "valid"])
    classes = pd.DataFrame({"a": True}, index=cohort.table.field.drop(5))
    with caplog.at_level("WARNING"):
        folds = outer_folds(cohort, "patients", classes=classes)
    assert all(f.table.split[1] == f.table.split[5] == "ignore" for f in folds)
    assert [sum(f.table.split == "test") for f in folds] == [1, 2, 1, 2]
    assert "are not used" in caplog.text


@pytest.mark.parametrize("n", [1, 6, -2])
def test_an_impossible_number_of_folds_is_an_error(listed, n):
    with pytest.raises(UserError, match=f"test_folds={n} is not possible: .*number of patients, 5"):
        outer_folds(listed({f"p{i}": 1 for i in range(5)}), n)


def test_too_few_patients_are_an_error_that_says_what_is_needed(listed):
    with pytest.raises(UserError, match=r"1 patient\(s\) \(anna\): test_folds=patients needs 3"):
        outer_folds(listed({"anna": 9}), "patients")
    with pytest.raises(UserError, match=r"2 patient\(s\).*needs 3"):
        outer_folds(listed({"anna": 9, "bert": 1}), 2)
    with pytest.raises(UserError, match="test_folds=2 leaves one of the 3 patients"):
        outer_folds(listed({"anna": 2, "bert": 2, "carl": 2}), 2)
