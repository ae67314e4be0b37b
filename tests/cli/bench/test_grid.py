"""`dedl-fastai bench run TABLE` and `bench report` as a user runs them."""

import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.cli import app

from ...forked import forked_workers
from ...options import NETWORK, TINY, as_flags


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module", autouse=True)
def _forked():
    with forked_workers():
        yield


@pytest.fixture(scope="module")
def ran(tiny_folder, tmp_path_factory):
    grid = tmp_path_factory.mktemp("cli") / "grid"
    options = {**TINY, **NETWORK, "data": tiny_folder, "epochs": 1, "app_width": 64, "device": "cpu"}
    command = ["bench", "run", "table1", "--rows", "resnet18", "--seeds", "3", *as_flags(options), "--out", grid]
    return grid, command, dedl(*command, "--jobs", 2)


def test_a_table_is_run_and_reported_next_to_the_published_values(ran):
    grid, _, result = ran
    assert result.exit_code == 0, result.output
    assert "| Resnet-18 | Without APP | 1h 24m 44s |" in result.stdout and "| 1 |" in result.stdout
    assert len(list((grid / "runs").iterdir())) == 2
    assert json.loads((grid / "grid.json").read_text())["parts"][0]["table"] == "table1"


def test_the_same_command_repeats_nothing_and_report_needs_the_grid_alone(ran):
    grid, command, first = ran
    again = dedl(*command)
    assert again.exit_code == 0 and again.stdout == first.stdout
    assert all((p / "starts.log").read_text().count(" start\n") == 1 for p in (grid / "runs").iterdir())
    shown = dedl("bench", "report", grid, "--csv", "--latex", "--html")
    assert shown.exit_code == 0 and "| Resnet-18 | With APP | 1h 27m 40s |" in shown.stdout
    assert {p.suffix for p in (grid / "report").iterdir()} == {".md", ".png", ".csv", ".tex", ".html"}


def test_times_are_beside_seconds_an_epoch_and_variants_are_columns(ran, tiny_folder):
    grid, command, first = ran
    result = dedl(*command, "--variant", "summed")
    assert result.exit_code == 0, result.output
    assert "| difference | seconds an epoch | runs |" in first.stdout and "With APP, summed" not in first.stdout
    assert "| Resnet-18 | With APP, summed | 1h 27m 40s |" in result.stdout
    options = [json.loads((run / "config.json").read_text()) for run in (grid / "runs").iterdir()]
    assert sorted((o["app"], o["app_weight"]) for o in options) == [
        ("gelu", "auto"),
        ("gelu", "summed"),
        ("none", "auto"),
    ]


def test_a_failed_run_ends_with_1_and_names_its_log(tiny_folder, tmp_path):
    options = {**TINY, **NETWORK, "data": tiny_folder, "epochs": 1, "device": "cpu", "weights": "nowhere.safetensors"}
    flags = [*as_flags(options), "--rows", "resnet18", "--seeds", "3", "--out", tmp_path / "grid"]
    result = dedl("bench", "run", "table1", *flags)
    assert result.exit_code == 1
    assert "failed: table1 resnet18 Without APP seed 3" in result.stderr and "log.txt" in result.stderr
    assert "0/1, 1 failed" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["run", "table99"], "table99"),
        (["run", "table2", "--rows", "vgg"], "resnet18"),
        (["run", "table2", "--gamma", "1"], "gamma"),
        (["run", "table2", "--variant", "mean"], "--variant 'mean' is unknown; it may be summed, released"),
        (["run", "table13", "--variant", "summed"], "leave --variant out"),
        (["run", "app-ablation", "--variant", "summed"], "choose them with --rows"),
        (["run", "app-ablation", "--app", "gelu"], "--app is what the arms differ in: choose arms with --rows"),
        (["run", "app-ablation", "--app-released"], "--app-released is what the arms differ in"),
        (["run", "app-ablation", "--rows", "tanh"], "gelu-cosine"),
        (["report", "nowhere"], "grid.json"),
    ],
)
def test_an_error_is_one_sentence(args, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = dedl("bench", *args)
    assert result.exit_code == 2 and said in result.stderr and not list(tmp_path.iterdir())
