"""Test folds: every patient is tested once; pooled scores, resuming, evaluation again, and refused options."""

import json
import shutil

import numpy as np
import pytest

from dedl_fastai.data import Cohort, demo_cohort, labels_for
from dedl_fastai.errors import UserError
from dedl_fastai.inference import load_run
from dedl_fastai.io import read_mask
from dedl_fastai.runs import ClfConfig, SegConfig, evaluate_run, train_test_folds
from dedl_fastai.runs.cohort import load_clf_cohort, load_split_cohort
from dedl_fastai.scores import Counts

from ..options import NETWORK, PLAIN, TINY_CLF
from .segmentation.test_training import Killed, kill_after_batches

SEG = {"preset": "demo", "tile": 32, "bs": 8, "epochs": 1, "lr_min": 1e-4, **NETWORK, **PLAIN}


def seg_options(folder, **changes) -> SegConfig:
    return SegConfig.resolve({**SEG, "data": str(folder), "test_folds": "3", **changes})


def clf_options(folder, **changes) -> ClfConfig:
    return ClfConfig.resolve({**TINY_CLF, "epochs": 1, "swa": 1.0, "data": str(folder), "test_folds": "2", **changes})


@pytest.fixture(scope="module")
def seg_parent(tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("seg") / "folds"
    train_test_folds(seg_options(tiny_folder), out)
    return out


@pytest.fixture(scope="module")
def clf_parent(few_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("clf") / "folds"
    train_test_folds(clf_options(few_folder, seeds="1,2"), out)
    return out


def read(folder, name="metrics"):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.mark.parametrize(("parent", "n"), [("seg_parent", 7), ("clf_parent", 5)])
def test_each_patient_is_tested_once_and_by_runs_that_did_not_see_it(parent, n, request):
    folder = request.getfixturevalue(parent)
    metrics = read(folder)
    tested = [p for fold in metrics["folds"].values() for p in fold["patients"]]
    assert len(tested) == len(set(tested)) == n and metrics["per_patient"].keys() == set(tested)
    for fold in metrics["folds"].values():
        for member in fold["members"]:
            counts = read(folder / member, "splits")["counts"]
            assert counts["test"]["patients"] == fold["patients"]
            seen = counts["train"]["patients"] + counts["valid"]["patients"]
            assert counts["train"]["fields"] and counts["valid"]["fields"] and not set(seen) & set(fold["patients"])
    assert metrics["members"] == [m for fold in metrics["folds"].values() for m in fold["members"]]


def test_pixels_are_pooled_over_all_fields_at_the_threshold_of_their_fold(seg_parent, tiny_cohort):
    metrics, pooled = read(seg_parent), Counts()
    for fold in metrics["folds"].values():
        segmenter = load_run(seg_parent / fold["members"][0], device="cpu")
        assert fold["threshold"] == segmenter.threshold
        for row in tiny_cohort.where(tiny_cohort.table.patient.isin(fold["patients"])).rows():
            pooled += Counts.of(segmenter.mask(row.image), read_mask(row.mask))
    assert metrics["test"]["iou"] == pytest.approx(pooled.iou, abs=1e-4)
    assert metrics["test"]["n_fields"] == len(tiny_cohort)
    low, high = metrics["test"]["intervals"]["iou"]
    assert low <= metrics["test"]["iou"] <= high and low < high


def test_a_fold_has_the_test_scores_of_its_run_and_baselines_are_pooled(seg_parent):
    metrics = read(seg_parent)
    assert list(metrics["folds"]) == ["test0", "test1", "test2"]
    runs = {name: read(seg_parent / name) for name in metrics["folds"]}
    for name, run in runs.items():
        assert metrics["folds"][name]["iou"] == run["test"]["iou"]
    for patient, row in metrics["per_patient"].items():
        assert row["iou"] == runs[row["fold"]]["per_patient"][patient]["iou"]
    otsu = [run["baselines"]["otsu"]["test"] for run in runs.values()]
    expected = np.average([o["pixel_accuracy"] for o in otsu], weights=[o["n_fields"] for o in otsu])
    assert metrics["baselines"]["otsu"]["test"]["pixel_accuracy"] == pytest.approx(expected, abs=1e-5)
    assert metrics["objects"]["test"]["n_without_ids"] == 7


def test_decisions_are_pooled_from_the_mean_over_seeds_at_the_thresholds_of_the_fold(clf_parent, few_folder):
    metrics = read(clf_parent)
    assert metrics["members"] == ["test0-seed1", "test0-seed2", "test1-seed1", "test1-seed2"]
    cohort = Cohort.load(few_folder)
    decided, truths, squares = [], [], []
    for fold in metrics["folds"].values():
        models = [load_run(clf_parent / m, device="cpu") for m in fold["members"]]
        tested = cohort.where(cohort.table.patient.isin(fold["patients"]))
        p = np.mean([[list(m.probability(i).values()) for i in tested.table.image] for m in models], axis=0)
        thresholds = np.mean([m.thresholds for m in models], axis=0)
        truth = labels_for(cohort, models[0].facts).matrix.loc[tested.table.field].to_numpy()
        assert thresholds.tolist() == fold["thresholds"]
        decided.append(p >= thresholds)
        truths.append(truth)
        squares.append((p - truth) ** 2)
    decided, truth = np.concatenate(decided), np.concatenate(truths)
    f1 = 2 * (decided & truth).sum() / (decided.sum() + truth.sum())
    assert metrics["test"]["f1_micro"] == pytest.approx(f1, abs=1e-6)
    assert metrics["test"]["brier"] == pytest.approx(np.concatenate(squares).mean(), abs=1e-5)
    assert metrics["test"]["n"] == 10
    low, high = metrics["test"]["intervals"]["f1_micro"]
    assert low <= metrics["test"]["f1_micro"] <= high


def test_classification_baselines_are_pooled_out_of_fold_too(clf_parent):
    metrics = read(clf_parent)
    runs = [read(clf_parent / f"test{i}-seed1") for i in (0, 1)]
    for name in ("constant", "forest"):
        folds = [run["baselines"][name]["test"] for run in runs]
        expected = np.average([f["brier"] for f in folds], weights=[f["n"] for f in folds])
        assert metrics["baselines"][name]["test"]["brier"] == pytest.approx(expected, abs=1e-5)
    assert metrics["baselines"]["constant"]["auroc"] == 0.5
    assert metrics["baselines"]["forest"]["intervals"]["f1_macro"]


def test_leaving_each_patient_out_in_turn(tiny_folder, tmp_path):
    cohorts = [load_split_cohort(seg_options(tiny_folder, test_folds="patients"), i) for i in range(7)]
    assert [set(c.part("test").table.patient) for c in cohorts] == [{p} for p in sorted(set(cohorts[0].table.patient))]


def test_fields_are_limited_before_they_are_distributed_to_folds(few_folder):
    cohorts = [load_clf_cohort(clf_options(few_folder, limit_fields=6), i) for i in range(2)]
    assert all(len(c) == 6 for c in cohorts)
    assert sorted([*cohorts[0].part("test").table.field, *cohorts[1].part("test").table.field]) == sorted(
        cohorts[0].table.field
    )


@pytest.mark.parametrize("parent", ["seg_parent", "clf_parent"])
def test_evaluate_gives_exactly_the_same_metrics(parent, request):
    folder = request.getfixturevalue(parent)
    assert json.loads(json.dumps(evaluate_run(folder))) == read(folder)


def test_evaluate_refuses_what_is_not_out_of_fold(seg_parent, tiny_folder, tmp_path):
    for changes in ({"data": tiny_folder}, {"split": "valid"}, {"channel": "blue"}):
        with pytest.raises(UserError, match="has test folds"):
            evaluate_run(seg_parent, **changes)
    (tmp_path / "config.json").write_bytes((seg_parent / "config.json").read_bytes())
    with pytest.raises(UserError, match="is not complete"):
        evaluate_run(tmp_path)


def test_killed_and_restarted_gives_the_same_numbers_without_repeating_a_finished_run(
    tiny_folder, seg_parent, tmp_path, monkeypatch
):
    shutil.copytree(seg_parent, tmp_path / "killed", ignore=shutil.ignore_patterns("test1"))
    (tmp_path / "killed" / "metrics.json").unlink()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 3)  # inside the second run
        train_test_folds(seg_options(tiny_folder), tmp_path / "killed")
    first = tmp_path / "killed" / "test0"
    assert (first / "metrics.json").exists() and not (tmp_path / "killed" / "metrics.json").exists()
    before = (first / "best.safetensors").stat().st_mtime_ns
    assert train_test_folds(seg_options(tiny_folder), tmp_path / "killed") == read(seg_parent)
    assert (first / "best.safetensors").stat().st_mtime_ns == before
    assert train_test_folds(seg_options(tiny_folder), tmp_path / "killed") == read(tmp_path / "killed")
    with pytest.raises(UserError, match="was started with test_folds = '3', not '4'"):
        train_test_folds(seg_options(tiny_folder, test_folds="4"), tmp_path / "killed")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"test_folds": "1"}, "test_folds=1: give a number of folds from 2 on, or patients"),
        ({"test_folds": "some"}, "test_folds=some: give"),
        ({"folds": 2}, "test_folds=3 tests every patient once, which `folds` would change"),
        ({"splits": "splits.json"}, "which `splits` would change"),
        ({"split": "paper"}, "which `split` would change"),
        ({"split": "column"}, "which `split` would change"),
        ({"test_folds": "8"}, "test_folds=8 is not possible: .*number of patients, 7"),
        ({"limit_fields": 2}, r"2 patient\(s\) .*test_folds=3 needs 3"),
    ],
)
def test_impossible_test_folds_leave_no_files(tiny_folder, tmp_path, changes, says):
    for options in (seg_options, clf_options):
        with pytest.raises(UserError, match=says):
            train_test_folds(options(tiny_folder, **{"test_folds": "3", **changes}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tiles_that_are_split_by_place_have_no_test_folds(tmp_path):
    demo_cohort(tmp_path / "one", fields=1, patients=1, size=(64, 64))
    with pytest.raises(UserError, match=r"does not apply to .*split by place"):
        train_test_folds(clf_options(tmp_path / "one", tile=16), tmp_path / "run")
