"""Classifiers of single cells on crops: a tiny network, from options to predictions of a field."""

import json

import numpy as np
import pytest

from dedl_fastai.cells import measure_cells
from dedl_fastai.data import Cohort
from dedl_fastai.data.classification.labels import cells_of_row
from dedl_fastai.data.classification.nuclei import known_nuclei
from dedl_fastai.inference.cell_types import load_cell_types
from dedl_fastai.io import open_field
from dedl_fastai.runs.cells.training import train_cells
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.options.clf import ClfConfig

OPTIONS = {"items": "cells", "input": "markers", "model": "test_resnet", "size": 16, "crop_um": 8, "epochs": 4}


@pytest.fixture(scope="module")
def finished(one_field, tmp_path_factory):
    run = tmp_path_factory.mktemp("crops") / "run"
    train_cells(ClfConfig.resolve({"data": str(one_field), **OPTIONS, "trees": 10}), run)
    return run


def test_a_network_is_compared_with_the_kinds_on_measurements(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["kind"] == "network" and {"forest", "boosting", "majority"} == metrics["baselines"].keys()
    valid = {len(row["valid"]["confusion"]) and row["valid"]["n"] for row in metrics["baselines"].values()}
    assert valid == {metrics["valid"]["n"]}
    assert metrics["test"]["f1_macro"] > 0.8
    assert {"best.safetensors", "history.csv", "model.json"} <= {p.name for p in finished.iterdir()}
    assert not (finished / "resume.pt").exists()


def test_evaluate_gives_the_same_scores(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert evaluate_run(finished)["test"]["confusion"] == metrics["test"]["confusion"]


def test_probabilities_of_a_field_do_not_depend_on_the_cells_predicted_together(finished, one_field):
    typer = load_cell_types(finished)
    row = Cohort.load(one_field).rows()[0]
    with open_field(row.image) as field:
        labels, _ = known_nuclei(row, field, cells_of_row(row))
        cells = measure_cells(labels, field)
        p = typer.probabilities(cells, field, labels)
        some = cells.iloc[5::40]
        assert np.allclose(typer.probabilities(some, field, labels), p[5::40], atol=1e-5)
        assert typer.probabilities(cells.iloc[:0], field, labels).shape == (0, 2)
    assert p.sum(axis=1) == pytest.approx(1) and typer.needs_pixels


def test_crops_have_settings_of_their_own_in_every_preset():
    for preset in ("paper", "fast", "demo"):
        options = ClfConfig.resolve({"preset": preset, "items": "cells", "input": "markers"})
        assert (options.size, options.weights, options.loss, options.class_weight) == (48, "none", "bce", "none")
    assert ClfConfig.from_dict(options.to_dict()) == options
