"""Segmentation runs, from options to run folder: files, reproducibility, exact resuming, folds."""

import json
import shutil

import numpy as np
import pytest
import torch

from dedl_fastai.errors import UserError
from dedl_fastai.inference import load_run
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.members import train_folds
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg
from dedl_fastai.training import TileIoU
from dedl_fastai.training.run_folder import RunFolder

from ...figures import drawn_figures
from ...options import TINY


def options(folder, **changes) -> SegConfig:
    return SegConfig.resolve({**TINY, "data": str(folder), **changes})


def weights(run, which="last"):
    return read_tensors(run / f"{which}.safetensors")


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "finished"
    with drawn_figures():
        train_seg(options(tiny_folder), run)
    return run


class Killed(BaseException):
    """Stands for a signal: the library does not catch it."""


def kill_after_batches(monkeypatch, n: int):
    from dedl_fastai.training.learner import FieldLearner

    step = FieldLearner._do_one_batch
    seen = []

    def counting(self):
        seen.append(self.training)
        if sum(seen) > n:
            raise Killed
        step(self)

    monkeypatch.setattr(FieldLearner, "_do_one_batch", counting)


def test_the_run_folder_has_the_documented_files(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {
        *("config.json", "splits.json", "manifest.json", "model.json", "metrics.json", "history.csv", "README.md"),
        *("best.safetensors", "last.safetensors", "figures"),
    }
    figures = {p.name: p.stat().st_size for p in (finished / "figures").iterdir()}
    assert figures.keys() == {"curves.png", "threshold.png", "examples.png"} and min(figures.values()) > 5000
    assert len((finished / "history.csv").read_text().splitlines()) == 1 + TINY["epochs"]


def test_metrics_have_splits_baselines_patients_and_both_thresholds(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["task"] == "segmentation"
    assert 0 < metrics["threshold"] <= 1
    for split in ("valid", "test"):
        assert {"iou", "dice", "pixel_accuracy", "boundary_f1"} <= metrics[split].keys()
        assert 0 <= metrics[split]["at_0.5"]["iou"] <= 1
    assert metrics["baselines"]["background"]["iou"] == 0
    assert metrics["baselines"]["otsu"]["iou"] > 0.2
    assert {p: v["split"] for p, v in metrics["per_patient"].items()} == {
        "Myo208": "valid",
        "Myo388": "valid",
        "Myo231": "test",
        "Myo511": "test",
    }


def test_the_tuned_threshold_is_at_least_as_good_on_valid_as_one_half(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["valid"]["iou"] >= metrics["valid"]["at_0.5"]["iou"]
    assert json.loads((finished / "model.json").read_text())["threshold"] == metrics["threshold"]


def test_the_best_weights_are_those_with_the_best_tuned_iou(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(TileIoU, "value", 0.5)  # by `iou`, the first epoch stays the best
    train_seg(options(tiny_folder, epochs=2), tmp_path)
    first, second = (float(row["iou_tuned"]) for row in RunFolder.existing(tmp_path).history())
    assert second > first
    assert same(weights(tmp_path, "best"), weights(tmp_path, "last"))


def test_evaluate_gives_exactly_the_same_metrics(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    for split, marks in (("valid", {"tuned_here": True}), ("test", {})):
        again = evaluate_run(finished, split=split)
        assert {**again[split], **marks} == metrics[split]
        assert again["baselines"]["otsu"][split] == metrics["baselines"]["otsu"][split]


def test_evaluate_on_other_fields_uses_all_with_masks(finished, tiny_folder):
    metrics = evaluate_run(finished, data=tiny_folder)
    assert metrics["all"]["n_fields"] == 7


def test_evaluate_names_the_splits_if_the_chosen_one_is_empty(finished, tiny_folder):
    with pytest.raises(UserError, match="no test fields"):
        evaluate_run(finished, data=tiny_folder, split="test")


def test_a_finished_run_is_not_repeated(finished, tiny_folder):
    before = (finished / "best.safetensors").stat().st_mtime_ns
    metrics = train_seg(options(tiny_folder), finished)
    assert metrics == json.loads((finished / "metrics.json").read_text())
    assert (finished / "best.safetensors").stat().st_mtime_ns == before


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(finished, tiny_folder, tmp_path):
    train_seg(options(tiny_folder), tmp_path / "again")
    train_seg(options(tiny_folder, seed=27, epochs=1), tmp_path / "other")
    assert same(weights(finished), weights(tmp_path / "again"))
    assert not same(weights(finished), weights(tmp_path / "other"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"workers": 2},
        {"accumulate": 3, "clip": 0.5},
        {"schedule": "one-cycle", "opt": "adam"},
        {"amp": "bf16"},
        {"loss": "weighted-ce", "skip_blank": True, "dihedral": True, "sample": "foreground"},
    ],
    ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items()) or "defaults",
)
def test_resumed_equals_uninterrupted(tiny_folder, tmp_path, monkeypatch, changes, finished):
    settings, whole = options(tiny_folder, **changes), tmp_path / "whole" if changes else finished
    if changes:
        train_seg(settings, whole)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 12)  # in the third epoch of 5 batches each
        train_seg(settings, tmp_path / "killed")
    assert (tmp_path / "killed" / "resume.pt").exists()
    train_seg(settings, tmp_path / "killed")
    assert not (tmp_path / "killed" / "resume.pt").exists()
    for which in ("best", "last"):
        assert same(weights(whole, which), weights(tmp_path / "killed", which))
    for file in ("metrics.json", "model.json"):
        assert (whole / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


def test_killed_while_evaluating_finishes_without_training_again(tiny_folder, tmp_path, monkeypatch, finished):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("dedl_fastai.runs.segmentation.training.tune_and_evaluate", die)
        train_seg(options(tiny_folder), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr("dedl_fastai.training.learner.FieldLearner._do_epoch", die)
        train_seg(options(tiny_folder), tmp_path / "run")
    assert same(weights(finished), weights(tmp_path / "run"))


def test_early_stopping_restores_the_best_and_keeps_the_last(tiny_folder, tmp_path):
    train_seg(options(tiny_folder, epochs=30, patience=2, lr=1e-8, lr_min=1e-8), tmp_path / "run")
    iou = [float(row["iou_tuned"]) for row in RunFolder.existing(tmp_path / "run").history()]
    assert len(iou) < 30
    assert len(iou) - 1 - int(np.argmax(iou)) == 2
    assert not same(weights(tmp_path / "run", "best"), weights(tmp_path / "run", "last"))


def test_resuming_with_changed_fields_is_refused(tiny_folder, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(tiny_folder, data)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 7)
        train_seg(options(data), tmp_path / "run")
    masks = next(data.rglob("Mask Labels"))
    first, second = sorted(masks.iterdir())[:2]
    shutil.copy(second, first)
    with pytest.raises(UserError, match="start a new run"):
        train_seg(options(data), tmp_path / "run")


def test_an_unfinished_run_continues_only_with_its_own_options(tiny_folder, tmp_path, monkeypatch, finished):
    run, moved = tmp_path / "run", tmp_path / "moved"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 7)
        train_seg(options(tiny_folder), run)
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    for changes in ({"epochs": 9}, {"lr": 0.5}, {"seed": 27}):
        (name,) = changes
        with pytest.raises(UserError, match=f"was started with {name} = "):
            train_seg(options(tiny_folder, **changes), run)
    assert before == {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    shutil.copytree(tiny_folder, moved)
    splits = finished / "splits.json"  # the same split in another form
    train_seg(options(moved, split="auto", splits=str(splits), workers=1), run)
    assert same(weights(finished), weights(run))


def test_a_finished_run_accepts_only_its_own_options(tiny_folder, finished):
    assert train_seg(options(tiny_folder), finished) == json.loads((finished / "metrics.json").read_text())
    with pytest.raises(UserError, match="was started with epochs = "):
        train_seg(options(tiny_folder, epochs=9), finished)


def test_invalid_options_leave_no_files(tiny_folder, tmp_path):
    for wrong in ({"tile": 30}, {"encoder": "resnet19"}, {"loss": "hinge"}, {"channel": "CD3"}, {"percentiles": "3"}):
        with pytest.raises(UserError):
            train_seg(options(tiny_folder, **wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_folds_validate_on_different_patients_and_average(tiny_folder, tmp_path):
    summary = train_folds(options(tiny_folder, folds=2, epochs=1), tmp_path / "folds")
    patients = []
    for fold in ("fold0", "fold1"):
        counts = json.loads((tmp_path / "folds" / fold / "splits.json").read_text())["counts"]
        patients.append(set(counts["valid"]["patients"]))
        assert counts["test"]["patients"] == ["Myo231", "Myo511"]
    assert not patients[0] & patients[1]
    config = (tmp_path / "folds" / "config.json").read_text()
    with pytest.raises(UserError, match="was started with epochs = 1, not 2"):
        train_folds(options(tiny_folder, folds=2, epochs=2), tmp_path / "folds")
    assert (tmp_path / "folds" / "config.json").read_text() == config
    iou = summary["test"]["iou"]
    assert iou["mean"] == pytest.approx(np.mean(iou["values"]), abs=1e-6)
    assert iou["sd"] == pytest.approx(np.std(iou["values"], ddof=1), abs=1e-6)


def test_load_run_predicts_a_field_of_any_size(finished, tiny_cohort):
    segmenter = load_run(finished, device="cpu")
    image = tiny_cohort.table.image[0]
    probability = segmenter.probability(image)
    assert probability.shape == (96, 128)
    assert probability.min() >= 0 and probability.max() <= 1
    assert (segmenter.mask(image) == (probability >= segmenter.threshold)).all()
    small = segmenter.probability(np.zeros((1, 20, 50), np.float32))
    assert small.shape == (20, 50)


def test_load_run_refuses_other_folders(tmp_path, finished):
    with pytest.raises(UserError, match=r"model\.json"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="best, last"):
        load_run(finished, which="swa")
