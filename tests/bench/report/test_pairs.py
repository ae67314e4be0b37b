"""Paired differences: against scipy and by hand, and the report of app-ablation on constructed runs."""

import math
import statistics

import pandas as pd
import pytest
from scipy import stats

from dedl_fastai.bench.paper.tables import load_table
from dedl_fastai.bench.report.grid_report import write_grid_report
from dedl_fastai.bench.report.numbers import baselines, collect
from dedl_fastai.bench.report.pairs import paired_difference, paired_differences

from ..synthetic import cell, failed, finished, grid_of, table

TABLE = load_table("app-ablation")
TUNED, FIXED, RATIO = TABLE.columns
NONE, GELU, RELU = (0.80, 0.82, 0.81), (0.81, 0.85, 0.81), (0.79, 0.83, 0.80)
RUNS = {
    **{("none", seed): (iou, None) for seed, iou in enumerate(NONE)},
    **{("gelu", seed): (iou, 0.1) for seed, iou in enumerate(GELU)},
    **{("summed", seed): (iou, 4.8e-7) for seed, iou in enumerate(RELU)},
}


def ablation(folder, runs=RUNS, **options):
    """A grid of app-ablation with these runs: (arm, seed) -> (IoU, gradient ratio); IoU None is a failed run."""
    cells = {}
    for (arm, seed), (iou, ratio) in runs.items():
        name = f"{arm}{seed}"
        if iou is None:
            failed(folder, name)
        else:
            finished(folder, name, iou, ratio, train_seconds=60.0 if ratio else 50.0)
        for column in (TUNED, FIXED, RATIO)[: 3 if arm != "none" else 2]:
            cells.setdefault((arm, column), []).append((name, seed, 0))
    return collect(grid_of(folder, cells, options, "app-ablation"), TABLE, folder)


def test_difference_is_students_t_on_pairs():
    a, b = [0.81, 0.85, 0.81], [0.80, 0.82, 0.81]
    ours, theirs = paired_difference(a, b), stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert (ours["low"], ours["high"], ours["p"]) == pytest.approx((low, high, theirs.pvalue))
    assert ours["mean"] == pytest.approx(0.04 / 3)


def test_a_single_pair_has_no_interval():
    d = paired_difference([0.5], [0.4])
    assert d["mean"] == pytest.approx(0.1) and math.isnan(d["low"])


def test_every_arm_is_paired_with_none_in_its_own_column(tmp_path):
    pairs = paired_differences(TABLE, ablation(tmp_path))
    assert [(p.result.row.key, p.result.cell.column) for p in pairs] == [
        (arm, column) for arm in ("gelu", "summed") for column in (TUNED, FIXED)
    ]
    for pair, values in zip(pairs, (GELU, GELU, RELU, RELU), strict=True):
        expected = stats.ttest_rel(values, NONE)
        low, high = expected.confidence_interval(0.95)
        assert pair.published is None and pair.here["n"] == 3
        assert pair.here["mean"] == pytest.approx(statistics.fmean(values) - statistics.fmean(NONE))
        assert (pair.here["low"], pair.here["high"]) == pytest.approx((low, high))
        assert pair.here["p"] == pytest.approx(expected.pvalue)
        assert pair.signed_rank_p == pytest.approx(stats.wilcoxon(values, NONE).pvalue)


def test_rows_of_the_nuclei_ablation_are_paired_with_base_in_their_own_column(tmp_path):
    nuclei = load_table("seg-ablation")
    scores = {"base": (0.70, 0.72, 0.71), "mask": (0.60, 0.65, 0.64)}
    cells = {}
    for row, values in scores.items():
        for seed, value in enumerate(values):
            finished(tmp_path, f"{row}{seed}", value)
            cells.setdefault((row, "IoU"), []).append((f"{row}{seed}", seed, 0))
    (pair,) = paired_differences(nuclei, collect(grid_of(tmp_path, cells, {}, nuclei.name), nuclei, tmp_path))
    assert (pair.result.row.key, pair.result.cell.column, pair.here["n"]) == ("mask", "IoU", 3)
    assert pair.here["mean"] == pytest.approx(-0.08)
    assert pair.here["p"] == pytest.approx(stats.ttest_rel(scores["mask"], scores["base"]).pvalue)
    assert "**Each row minus base, paired**" in write_grid_report(tmp_path)


def test_pairs_are_of_one_seed_and_fold(tmp_path):
    values = {"a": {(1, 0): 0.5, (1, 1): 0.7, (2, 0): 0.6, (2, 1): 0.9}, "b": {(1, 0): 0.6, (1, 1): 0.7, (2, 0): 0.6}}
    for arm, runs in values.items():
        for (seed, fold), iou in runs.items():
            finished(tmp_path, f"{arm}{seed}{fold}", iou)
    arms = {"none": "a", "gelu": "b"}
    cells = {(k, TUNED): [(f"{arm}{s}{f}", s, f) for s, f in values[arm]] for k, arm in arms.items()}
    (pair,) = paired_differences(TABLE, collect(grid_of(tmp_path, cells, name="app-ablation"), TABLE, tmp_path))
    assert pair.here["n"] == 2  # the two folds of seed 1, the only seed with both
    assert pair.here["mean"] == pytest.approx(0.05)


