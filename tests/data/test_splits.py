"""Splits by patient: random, as in the paper, by a column, folds, and splits.json."""

import json
import random

import pytest

from dedl_fastai.data import Cohort, apply_splits, save_splits, split_cohort
from dedl_fastai.data.splits import split_counts
from dedl_fastai.errors import UserError


def splits_by_patient(cohort):
    """Return {patient: set of its splits}."""
    return cohort.table.groupby("patient").split.agg(set).to_dict()


@pytest.mark.parametrize("seed", range(40))
def test_random_split_keeps_patients_together_and_fills_every_split(listed, seed):
    rng = random.Random(seed)
    cohort = listed({f"p{i}": rng.randint(1, 9) for i in range(rng.randint(3, 12))})
    result = split_cohort(cohort, seed=seed, valid=rng.uniform(0.05, 0.6), test=rng.uniform(0.05, 0.6))
    assert all(len(s) == 1 for s in splits_by_patient(result).values())
    assert set(result.table.split) == {"train", "valid", "test"}


def test_random_shares_are_met_where_patients_are_small(listed):
    result = split_cohort(listed({f"p{i:03}": 1 for i in range(100)}), valid=0.2, test=0.1)
    assert result.table.split.value_counts().to_dict() == {"train": 70, "valid": 20, "test": 10}


def test_random_split_depends_on_the_seed_alone(listed):
    sizes = {f"p{i}": 2 for i in range(20)}
    one, same, other = (split_cohort(listed(sizes), seed=s).table.split.tolist() for s in (1, 1, 2))
    assert one == same != other


def test_split_with_a_share_of_zero_stays_empty(listed):
    result = split_cohort(listed({"a": 1, "b": 1}), valid=0.5, test=0)
    assert sorted(result.table.split) == ["train", "valid"]


def test_splitting_does_not_change_the_given_cohort(listed):
    cohort = listed({"a": 1, "b": 1, "c": 1})
    split_cohort(cohort)
    assert set(cohort.table.split) == {""}


def test_too_few_patients_is_an_error_that_names_them(listed):
    with pytest.raises(UserError, match=r"2 patient\(s\) \(anna, bert\).*needs 3.*patient=field"):
        split_cohort(listed({"anna": 4, "bert": 9}))


def test_paper_split_of_the_seven_patients_is_that_of_the_paper(tiny_cohort):
    result = split_cohort(tiny_cohort, "paper")
    assert {s: v["patients"] for s, v in split_counts(result).items()} == {
        "train": ["Myo089", "Myo253", "Myo368"],
        "valid": ["Myo208", "Myo388"],
        "test": ["Myo231", "Myo511"],
    }


def test_paper_split_ignores_other_patients_and_the_case_of_names(listed):
    result = split_cohort(listed({"MYO089": 1, "myo388": 1, "Myo511": 1, "Myo600": 2}), "paper")
    assert splits_by_patient(result) == {
        "MYO089": {"train"},
        "myo388": {"valid"},
        "Myo511": {"test"},
        "Myo600": {"ignore"},
    }


def test_paper_split_of_another_cohort_is_an_error(listed):
    with pytest.raises(UserError, match=r"split=paper is for the patients (?i:Myo089).*split=random"):
        split_cohort(listed({"a": 3, "b": 3, "c": 3}), "paper")


def test_auto_uses_the_split_column_if_it_has_entries(listed):
    splits = ["train", "test", "valid", ""]
    result = split_cohort(listed({"a": 1, "b": 1, "c": 1, "d": 1}, splits))
    assert result.table.split.tolist() == ["train", "test", "valid", "ignore"]


def test_column_split_without_a_column_is_an_error(listed):
    with pytest.raises(UserError, match="has no split column"):
        split_cohort(listed({"a": 3}), "column")


def test_some_training_patients_validate_if_the_column_has_no_validation_fields(listed):
    cohort = listed({f"p{i}": 2 for i in range(5)}, ["train"] * 8 + ["test"] * 2)
    result = split_cohort(cohort, valid=0.4)
    assert result.table.split.value_counts().to_dict() == {"train": 4, "valid": 4, "test": 2}
    assert all(len(s) == 1 for s in splits_by_patient(result).values()) and splits_by_patient(result)["p4"] == {"test"}


def test_unknown_method_is_an_error(listed):
    with pytest.raises(UserError, match=r"'lucky' is unknown.*random"):
        split_cohort(listed({"a": 1, "b": 1, "c": 1}), "lucky")


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_each_patient_validates_in_exactly_one_fold_and_the_test_split_stays(listed, folds):
    cohort = split_cohort(listed({f"p{i:02}": 1 + i % 4 for i in range(12)}), seed=3)
    tested = set(cohort.part("test").table.patient)
    validated = []
    for fold in range(folds):
        result = split_cohort(cohort, folds=folds, fold=fold, seed=3)
        assert all(len(s) == 1 for s in splits_by_patient(result).values())
        assert set(result.part("test").table.patient) == tested
        assert len(result) == len(cohort) and not (result.table.split == "ignore").any()
        validated += sorted(set(result.part("valid").table.patient))
    assert sorted(validated) == sorted(set(cohort.table.patient) - tested)


