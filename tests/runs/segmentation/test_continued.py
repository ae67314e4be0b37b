"""Training that continues from a run with corrections: its options, its facts, its split, and the comparison."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.data.joined import load_cohorts
from dedl_fastai.errors import UserError
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.runs import SegConfig, train_seg
from dedl_fastai.runs.continued import facts_of_run, load_seg_cohort, splits_like, with_run_options
from dedl_fastai.runs.segmentation.before import warn_if_worse
from dedl_fastai.runs.segmentation.training import dataloaders_of

from ...corrected import corrected_results
from ...options import TINY

PART = [(0, 0), (64, 0), (64, 96), (0, 96)]


@pytest.fixture(scope="module")
def run(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("continued") / "run"
    train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder), "epochs": 2}), folder, bar=False)
    return folder


@pytest.fixture(scope="module")
def results(run, tiny_folder, tmp_path_factory):
    """Corrections of a part of a field that the run was trained on."""
    cohort = Cohort.load(tiny_folder)
    fields = read(run, "splits")["fields"]
    name = next(f for f, row in fields.items() if row["split"] == "train")
    return corrected_results(tmp_path_factory.mktemp("corrected") / "results", cohort, {name: PART})


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def again(run, results, tiny_folder, tmp_path_factory):
    """The output and the folder of a run that continues with the corrections and all old fields."""
    out = tmp_path_factory.mktemp("again") / "run"
    command = [
        "seg",
        "--data",
        results,
        "--data",
        tiny_folder,
        "--weights",
        run,
        "--epochs",
        1,
        "--bs",
        4,
        "--out",
        out,
    ]
    done = CliRunner().invoke(app, [str(a) for a in command])
    assert done.exit_code == 0, done.output
    return done.output, out


def test_network_scaling_and_normalisation_are_those_of_the_run(again, run):
    config, card, before = read(again[1], "config"), read(again[1], "model"), read(run, "model")
    assert config["preset"] == "finetune" and config["encoder_lr"] == 0.1 and config["epochs"] == 1
    for name in ("network", "channels", "scaling", "mean", "std", "tile", "pixel_size_um"):
        assert card[name] == before[name], name


def test_corrected_fields_replace_the_old_ones_and_the_split_stays(again, run, results, tiny_folder):
    config, splits = read(again[1], "config"), read(again[1], "splits")
    assert config["data"] == str(results.resolve()) and config["more_data"] == [str(tiny_folder)]
    assert splits["fields"] == read(run, "splits")["fields"]


def test_the_run_before_is_scored_on_the_same_held_out_fields(again, run):
    output, folder = again
    metrics, own = read(folder, "metrics"), read(run, "metrics")
    before = metrics["before"]
    assert before["weights"] == str(run) and before["seen"] == 0
    assert before["test"] == {k: v for k, v in own["test"].items() if isinstance(v, float)}
    assert before["threshold"] == own["threshold"]
    assert "test, before" in output and f"compared with {run}" in output


def test_the_weights_are_a_mean_of_those_of_the_run_and_the_trained_ones(again, run):
    folder = again[1]
    found = read(folder, "metrics")["blend"]
    start, last, best = (
        read_tensors(p) for p in (run / "best.safetensors", *(folder / f"{n}.safetensors" for n in ("last", "best")))
    )
    assert found["metric"] == "IoU" and list(found["scores"]) == ["0.1", "0.25", "0.5", "0.75", "1"]
    for name, tensor in best.items():  # of one epoch: the last weights are the trained ones
        torch.testing.assert_close(
            tensor, start[name].lerp(last[name], found["share"]) if tensor.is_floating_point() else last[name]
        )
    assert not (folder / "unblended.safetensors").exists()


def test_evaluate_finds_the_fields_of_all_folders_again(again):
    found = CliRunner().invoke(app, ["evaluate", str(again[1])])
    assert found.exit_code == 0 and "test" in found.stdout


def test_new_patients_are_for_training_unless_there_are_three(run, tiny_cohort, few_folder):
    few = Cohort.load(few_folder)
    own = read(run, "splits")["fields"]
    new = few.with_patients([f"new{i // 2}" for i in range(len(few))])
    new.table["field"] = [f"n{i}" for i in range(len(few))]
    for n_fields in (4, 10):
        table = new.table[:n_fields]
        both = tiny_cohort.where(tiny_cohort.table.field != "")
        both.table = type(table)(tiny_cohort.table.to_dict("records") + table.to_dict("records"))
        split = splits_like(both, str(run), seed=1).table.set_index("field").split
        assert all(split[f] == row["split"] for f, row in own.items())
        assert set(split[table.field]) == ({"train"} if n_fields == 4 else {"train", "valid", "test"})


def test_a_field_that_the_run_left_out_is_trained_on_once_it_has_corrections(run, results, tiny_folder, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    splits = read(run, "splits")
    cohort = load_cohorts([results, tiny_folder])
    for row in splits["fields"].values():
        row["split"] = "ignore" if row["split"] == "train" else row["split"]
    (tmp_path / "run" / "splits.json").write_text(json.dumps(splits))
    table = splits_like(cohort, str(tmp_path / "run"), seed=1).table
    assert list(table.field[table.split == "train"]) == list(Cohort.load(results).table.field)
    assert (table.split == "ignore").sum() > 0


def test_given_options_and_presets_replace_those_of_the_run(run, tmp_path):
    given = with_run_options({"weights": str(run), "tile": 64})
    assert given["preset"] == "finetune" and given["tile"] == 64 and given["depth"] == TINY["depth"]
    other = {"weights": str(run), "preset": "fast"}
    assert with_run_options(other) == other
    assert with_run_options({"weights": "none"}) == {"weights": "none"}
    assert with_run_options({"weights": "nuclei"})["encoder"] == "efficientnet-lite0"
    with pytest.raises(UserError, match="continues from a run"):
        with_run_options({"preset": "finetune", "weights": str(tmp_path)})


def test_percentiles_that_are_given_replace_those_of_the_run(run, tiny_folder):
    before = facts_of_run(str(run))
    given = {"weights": str(run), "data": str(tiny_folder), "bs": 4}
    kept, replaced = (_facts({**given, **more}) for more in ({}, {"percentiles": "5,95"}))
    assert kept.scaling == before.scaling and kept.mean == before.mean
    assert (replaced.scaling.low, replaced.scaling.high) == (5, 95)
    assert replaced.mean[0] > before.mean[0]  # the mean of the run belongs to its scaling


def _facts(given):
    options = SegConfig.resolve(with_run_options(given))
    return dataloaders_of(options, load_seg_cohort(options)).facts


def test_a_run_that_is_worse_than_the_one_before_says_so(caplog):
    def scores(iou, f1=None):
        objects = {} if f1 is None else {"valid": {"n_fields": 1, "f1_50": f1, "f1_mean": f1 / 2}}
        return {"weights": "runs/first", "valid": {"iou": iou}, "objects": objects}

    warn_if_worse(scores(0.6, f1=0.5), scores(0.7, f1=0.5))
    warn_if_worse(scores(0.7), scores(0.6, f1=0.5))
    assert not caplog.messages
    warn_if_worse(scores(0.8, f1=0.3), scores(0.7, f1=0.5))
    assert "runs/first is better" in caplog.text and "F1 of nuclei 0.500 against 0.300" in caplog.text
    warn_if_worse(scores(0.5), scores(0.7))
    assert "IoU of pixels 0.700 against 0.500" in caplog.text