def test_missing_runs_are_left_out_of_pairs(tmp_path):
    pairs = paired_differences(TABLE, ablation(tmp_path, {k: v for k, v in RUNS.items() if k != ("gelu", 2)}))
    assert [p.here["n"] for p in pairs] == [2, 2, 3, 3]
    assert pairs[0].here["mean"] == pytest.approx(0.02)


def test_an_arm_without_a_common_seed_has_no_pair(tmp_path):
    pairs = paired_differences(TABLE, ablation(tmp_path, {**RUNS, ("relu", 9): (0.9, 0.1)}))
    assert [p.result.row.key for p in pairs] == ["gelu", "gelu", "summed", "summed"]


def test_without_a_finished_baseline_there_are_no_pairs_and_the_report_says_why(tmp_path):
    runs = {k: (None, None) if k[0] == "none" else v for k, v in RUNS.items()}
    assert paired_differences(TABLE, ablation(tmp_path, runs)) == []
    text = write_grid_report(tmp_path)
    assert f"| none | {TUNED} | – | 0/3, 3 failed |" in text and "With APP minus without" not in text
    assert f"| gelu | {TUNED} | 0.8233 ± 0.0231 | 3 |" in text


def test_other_options_are_no_baseline(tmp_path):
    one = table({"none": [cell("x", {"tile": 64})], "gelu": [cell("x", {"tile": 32, "app": "gelu"})]})
    for name in ("a", "b"):
        finished(tmp_path, name, 0.5)
    part = grid_of(tmp_path, {("none", "x"): [("a", 1, 0)], ("gelu", "x"): [("b", 1, 0)]})
    assert paired_differences(one, collect(part, one, tmp_path)) == []
    equal = table({"none": [cell("x", {"tile": 32})], "gelu": [cell("x", {"tile": 32, "app": "gelu"})]})
    assert len(paired_differences(equal, collect(part, equal, tmp_path))) == 1


def test_report_has_values_ratio_and_differences_without_published_columns(tmp_path):
    ablation(tmp_path, epochs=3)
    text = write_grid_report(tmp_path)
    assert "## Segmentation with variants of APP, each against none (seg: data cohort, epochs 3)" in text
    assert "| row | column | here | runs |" in text
    assert f"| gelu | {TUNED} | 0.8233 ± 0.0231 | 3 |" in text and f"| gelu | {FIXED} | 0.7233 ± 0.0231 | 3 |" in text
    assert f"| gelu | {RATIO} | 1.0e-01 ± 0.0e+00 | 3 |" in text
    assert f"| summed | {RATIO} | 4.8e-07 ± 0.0e+00 | 3 |" in text
    assert f"| none | {RATIO} | – | not run: without APP there is no gradient of it |" in text
    assert "| row | column | here | 95 % interval | p, t test | p, signed rank | pairs |" in text
    assert f"| gelu | {TUNED} | +0.0133 | -0.0246 to +0.0513 | 0.270 | 0.500 | 3 |" in text
    assert "published" not in text and "the paper's; with the Van Buren data" not in text


def test_time_and_memory_are_in_costs_with_one_line_per_arm(tmp_path):
    ablation(tmp_path)
    write_grid_report(tmp_path)
    lines = (tmp_path / "report" / "costs.md").read_text().splitlines()
    assert [line for line in lines if " MB |" in line] == [
        "| none | all | 3 | 50.0s ± 0.0s | 700 MB | – |",
        "| gelu | all | 3 | 1m 00s ± 0.0s | 700 MB | – |",
        "| summed | all | 3 | 1m 00s ± 0.0s | 700 MB | – |",
    ]


def test_trivial_predictors_count_each_run_once(tmp_path):
    assert baselines(ablation(tmp_path)) == {"otsu": [0.6] * 9}


def test_files_are_those_of_every_table(tmp_path, drawn):
    ablation(tmp_path)
    write_grid_report(tmp_path, as_csv=True, as_latex=True, as_html=True)
    out = tmp_path / "report"
    assert {"app-ablation.md", "app-ablation.png", "app-ablation.tex", "report.html"} < {p.name for p in out.iterdir()}
    runs = pd.read_csv(out / "app-ablation-runs.csv")
    ratios = runs[runs.metric == "history.app_grad_ratio"]
    assert list(ratios.value) == [0.1] * 3 + [4.8e-7] * 3 and len(runs) == 9 * 2 + 6
    assert list(pd.read_csv(out / "app-ablation.csv").columns) == ["row", "column", "here", "runs"]
    assert (out / "app-ablation.png").stat().st_size > 5000
