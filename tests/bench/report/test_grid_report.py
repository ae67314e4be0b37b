"""The report of a grid of constructed runs: means, spreads, pairs, missing runs, formats."""

import json
import math
import statistics
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from scipy import stats

from dedl_fastai.bench.paper.tables import Beside
from dedl_fastai.bench.report.grid_report import write_grid_report
from dedl_fastai.bench.report.numbers import baselines, collect
from dedl_fastai.bench.report.pairs import paired_differences
from dedl_fastai.bench.report.text_tables import TextTable, duration, shown_p

from ..synthetic import APP, cell, failed, finished, grid_of, table

WITHOUT, WITH = (0.80, 0.82, 0.81), (0.81, 0.85, 0.81)

PAPER = table(
    {
        "r": [cell("without", {"app": "none"}, 0.4), cell("with", APP, 0.45)],
        "s": [cell("without", {}, 0.5), cell("with", {}, 0.9, why_not="the network is not known")],
    }
)


@pytest.fixture
def grid(tmp_path):
    for seed, (a, b) in enumerate(zip(WITHOUT, WITH, strict=True)):
        finished(tmp_path, f"a{seed}", a)
        finished(tmp_path, f"b{seed}", b, train_seconds=70.0)
    finished(tmp_path, "c0", 0.7)
    failed(tmp_path, "c1")
    cells = {
        ("r", "without"): [(f"a{s}", s, 0) for s in range(3)],
        ("r", "with"): [(f"b{s}", s, 0) for s in range(3)],
        ("s", "without"): [(f"c{s}", s, 0) for s in range(5)],
    }
    return tmp_path, grid_of(tmp_path, cells, {"epochs": 3})


def report(folder, **how) -> str:
    return write_grid_report(folder, find_table=lambda name: PAPER, **how)


def test_means_spreads_and_differences_are_those_by_hand(grid):
    text = report(grid[0])
    mean, sd = statistics.fmean(WITH), statistics.stdev(WITH)
    assert f"| R | with | 0.45 | {mean:.4f} ± {sd:.4f} | {mean - 0.45:+.4f} | 3 |" in text
    assert "| otsu | 0.6000 ± 0.0000 | 7 |" in text and "A note." in text and "data cohort, epochs 3" in text


def test_further_numbers_of_the_runs_are_columns_and_in_the_csv(grid):
    beside = (Beside("SWA", "weights.swa.test.at_0.5.iou"), Beside("seconds an epoch", "epoch_seconds", "seconds"))
    shown = replace(PAPER, beside=beside)
    text = write_grid_report(grid[0], as_csv=True, find_table=lambda name: shown)
    swa = [v + 0.01 for v in WITHOUT]
    assert "| published | here | difference | SWA | seconds an epoch | runs |" in text
    assert f"| {statistics.fmean(swa):.4f} ± {statistics.stdev(swa):.4f} | 5.00 ± 0.00 | 3 |" in text
    assert "| S | with | 0.9 | – | – | – | – | not run: the network is not known |" in text
    runs = pd.read_csv(grid[0] / "report" / "synthetic-runs.csv")
    of_swa = runs[(runs.column == "without") & (runs.row == "R") & (runs.metric == beside[0].metric)]
    assert list(of_swa.value) == pytest.approx(swa) and list(of_swa.seed) == [0, 1, 2]


def test_variants_that_were_asked_for_are_in_the_report(tmp_path):
    for name, iou in (("a", 0.5), ("b", 0.6), ("c", 0.7)):
        finished(tmp_path, name, iou)
    cells = {("r", "without"): [("a", 1, 0)], ("r", "with"): [("b", 1, 0)], ("r", "with, summed"): [("c", 1, 0)]}
    grid_of(tmp_path, cells)
    text = report(tmp_path)
    assert "| R | with, summed | 0.45 | 0.7000 | +0.2500 | 1 |" in text and "released" not in text
    assert "| R | with, summed | +0.0500 | +0.2000 |" in text


