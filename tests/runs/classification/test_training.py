"""Classification runs, from options to run folder: files, exact resuming, members and their ensemble."""

import csv
import json
import shutil

import numpy as np
import pytest

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.inference import Classifier, load_run
from dedl_fastai.runs.classification.training import train_clf
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.members import train_members
from dedl_fastai.runs.options.clf import ClfConfig

from ...figures import drawn_figures
from ...options import TINY_CLF
from ..segmentation.test_training import Killed, kill_after_batches, same, weights

SOON = {"schedule": "one-cycle", "patience": 1, "epochs": 5, "swa_lr": 1e-2}  # patience may end before the averaging

MEMBERS = {"folds": 2, "seeds": "1,2", "epochs": 2, "swa_start": 1.0}


def options(folder, **changes) -> ClfConfig:
    return ClfConfig.resolve({**TINY_CLF, "data": str(folder), **changes})


@pytest.fixture(scope="module")
def finished(many_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("clf") / "finished"
    with drawn_figures():
        train_clf(options(many_folder), run)
    return run


def test_the_run_folder_has_the_documented_files(finished):
    assert {p.name for p in finished.iterdir()} == {
        *("config.json", "splits.json", "manifest.json", "model.json", "metrics.json", "history.csv", "README.md"),
        *("best.safetensors", "last.safetensors", "swa.safetensors", "figures", "labels"),
    }
    figures = {p.stem: p.stat().st_size for p in (finished / "figures").iterdir()}
    assert figures.keys() == {"curves", "precision_recall", "calibration", "label_sets", "examples"}
    assert min(figures.values()) > 5000


def test_metrics_have_splits_baselines_classes_weights_and_intervals(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["task"] == "classification" and len(metrics["thresholds"]) == len(metrics["classes"])
    for split in ("valid", "test"):
        assert {"f1_micro", "f1_macro", "map", "auroc", "per_class", "brier", "ece"} <= metrics[split].keys()
        assert metrics[split]["at_0.5"]["f1_macro"] >= 0
        assert {"constant", "forest"} == metrics["baselines"].keys()
        assert metrics["baselines"]["forest"][split]["f1_micro"] > 0
    assert metrics["weights"].keys() == {"best", "last", "swa"}
    assert metrics["valid"]["f1_macro"] >= metrics["valid"]["at_0.5"]["f1_macro"]
    low, high = metrics["test"]["intervals"]["f1_micro"]
    assert low <= metrics["test"]["f1_micro"] <= high


def test_each_patient_is_in_one_split(finished):
    fields = json.loads((finished / "splits.json").read_text())["fields"].values()
    splits = {}
    for f in fields:
        splits.setdefault(f["patient"], set()).add(f["split"])
    assert all(len(s) == 1 for s in splits.values())


def test_evaluate_gives_exactly_the_same_metrics(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    again = evaluate_run(finished)
    assert again["test"] == metrics["test"]


def test_a_finished_run_accepts_only_its_own_options(many_folder, finished):
    assert train_clf(options(many_folder), finished) == json.loads((finished / "metrics.json").read_text())
    with pytest.raises(UserError, match="was started with epochs = "):
        train_clf(options(many_folder, epochs=9), finished)


def test_load_run_predicts_a_file(finished, many_folder):
    model = load_run(finished, device="cpu")
    assert isinstance(model, Classifier)
    image = Cohort.load(many_folder).table.image[0]
    found = model.probability(image)
    assert list(found) == model.classes and all(0 <= p <= 1 for p in found.values())
    expected = [c for c, t in zip(model.classes, model.thresholds, strict=True) if found[c] >= t]
    assert model.labels(image) == expected


@pytest.mark.parametrize(
    "changes",
    [{}, {"input": "markers", "accumulate": 2, "clip": 1.0, "swa_start": 0.5}, {**SOON, "body_lr": 0.1}],
    ids=["defaults", "markers", "patience"],
)
def test_resumed_equals_uninterrupted(many_folder, tmp_path, monkeypatch, changes, finished):
    settings, whole = options(many_folder, **changes), tmp_path / "whole" if changes else finished
    if changes:
        train_clf(settings, whole)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 8)
        train_clf(settings, tmp_path / "killed")
    assert (tmp_path / "killed" / "resume.pt").exists()
    train_clf(settings, tmp_path / "killed")
    for which in ("best", "last", "swa"):
        assert same(weights(whole, which), weights(tmp_path / "killed", which))
    assert (whole / "metrics.json").read_bytes() == (tmp_path / "killed" / "metrics.json").read_bytes()


def test_a_run_of_an_earlier_version_keeps_its_share(many_folder, finished, tmp_path):
    config = {k: v for k, v in json.loads((finished / "config.json").read_text()).items() if not k.startswith("swa")}
    assert ClfConfig.from_dict({**config, "swa": 0.5}) == options(many_folder, swa_start=0.5)
    with pytest.raises(UserError, match="`swa` is the earlier name of `swa_start`"):
        ClfConfig.resolve({"swa": 0.5, "swa_start": 0.6})


@pytest.mark.parametrize(("wrong", "says"), [({"swa_start": -0.5}, "swa_start"), ({"swa_lr": -1e-3}, "swa_lr")])
def test_impossible_averaging_is_refused(wrong, says):
    with pytest.raises(UserError, match=says):
        ClfConfig.resolve(wrong)


@pytest.fixture(scope="module")
def members(many_folder, tmp_path_factory):
    """The folder of two folds with two seeds each, and its metrics."""
    folder = tmp_path_factory.mktemp("members") / "whole"
    return folder, train_members(options(many_folder, **MEMBERS), folder)


def test_members_killed_and_restarted_give_the_same_numbers(many_folder, tmp_path, monkeypatch, members):
    settings, (folder, whole) = options(many_folder, **MEMBERS), members
    shutil.copytree(folder, tmp_path / "killed", ignore=shutil.ignore_patterns("fold0-seed2"))
    (tmp_path / "killed" / "metrics.json").unlink()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 2)  # inside the second member
        train_members(settings, tmp_path / "killed")
    assert not (tmp_path / "killed" / "metrics.json").exists()
    first = (tmp_path / "killed" / "fold0-seed1" / "best.safetensors").stat().st_mtime_ns
    assert train_members(settings, tmp_path / "killed") == whole
    assert (tmp_path / "killed" / "fold0-seed1" / "best.safetensors").stat().st_mtime_ns == first
    assert whole["members"] == ["fold0-seed1", "fold0-seed2", "fold1-seed1", "fold1-seed2"]
    assert whole["test"]["f1_macro"]["mean"] == pytest.approx(np.mean(whole["test"]["f1_macro"]["values"]), abs=1e-6)
    assert {"f1_macro", "per_class"} <= whole["ensemble"]["test"].keys()


def test_members_of_a_fold_share_its_split_and_folds_share_no_validation_patient(members):
    folder, _ = members
    counts = {
        m: json.loads((folder / m / "splits.json").read_text())["counts"]
        for m in ("fold0-seed1", "fold0-seed2", "fold1-seed1")
    }
    assert counts["fold0-seed1"] == counts["fold0-seed2"]
    assert counts["fold0-seed1"]["test"] == counts["fold1-seed1"]["test"]
    valid = [set(counts[m]["valid"]["patients"]) for m in ("fold0-seed1", "fold1-seed1")]
    assert not valid[0] & valid[1]


def test_paper_split_is_by_image_and_says_that_it_leaks(many_folder, tmp_path, caplog):
    with caplog.at_level("WARNING", logger="dedl_fastai"):
        train_clf(options(many_folder, split="paper", epochs=1), tmp_path / "run")
    assert "leak" in caplog.text


def test_history_has_the_metrics(finished):
    with (finished / "history.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == TINY_CLF["epochs"]
    assert {"train_loss", "valid_loss", "f1_macro", "f1_micro", "map", "lr"} <= rows[0].keys()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"model": "resnet19x"}, "resnet19x"),
        ({"input": "sound"}, "sound"),
        ({"augment": "much"}, "augment="),
        ({"rules": "nine"}, "nine"),
        ({"loss": "hinge"}, "hinge"),
        ({"weights": "imagenet"}, "weights=none"),
    ],
)
def test_invalid_options_leave_no_files(many_folder, tmp_path, wrong, says):
    with pytest.raises(UserError, match=says):
        train_clf(options(many_folder, **wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()
