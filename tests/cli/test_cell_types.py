"""Types of single cells on the command line: `clf --items cells`, and `predict` and `evaluate` with `--cell-types`."""

import json

import pandas as pd
import pytest

from .results import contents, dedl


@pytest.fixture(scope="module")
def classifier(tiny_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("typer") / "run"
    flags = [
        "--data",
        tiny_folder,
        "--items",
        "cells",
        "--split",
        "paper",
        "--intensities",
        "raw",
        "--trees",
        "20",
        "--out",
        out,
    ]
    result = dedl("clf", *flags)
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_clf_prints_kinds_rules_types_and_advice(classifier):
    out, stdout = classifier
    metrics = json.loads((out / "metrics.json").read_text())
    line = next(row for row in stdout.splitlines() if row.startswith(f"test, {metrics['kind']}"))
    assert f"{metrics['test']['f1_macro']:.4f}" in line
    assert all(w in stdout for w in ("test, rules", "test, majority", "types in test", "true (rows), predicted"))
    assert metrics["advice"] in stdout


def test_evaluate_prints_the_same_row(classifier):
    run, stdout = classifier
    result = dedl("evaluate", run)
    assert result.exit_code == 0, result.output
    row = next(row for row in stdout.splitlines() if row.startswith("test, "))
    assert row in result.stdout.splitlines()


@pytest.fixture(scope="module")
def typed(run, classifier, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("typed") / "out"
    flags = ["--cell-types", classifier[0], "--min-confidence", "0.6", "--out", out]
    result = dedl("predict", run, *images, *flags, "--write", "cells,geojson,overlay,neighbours")
    assert result.exit_code == 0, result.output
    return out


def test_a_worker_of_a_cluster_finds_the_same_types(run, classifier, images, typed, cluster, tmp_path):
    cluster.add_worker()
    flags = ["--cell-types", classifier[0], "--min-confidence", "0.6", "--out", tmp_path / "out"]
    kinds = ["--write", "cells,geojson,overlay,neighbours"]
    result = dedl("predict", run, *images, *flags, *kinds, "--scheduler", cluster.address)
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "out") == contents(typed)


def first(folder, ending):
    return min(folder.glob(f"*{ending}"))


def test_predict_writes_type_and_probability_of_each_cell(typed):
    table = pd.read_csv(first(typed, "_cells.csv"))
    is_decided = table["phenotype"].notna()
    assert (table["phenotype_probability"][is_decided] >= 0.6).all()
    assert (table["phenotype_probability"][~is_decided] < 0.6).all()
    columns = [c for c in table.columns if c.startswith("probability ")]
    assert columns == [f"probability {c}" for c in ("b", "tfh", "tfh217", "tfhl", "other")]
    assert table[columns].sum(axis=1).to_numpy() == pytest.approx(1)
    names = table[columns].idxmax(axis=1).str.removeprefix("probability ")
    assert (names[is_decided] == table["phenotype"][is_decided]).all()


def test_geojson_and_summary_have_the_types(typed):
    table = pd.read_csv(first(typed, "_cells.csv"))
    features = json.loads(first(typed, ".geojson").read_text())["features"]
    named = {int(f["properties"]["name"]): f["properties"] for f in features}
    for label, name, p in zip(table["label"], table["phenotype"], table["phenotype_probability"], strict=True):
        classification = named[label].get("classification", {})
        assert classification.get("name") == (None if pd.isna(name) else name)
        assert named[label]["measurements"]["phenotype_probability"] == pytest.approx(p, rel=1e-5)
        assert pd.isna(name) or len(classification["color"]) == 3
    assert {"cells b", "cells other"} <= set(pd.read_csv(typed / "summary.csv").columns)
    assert "types by a" in (typed / "fields" / f"{next(typed.glob('*.geojson')).stem}.json").read_text()


def test_evaluate_scores_the_types_of_the_nuclei_beside_a_forest(run, classifier, tmp_path):
    result = dedl("evaluate", run, "--cell-types", classifier[0], "--out", tmp_path / "m.json")
    assert result.exit_code == 0, result.output
    types = json.loads((tmp_path / "m.json").read_text())["cell_types"]
    assert types["baselines"].keys() == {"forest", "rules", "majority"}
    assert types["nuclei"]["from"] == "found by the segmentation"
    assert (tmp_path / "m_confusion.png").is_file()


def test_evaluate_scores_the_types_of_rules_matched_by_place(run):
    by_rules = dedl("evaluate", run, "--rules", "tfh5", "--match", "place", "--split", "valid")
    assert by_rules.exit_code == 0 and by_rules.stdout.count("valid, rules") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cell-types", "RUN", "--rules", "tfh5"], "leave one of them out"),
        (["--min-confidence", "0.5"], "needs --cell-types"),
        (["--cell-types", "RUN", "--ring", "3"], "rings of 2 um"),
        (["--cell-types", "SEG"], "a classifier of single cells"),
    ],
)
def test_predict_refuses_what_does_not_fit(run, classifier, images, tmp_path, flags, message):
    named = [{"RUN": classifier[0], "SEG": run}.get(f, f) for f in flags]
    result = dedl("predict", run, images[0], *named, "--out", tmp_path / "out")
    assert result.exit_code == 2 and message in result.stderr


def test_a_classifier_of_cells_alone_cannot_predict(classifier, images, tmp_path):
    result = dedl("predict", classifier[0], images[0], "--out", tmp_path / "out")
    assert result.exit_code == 2 and "--cell-types" in result.stderr


def test_options_of_networks_are_refused_for_measurements(tiny_folder, tmp_path):
    result = dedl("clf", "--data", tiny_folder, "--items", "cells", "--epochs", "3", "--out", tmp_path / "run")
    assert result.exit_code == 2 and "--epochs is for networks" in result.stderr