def test_missing_and_failed_runs_and_cells_are_marked(grid):
    text = report(grid[0])
    assert "| S | without | 0.5 | 0.7000 | +0.2000 | 1/5, 1 failed |" in text
    assert "| S | with | 0.9 | – | – | not run: the network is not known |" in text


def test_app_is_paired_by_seed(grid):
    (pair,) = paired_differences(PAPER, collect(grid[1], PAPER, grid[0]))
    expected = stats.ttest_rel(WITH, WITHOUT)
    assert pair.published == pytest.approx(0.05) and pair.here["n"] == 3
    assert pair.here["mean"] == pytest.approx(0.04 / 3) and pair.here["p"] == pytest.approx(expected.pvalue)
    assert pair.signed_rank_p == pytest.approx(stats.wilcoxon(WITH, WITHOUT).pvalue)
    assert "| R | with | +0.0500 | +0.0133 |" in report(grid[0])


def test_folds_are_averaged_before_the_spread_over_seeds(tmp_path):
    values = {(1, 0): 0.5, (1, 1): 0.7, (2, 0): 0.6, (2, 1): 0.9}
    for (seed, fold), v in values.items():
        finished(tmp_path, f"{seed}{fold}", v)
    part = grid_of(tmp_path, {("r", "without"): [(f"{s}{f}", s, f) for s, f in values]})
    result = collect(part, PAPER, tmp_path)[0]
    assert result.replicates == pytest.approx([0.6, 0.75]) and result.mean == pytest.approx(0.675)
    one = grid_of(tmp_path, {("r", "without"): [("10", 1, 0), ("11", 1, 1)]})
    assert collect(one, PAPER, tmp_path)[0].sd == pytest.approx(statistics.stdev([0.5, 0.7]))


def test_seeds_that_lack_folds_of_others_are_left_out_of_the_mean(tmp_path):
    values = {(1, 0): 0.9, (1, 1): 0.7, (2, 0): 0.6}
    for (seed, fold), v in values.items():
        finished(tmp_path, f"{seed}{fold}", v)
    part = grid_of(tmp_path, {("r", "without"): [(f"{s}{f}", s, f) for s, f in [*values, (2, 1)]]})
    result = collect(part, PAPER, tmp_path)[0]
    assert result.mean == pytest.approx(0.8) and result.replicates == [0.9, 0.7]
    text = report(tmp_path)
    assert "3/4" in text and "leave out seeds that lack folds" in text


def test_a_run_is_not_paired_with_itself(tmp_path):
    finished(tmp_path, "a", 0.5)
    part = grid_of(tmp_path, {("r", "without"): [("a", 1, 0)], ("r", "with"): [("a", 1, 0)]})
    assert paired_differences(PAPER, collect(part, PAPER, tmp_path)) == []
    assert "With APP minus without" not in report(tmp_path)


def test_csv_files_are_read_by_other_programs(grid):
    report(grid[0], as_csv=True)
    out = grid[0] / "report"
    assert sorted(p.name for p in out.glob("*.csv")) == [
        *("costs-machines.csv", "costs-synthetic.csv"),
        *("synthetic-baselines.csv", "synthetic-paired.csv", "synthetic-runs.csv", "synthetic.csv"),
    ]
    tables = {p.name: pd.read_csv(p) for p in out.glob("*.csv")}
    runs = tables["synthetic-runs.csv"]
    with_app = runs[runs.column == "with"]
    assert (
        list(with_app.value) == list(WITH)
        and list(with_app.seed) == [0, 1, 2]
        and set(with_app.run) == {"b0", "b1", "b2"}
    )
    assert len(tables["synthetic.csv"]) == 4 and len(tables["synthetic-paired.csv"]) == 1


def test_the_report_says_which_patients_were_tested(tmp_path):
    finished(tmp_path, "a", 0.5)
    for options, said in (({}, True), ({"split": "paper"}, False)):
        grid_of(tmp_path, {("r", "without"): [("a", 1, 0)]}, options)
        assert ("other patients than the paper's" in report(tmp_path)) == said


