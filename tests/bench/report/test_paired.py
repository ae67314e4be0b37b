"""Paired differences and their report, against scipy and by hand."""

import csv
import math

import pytest
from scipy import stats

from dedl_fastai.bench.report.paired import paired_difference, summarise, write_report


def row(arm, seed, iou, **more):
    cost = {"train_seconds": 10.0, "peak_mb": 500, "app_grad_ratio": 0.0, "otsu_iou": 0.5}
    return {"arm": arm, "seed": seed, "iou": iou, "iou_at_0.5": iou - 0.01, **cost, **more}


ROWS = [
    *(row("none", s, v) for s, v in ((1, 0.80), (2, 0.82), (3, 0.81))),
    *(row("gelu", s, v, train_seconds=12.0, app_grad_ratio=0.1) for s, v in ((1, 0.81), (2, 0.85), (3, 0.81))),
]


def test_difference_is_students_t_on_pairs():
    a, b = [0.81, 0.85, 0.81], [0.80, 0.82, 0.81]
    ours, theirs = paired_difference(a, b), stats.ttest_rel(a, b)
    low, high = theirs.confidence_interval(0.95)
    assert (ours["low"], ours["high"], ours["p"]) == pytest.approx((low, high, theirs.pvalue))
    assert ours["mean"] == pytest.approx(0.04 / 3)


def test_a_single_pair_has_no_interval():
    d = paired_difference([0.5], [0.4])
    assert d["mean"] == pytest.approx(0.1) and math.isnan(d["low"])


def test_summary_pairs_by_seed_and_takes_ratios():
    none, gelu = summarise(ROWS)
    assert none["iou"] == pytest.approx(0.81) and none["iou_difference"]["mean"] == 0
    assert gelu["train_seconds_ratio"] == pytest.approx(1.2) and gelu["peak_mb_ratio"] == 1
    assert gelu["iou_difference"]["n"] == 3


def test_missing_runs_are_left_out_of_pairs():
    gelu = summarise(ROWS[:-1])[1]
    assert gelu["runs"] == 2 and gelu["iou_difference"]["mean"] == pytest.approx(0.02)


def test_report_is_table_csv_and_figure(tmp_path):
    text = write_report(ROWS, tmp_path)
    assert "| gelu | 3 | 0.8233 ± 0.0231 | +0.0133 [" in text
    assert "Otsu: 0.5000. Seeds: 1, 2, 3." in text
    with (tmp_path / "report.csv").open() as f:
        assert len(list(csv.DictReader(f))) == 6
    assert (tmp_path / "report.png").stat().st_size > 5000


def test_an_arm_without_a_common_seed_is_named_and_left_out(tmp_path):
    rows = [*ROWS, row("relu", 9, 0.9)]
    assert [line["arm"] for line in summarise(rows)] == ["none", "gelu"]
    text = write_report(rows, tmp_path)
    assert "relu has no seed in common with none: it is left out." in text and "| relu |" not in text


def test_without_a_finished_baseline_the_report_says_so(tmp_path):
    rows = [r for r in ROWS if r["arm"] != "none"]
    assert summarise(rows) == []
    text = write_report(rows, tmp_path)
    assert "none has no finished run: there is nothing to compare the others (gelu) with." in text
    assert len((tmp_path / "report.csv").read_text().splitlines()) == 1 + 3
    assert (tmp_path / "report.png").exists()


def test_costs_that_were_not_measured_are_left_out_of_ratios_and_empty_in_the_table(tmp_path):
    def without(r, *names):
        return {k: v for k, v in r.items() if k not in names}

    some = [without(ROWS[0], "peak_mb"), *ROWS[1:3], *({**r, "peak_mb": 750, "peak_gpu_mb": 9} for r in ROWS[3:])]
    assert summarise(some)[1]["peak_mb_ratio"] == 1.5
    write_report(some, tmp_path)
    with (tmp_path / "report.csv").open() as f:
        table = list(csv.DictReader(f))
    assert [r["peak_mb"] for r in table] == ["", "500", "500", "750", "750", "750"]
    assert [r["peak_gpu_mb"] for r in table] == ["", "", "", "9", "9", "9"]
    none = [without(r, "peak_mb") for r in ROWS]
    assert math.isnan(summarise(none)[1]["peak_mb_ratio"])
    assert "| 1.20 |  |" in write_report(none, tmp_path)
