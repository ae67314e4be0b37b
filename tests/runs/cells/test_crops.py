"""Classifiers of single cells on crops: a tiny network, from options to predictions of a field."""

import json
import shutil

import numpy as np
import pytest

from dedl_fastai.cells import measure_cells
from dedl_fastai.data import Cohort
from dedl_fastai.data.classification.labels import cells_of_row
from dedl_fastai.data.classification.nuclei import known_nuclei
from dedl_fastai.errors import UserError
from dedl_fastai.inference.cell_types import load_cell_types
from dedl_fastai.io import open_field
from dedl_fastai.runs.cells.training import train_cells
from dedl_fastai.runs.evaluation import evaluate_run
from dedl_fastai.runs.options.clf import ClfConfig

OPTIONS = {"items": "cells", "input": "markers", "model": "test_resnet", "size": 16, "crop_um": 8, "epochs": 4}


@pytest.fixture(scope="module")
def finished(one_field, tmp_path_factory):
    run = tmp_path_factory.mktemp("crops") / "run"
    options = {**OPTIONS, "join": "measurements", "trees": 10}
    train_cells(ClfConfig.resolve({"data": str(one_field), **options}), run)
    return run


@pytest.fixture(scope="module")
def without_measurements(one_field, tmp_path_factory):
    run = tmp_path_factory.mktemp("crops") / "plain"
    options = {**OPTIONS, "epochs": 1, "swa_start": 1, "trees": 2}
    train_cells(ClfConfig.resolve({"data": str(one_field), **options}), run)
    return run


@pytest.fixture(scope="module")
def measured_field(one_field):
    """The field, its nuclei, and their table."""
    row = Cohort.load(one_field).rows()[0]
    with open_field(row.image) as field:
        labels, _ = known_nuclei(row, field, cells_of_row(row))
        yield field, labels, measure_cells(labels, field)


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


def test_probabilities_of_a_field_do_not_depend_on_the_cells_predicted_together(without_measurements, measured_field):
    field, labels, cells = measured_field
    typer = load_cell_types(without_measurements)
    p = typer.probabilities(cells, field, labels)
    some = cells.iloc[5::40]
    assert np.allclose(typer.probabilities(some, field, labels), p[5::40], atol=1e-5)
    assert typer.probabilities(cells.iloc[:0], field, labels).shape == (0, 2)
    assert p.sum(axis=1) == pytest.approx(1) and typer.needs_pixels


def test_measurements_join_the_crops_if_the_options_say_so(finished, without_measurements, measured_field):
    field, labels, cells = measured_field
    other = cells.assign(**{"Nucleus CD8 mean": cells["Nucleus CD8 mean"].to_numpy()[::-1]})
    changed = {}
    for run in (finished, without_measurements):
        typer = load_cell_types(run)
        p, q = (typer.probabilities(table, field, labels) for table in (cells, other))
        changed[run] = np.abs(p - q).max()
        assert p.sum(axis=1) == pytest.approx(1)
        assert typer.probabilities(cells.iloc[:0], field, labels).shape == (0, 2)
    assert changed[without_measurements] == 0 and changed[finished] > 1e-3
    assert load_cell_types(finished).how == "a test_resnet on crops of 8 um and scaled measurements"
    assert load_cell_types(without_measurements).how == "a test_resnet on crops of 8 um"


@pytest.mark.parametrize("which", ["best", "swa"])
def test_a_measurement_that_is_missing_counts_as_the_mean(finished, measured_field, which):
    field, labels, cells = measured_field
    p = load_cell_types(finished, which).probabilities(cells.assign(eccentricity=np.nan), field, labels)
    assert np.isfinite(p).all()


def test_lengths_in_another_unit_are_refused(finished, measured_field):
    field, labels, cells = measured_field
    with pytest.raises(UserError, match="trained with lengths in um, and this field has them in px"):
        load_cell_types(finished).probabilities(cells.assign(x_um=np.nan), field, labels)


def test_runs_of_earlier_versions_have_no_measurements(without_measurements, tmp_path):
    run = shutil.copytree(without_measurements, tmp_path / "run")
    for name, keys in {"config": ("join",), "model": ("network", "measurements")}.items():
        values = json.loads((run / f"{name}.json").read_text())
        inner = values[keys[0]] if len(keys) > 1 else values
        del inner[keys[-1]]
        if name == "model":
            del values["data"]["measurements"]
        (run / f"{name}.json").write_text(json.dumps(values))
    assert evaluate_run(run)["test"] == evaluate_run(without_measurements)["test"]
    options = ClfConfig.from_dict(json.loads((run / "config.json").read_text()))
    assert options.join == "none" and train_cells(options, run)["kind"] == "network"  # it is complete


@pytest.mark.parametrize("given", [{"join": "all"}, {"input": "measurements"}, {"items": "fields"}])
def test_measurements_join_crops_alone(given):
    with pytest.raises(UserError, match="join"):
        ClfConfig.resolve({"items": "cells", "input": "markers", "join": "measurements", **given})


def test_crops_have_settings_of_their_own_in_every_preset():
    for preset in ("paper", "fast", "demo"):
        options = ClfConfig.resolve({"preset": preset, "items": "cells", "input": "markers"})
        assert (options.size, options.weights, options.loss, options.class_weight) == (48, "none", "bce", "none")
    assert ClfConfig.from_dict(options.to_dict()) == options