def test_constant_label_sets_are_baselines_of_f1(tmp_path):
    finished(tmp_path, "a", 0.5)
    scores = {"f1_macro": 0.4, "best_macro": {"f1_macro": 0.65}, "best_micro": {"f1_micro": 0.8}}
    metrics = {"test": {"f1_macro": 0.7}, "baselines": {"constant": {"test": scores}}}
    (tmp_path / "runs" / "a" / "metrics.json").write_text(json.dumps(metrics))
    one = table({"r": [cell("x", {}, metric="test.f1_macro", task="clf")]})
    part = grid_of(tmp_path, {("r", "x"): [("a", 1, 0)]})
    assert baselines(collect(part, one, tmp_path)) == {"constant": [0.4], "constant, best label set": [0.65]}


def test_a_forest_is_scored_at_the_threshold_of_the_runs(tmp_path):
    finished(tmp_path, "a", 0.5)
    scores = {"f1_micro": 0.8, "at_0.5": {"f1_micro": 0.6}}
    metrics = {"baselines": {"forest": {"test": scores}, "constant": {"test": {"f1_micro": 0.7}}}}
    (tmp_path / "runs" / "a" / "metrics.json").write_text(json.dumps(metrics))
    part = grid_of(tmp_path, {("r", "x"): [("a", 1, 0)]})
    for metric, forest in (("test.f1_micro", 0.8), ("test.at_0.5.f1_micro", 0.6)):
        one = table({"r": [cell("x", {}, metric=metric, task="clf")]})
        assert baselines(collect(part, one, tmp_path)) == {"forest": [forest], "constant": [0.7]}


def test_times_are_kept_out_of_the_results(grid):
    report(grid[0])
    before = (grid[0] / "report" / "synthetic.md").read_text()
    finished_again = json.dumps({"train_seconds": 99.0, "peak_mb": 1})
    (grid[0] / "runs" / "b0" / "cost.json").write_text(finished_again)
    assert "| R | with | 3 | 1m 20s ± 16.7s | 700 MB | – |" in report(grid[0])
    assert (grid[0] / "report" / "synthetic.md").read_text() == before


def test_files_are_those_asked_for_and_html_is_self_contained(grid):
    out = grid[0] / "report"
    report(grid[0])
    assert sorted(p.name for p in out.iterdir()) == ["costs.md", "synthetic.md", "synthetic.png"]
    report(grid[0], as_csv=True, as_latex=True, as_html=True)
    rows = (out / "synthetic.csv").read_text().splitlines()
    assert rows[1].startswith("R,without,0.4,0.8100 ± 0.0100")
    assert r"R & with & 0.45 & 0.8233 $\pm$ 0.0231" in (out / "synthetic.tex").read_text()
    page = (out / "report.html").read_text()
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))
    parser.feed(page)
    (image,) = [attrs["src"] for tag, attrs in tags if tag == "img"]
    assert image.startswith("data:image/png;base64,") and not any("href" in attrs for _, attrs in tags)


def test_a_pipe_and_a_tag_are_escaped():
    t = TextTable("a <b>", ["x|y"], [["1 & 2_3"]])
    assert r"| x\|y |" in t.markdown() and "a &lt;b&gt;" in t.html() and r"1 \& 2\_3" in t.latex()
    odd = TextTable("p", ["x"], [[r"<0.001 ^(Myo\d+) {~}"]]).latex()
    assert r"$<$0.001 \textasciicircum{}(Myo\textbackslash{}d+) \{\textasciitilde{}\}" in odd


def test_durations_are_written_as_in_the_paper():
    assert [duration(s) for s in (5084, 63, 4.25)] == ["1h 24m 44s", "1m 03s", "4.2s"]
    assert [shown_p(p) for p in (0.0123, 1e-5, math.nan)] == ["0.012", "<0.001", "–"]
