"""Classifiers of single cells on measurements: run folder, scores, test folds, another cohort, failures."""

import json

import numpy as np
import pytest

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError
from dedl_fastai.inference.cell_types import load_cell_types
from dedl_fastai.inference.load import load_run
from dedl_fastai.runs.cells.again import TypeOptions
from dedl_fastai.runs.cells.out_of_fold import train_cells_folds
from dedl_fastai.runs.cells.training import train_cells
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.options.clf import ClfConfig


def options(folder, **changes) -> ClfConfig:
    return ClfConfig.resolve({"preset": "demo", "data": str(folder), "items": "cells", "trees": 20, **changes})


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("cells") / "run"
    train_cells(options(tiny_folder, split="paper", intensities="raw"), run)
    return run


@pytest.fixture(scope="module")
def metrics(finished):
    return json.loads((finished / "metrics.json").read_text())


def test_the_run_folder_has_the_documented_files(finished):
    assert {p.name for p in finished.iterdir()} == {
        *("config.json", "splits.json", "manifest.json", "model.json", "metrics.json", "README.md"),
        *("best.safetensors", "figures"),
    }
    assert {p.name for p in (finished / "figures").iterdir()} == {"confusion.png", "confidence.png"}


def test_both_kinds_rules_and_the_majority_are_scored(metrics):
    kinds = {"forest", "boosting"}
    assert metrics["task"] == "cells" and metrics["kind"] in kinds
    assert metrics["baselines"].keys() == (kinds - {metrics["kind"]}) | {"rules", "majority"}
    assert metrics["test"]["f1_macro"] > metrics["baselines"]["majority"]["test"]["f1_macro"] + 0.2
    assert metrics["test"]["n"] == sum(row["n"] for row in metrics["per_patient"].values())
    assert set(metrics["per_patient"]) == {"Myo231", "Myo511"}
    assert metrics["nuclei"]["from"] == "outlines"


def test_the_advice_names_the_best_in_validation(metrics):
    scores = {metrics["kind"]: metrics["valid"]["f1_macro"]}
    scores |= {name: row["valid"]["f1_macro"] for name, row in metrics["baselines"].items()}
    assert metrics["advice"].startswith(f"use {max(scores, key=scores.get)}")


def test_evaluate_gives_exactly_the_same_scores(finished, metrics):
    again = evaluate_run(finished)
    assert again["test"] == metrics["test"]
    assert again["baselines"]["rules"]["test"] == metrics["baselines"]["rules"]["test"]


def test_evaluate_with_a_confidence_leaves_cells_undecided(finished, metrics):
    again = evaluate_run(finished, types=TypeOptions(min_confidence=0.9))
    expected = next(row for row in metrics["test"]["by_confidence"] if row["min_confidence"] == 0.9)
    assert again["test"]["undecided"] == expected["undecided"] > 0
    assert again["test"]["accuracy_decided"] >= metrics["test"]["accuracy_decided"]


def test_a_finished_run_accepts_only_its_own_options(tiny_folder, finished, metrics):
    assert train_cells(options(tiny_folder, split="paper", intensities="raw"), finished) == metrics
    with pytest.raises(UserError, match="was started with intensities = "):
        train_cells(options(tiny_folder, split="paper"), finished)


def test_the_same_options_give_the_same_trees(tiny_folder, finished, tmp_path):
    train_cells(options(tiny_folder, split="paper", intensities="raw"), tmp_path / "again")
    assert (tmp_path / "again/best.safetensors").read_bytes() == (finished / "best.safetensors").read_bytes()


def test_a_classifier_of_cells_is_no_model_of_fields(finished):
    with pytest.raises(UserError, match="classifies single cells: give it as `cell_types`"):
        load_run(finished)


def test_files_that_do_not_fit_are_refused(finished, tmp_path):
    for name in ("model.json", "config.json"):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    (tmp_path / "best.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as the trees"):
        load_cell_types(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**card, "features": card["features"][:2]}))
    (tmp_path / "best.safetensors").write_bytes((finished / "best.safetensors").read_bytes())
    with pytest.raises(UserError, match="from different runs"):
        load_cell_types(tmp_path)


