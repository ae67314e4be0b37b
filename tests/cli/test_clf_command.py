"""`dedl-fastai clf`, and `evaluate`, `lr-find`, `predict` and `explain` of a classification, as a user runs them."""

import csv
import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort

from ..options import TINY_CLF, as_flags
from .results import check_table_of_test_folds


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def clf_flags(data, out, **changes):
    return ["clf", *as_flags({**TINY_CLF, "data": data, "out": out, **changes})]


@pytest.fixture(scope="module")
def finished(many_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("clf") / "run"
    result = dedl(*clf_flags(many_folder, run))
    assert result.exit_code == 0, result.output
    return run, result.stdout


def test_clf_prints_scores_baselines_and_classes(finished):
    run, out = finished
    metrics = json.loads((run / "metrics.json").read_text())
    line = next(line for line in out.splitlines() if line.startswith("test, tuned thresholds"))
    assert f"{metrics['test']['f1_macro']:.4f}" in line
    assert all(w in out for w in ("test, constant", "test, forest", "swa weights", "tfh217", "classes in test"))


def test_evaluate_prints_the_same_row(finished):
    run, out = finished
    result = dedl("evaluate", run)
    assert result.exit_code == 0, result.output
    line = next(line for line in out.splitlines() if line.startswith("test, tuned thresholds"))
    assert line in result.stdout.splitlines()


def test_resuming_a_finished_run_prints_its_table_again(finished):
    run, out = finished
    assert dedl("clf", "--out", run, "--resume").stdout == out


def test_predict_writes_one_row_per_field_and_names_a_bad_file(finished, many_folder, tmp_path):
    good = Cohort.load(many_folder).table.image[:3]
    bad = tmp_path / "bad.tif"
    bad.write_text("no image")
    result = dedl("predict", finished[0], *good, bad, "--out", tmp_path / "p")
    assert result.exit_code == 1 and f"left out: {bad}" in result.stderr
    with (tmp_path / "p" / "predictions.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [r["image"] for r in rows] == list(good)
    assert all(0 <= float(r["tfh217"]) <= 1 for r in rows)


def test_predict_accepts_a_folder_and_refuses_missing_inputs(finished, many_folder, tmp_path):
    assert dedl("predict", finished[0], many_folder, "--out", tmp_path / "p").exit_code == 0
    with (tmp_path / "p" / "predictions.csv").open() as f:
        assert len(list(csv.DictReader(f))) == 40
    assert dedl("predict", finished[0], tmp_path / "nothing").exit_code == 2
    assert dedl("predict", many_folder).exit_code == 2


def test_explain_draws_a_map_and_names_the_classes(finished, many_folder, tmp_path, drawn):
    pytest.importorskip("captum")
    image = Cohort.load(many_folder).table.image[0]
    result = dedl("explain", finished[0], image, "b", "--out", tmp_path / "e.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "e.png").stat().st_size > 5000
    wrong = dedl("explain", finished[0], image, "nk")
    assert wrong.exit_code == 2 and "tfh217" in wrong.stderr


def test_lr_find_for_classification(many_folder, tmp_path, drawn):
    result = dedl("lr-find", *clf_flags(many_folder, tmp_path / "lr"), "--steps", 25)
    assert result.exit_code == 0, result.output
    assert "suggested: --lr" in result.stdout and (tmp_path / "lr" / "lr_find.png").exists()


def test_members_print_mean_spread_and_ensemble(few_folder, tmp_path):
    result = dedl(*clf_flags(few_folder, tmp_path / "m", epochs=1, seeds="1,2", swa=1.0))
    assert result.exit_code == 0, result.output
    assert "test, 2 members" in result.stdout and " ± " in result.stdout and "test, ensemble" in result.stdout


def test_test_folds_print_pooled_scores_with_intervals_next_to_the_baselines(tiny_folder, tmp_path):
    result = dedl(*clf_flags(tiny_folder, tmp_path / "f", epochs=1, test_folds=2, swa=1.0))
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("test, forest", "test, constant", "  test1", "classes in test"))
    title = "7 items of 7 patients in 2 test folds, pooled"
    check_table_of_test_folds(result.stdout, tmp_path / "f", title, "f1_macro")


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--model", "resnot"], "resnot"), (["--folds", "90"], "--folds 90"), (["--seeds", "a"], "--seeds 'a'")],
)
def test_user_errors_exit_with_2(many_folder, tmp_path, flags, says):
    result = dedl(*clf_flags(many_folder, tmp_path / "run"), *flags)
    assert result.exit_code == 2 and says in result.stderr