def test_seed_decides_which_patients_share_a_fold(listed):
    cohort = listed({f"p{i:02}": 1 for i in range(20)})
    one, same, other = (
        set(split_cohort(cohort, test=0, folds=4, seed=s).part("valid").table.patient) for s in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("folds", [1, 6, -2])
def test_impossible_number_of_folds_is_an_error(listed, folds):
    with pytest.raises(UserError, match=f"folds={folds} is not possible: .*outside the test split, 4"):
        split_cohort(listed({f"p{i}": 1 for i in range(5)}), test=0.2, folds=folds)


@pytest.mark.parametrize("fold", [-1, 2, 9])
def test_fold_that_does_not_exist_is_an_error(listed, fold):
    with pytest.raises(UserError, match=f"fold={fold} .*0 to 1"):
        split_cohort(listed({f"p{i}": 1 for i in range(5)}), folds=2, fold=fold)


def test_patient_in_two_splits_is_an_error_that_names_the_patient(listed):
    cohort = listed({"a": 2, "bert": 2, "c": 1}, ["train", "train", "train", "test", "valid"])
    with pytest.raises(UserError, match="patient 'bert' has fields in test and train"):
        split_cohort(cohort)


def test_ignored_fields_of_a_patient_are_not_a_leak(listed):
    cohort = listed({"a": 2, "b": 1}, ["train", "ignore", "valid"])
    assert split_cohort(cohort).table.split.tolist() == ["train", "ignore", "valid"]


def test_split_without_training_fields_is_an_error(listed):
    with pytest.raises(UserError, match="no field is left for training"):
        split_cohort(listed({"a": 2, "b": 1}, ["valid", "valid", "test"]))


def test_splits_file_gives_the_same_split_again(listed, tmp_path):
    sizes = {f"p{i}": 2 for i in range(6)}
    result = split_cohort(listed(sizes), seed=11)
    save_splits(result, tmp_path / "splits.json")
    again = apply_splits(listed(sizes), tmp_path / "splits.json")
    assert again.table.equals(result.table)
    assert json.loads((tmp_path / "splits.json").read_text(encoding="utf-8"))["counts"] == split_counts(result)


def splits_file(folder, fields):
    """Write a splits.json of {field: split}."""
    file = folder / "splits.json"
    file.write_text(json.dumps({"fields": {f: {"split": s} for f, s in fields.items()}}), encoding="utf-8")
    return file


def test_field_of_a_splits_file_that_is_not_in_the_cohort_is_an_error(listed, tmp_path):
    file = splits_file(tmp_path, {"a_0": "train", "z_9": "valid"})
    with pytest.raises(UserError, match=r"splits.json names the field 'z_9'"):
        apply_splits(listed({"a": 1, "b": 1}), file)


def test_field_that_is_not_in_the_splits_file_is_left_out_with_a_warning(listed, tmp_path, caplog):
    result = apply_splits(listed({"a": 1, "b": 1}), splits_file(tmp_path, {"a_0": "train"}))
    assert result.table.split.tolist() == ["train", "ignore"]
    assert "1 fields are not in" in caplog.text and "b_0" in caplog.text


def test_splits_file_with_a_patient_in_two_splits_is_an_error(listed, tmp_path):
    with pytest.raises(UserError, match="patient 'a' has fields in train and valid"):
        apply_splits(listed({"a": 2}), splits_file(tmp_path, {"a_0": "train", "a_1": "valid"}))


@pytest.mark.parametrize("text", ["{", "[]", '{"a_0": "train"}', '{"fields": {"a_0": {"split": "training"}}}'])
def test_invalid_splits_file_is_an_error_that_names_it(listed, tmp_path, text):
    (tmp_path / "mine.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"mine\.json is not"):
        apply_splits(listed({"a": 1}), tmp_path / "mine.json")


def test_part_all_gives_every_field_that_is_not_ignored(listed):
    cohort: Cohort = listed({"a": 1, "b": 1, "c": 1}, ["train", "ignore", ""])
    assert list(cohort.part("all").table.field) == ["a_0", "c_0"]


def test_random_splits_have_about_their_share_of_the_fields(listed):
    counts = split_cohort(listed({f"p{i}": 4 for i in range(7)}), "random").table.split.value_counts()
    assert counts.to_dict() == {"train": 20, "valid": 4, "test": 4}
