"""Each set of weights has thresholds of its own, and `evaluate --which` gives the digits of metrics.json."""

import json

import pytest

from dedl_fastai.data import Cohort
from dedl_fastai.runs import ClfConfig, SegConfig, evaluate_run, train_clf, train_seg

from ..options import TINY, TINY_CLF


@pytest.fixture(scope="module")
def seg(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "seg"
    return folder, train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder)}), folder, bar=False)


@pytest.fixture(scope="module")
def clf(many_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "clf"
    return folder, train_clf(ClfConfig.resolve({**TINY_CLF, "data": str(many_folder)}), folder, bar=False)


@pytest.mark.parametrize(
    ("task", "which"), [("seg", "best"), ("seg", "last"), ("clf", "best"), ("clf", "last"), ("clf", "swa")]
)
def test_evaluate_which_gives_the_digits_of_the_run(task, which, request):
    folder, metrics = request.getfixturevalue(task)
    again = evaluate_run(folder, which=which)
    own = metrics["weights"][which]
    name = "threshold" if task == "seg" else "thresholds"
    assert again[name] == own[name]
    scores = {k: v for k, v in own["test"].items() if k != "at_0.5"}
    assert scores and {k: again["test"][k] for k in scores} == scores


def test_the_card_has_the_thresholds_of_each(clf, seg):
    card = json.loads((clf[0] / "model.json").read_text())
    assert set(card["thresholds_of_weights"]) == {"best", "last", "swa"}
    assert card["thresholds"] == card["thresholds_of_weights"]["best"]
    assert set(json.loads((seg[0] / "model.json").read_text())["threshold_of_weights"]) == {"best", "last"}


@pytest.mark.parametrize("task", ["seg", "clf"])
def test_the_split_of_the_tuning_is_marked(task, request):
    folder, metrics = request.getfixturevalue(task)
    assert metrics["valid"]["tuned_here"] and "tuned_here" not in metrics["test"]
    assert "tuned_here" not in evaluate_run(folder, split="valid")["valid"]


def test_the_forest_is_tuned_as_the_model_is(clf):
    _, metrics = clf
    forest = metrics["baselines"]["forest"]
    thresholds = [row["threshold"] for row in forest["test"]["per_class"].values()]
    assert thresholds == [row["threshold"] for row in forest["valid"]["per_class"].values()]
    assert set(forest["test"]["at_0.5"]) >= {"f1_macro", "f1_micro"}


def test_the_forest_of_evaluate_is_that_of_the_run(clf):
    folder, metrics = clf
    again = evaluate_run(folder)
    assert again["baselines"]["forest"]["test"] == metrics["baselines"]["forest"]["test"]
    assert len(Cohort.load(json.loads((folder / "config.json").read_text())["data"]))