def test_test_folds_test_every_patient_once_and_add_up(tiny_folder, tmp_path):
    metrics = train_cells_folds(options(tiny_folder, test_folds="2", intensities="raw"), tmp_path / "folds")
    folds = [json.loads((tmp_path / f"folds/test{i}/metrics.json").read_text()) for i in range(2)]
    assert np.array_equal(metrics["test"]["confusion"], sum(np.array(f["test"]["confusion"]) for f in folds))
    assert set(metrics["per_patient"]) == set(Cohort.load(tiny_folder).table.patient)
    chosen = {f["kind"] for f in folds}
    others = {"forest", "boosting"} - (chosen if len(chosen) == 1 else set())
    assert metrics["baselines"].keys() == {*others, "rules", "majority"}
    again = evaluate_run(tmp_path / "folds")
    assert again["test"] == metrics["test"]


def test_one_patient_is_split_by_place_and_scaled(one_field, tmp_path):
    metrics = train_cells(options(one_field, trees=60), tmp_path / "run")
    assert metrics["nuclei"]["from"] == "disks" and metrics["intensities"] == "scaled"
    assert metrics["test"]["f1_macro"] > 0.9
    assert "rules" not in metrics["baselines"]
    assert any("split by place" in w for w in metrics["labels"]["warnings"])
    again = evaluate_run(tmp_path / "run")
    assert again["test"] == metrics["test"]


def test_rules_are_compared_with_phenotypes_of_the_same_names(one_field, tmp_path):
    (tmp_path / "rules.txt").write_text("A = CD8+\nB =")
    given = options(one_field, trees=20, rules=str(tmp_path / "rules.txt"))
    metrics = train_cells(given, tmp_path / "run")
    assert metrics["baselines"]["rules"]["test"]["f1_macro"] > 0.9
    assert evaluate_run(tmp_path / "run")["baselines"]["rules"]["test"] == metrics["baselines"]["rules"]["test"]


def test_a_cohort_without_cell_tables_is_refused(one_field, tmp_path):
    (tmp_path / "data/images").mkdir(parents=True)
    (tmp_path / "data/masks").mkdir()
    (tmp_path / "data/images/a.tif").write_bytes(next(one_field.glob("*.tif")).read_bytes())
    with pytest.raises(UserError, match="has no cell tables"):
        train_cells(options(tmp_path / "data"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cells_of_one_type_are_refused(one_field, tmp_path):
    for path in one_field.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\nA\t", b"\nB\t"))
    with pytest.raises(UserError, match="fewer than two types"):
        train_cells(options(tmp_path), tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"items": "nuclei"}, "items='nuclei' is unknown"),
        ({"items": "tiles"}, "items=tiles tile=0"),
        ({"items": "fields", "tile": 64}, "items=fields tile=64"),
        ({"items": "cells", "input": "thumbnail"}, "input='thumbnail' is not for cells"),
        ({"items": "cells", "min_confidence": 1.0}, "min_confidence=1"),
        ({"items": "cells", "intensities": "log"}, "intensities='log' is unknown"),
        ({"items": "cells", "folds": 3}, "`folds` is for fields and tiles"),
        ({"items": "cells", "input": "markers", "lr": "find"}, "lr=find is for fields and tiles"),
        ({"min_confidence": 0.5}, "`min_confidence` is for cells"),
        ({"input": "measurements"}, "`input` is for cells"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        ClfConfig.resolve(given)


def test_items_and_input_have_their_defaults():
    assert (ClfConfig.resolve({}).items, ClfConfig.resolve({}).input) == ("fields", "thumbnail")
    assert ClfConfig.resolve({"tile": 64}).items == "tiles"
    assert ClfConfig.resolve({"items": "cells"}).input == "measurements"
