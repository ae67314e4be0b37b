"""`dedl-fastai bench list`: all tables, the rows of one, without and with hours."""

import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.paper import costs
from dedl_fastai.cli import app


def listed(*args):
    result = CliRunner().invoke(app, ["bench", "list", *args])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_table_has_a_line_with_cells_and_runs():
    lines = [line.split() for line in listed("--no-time").splitlines()]
    found = {words[0]: words[-2:] for words in lines if words and words[0].startswith("table") and len(words) > 3}
    assert list(found) == [f"table{n}" for n in range(1, 14)]
    assert found["table2"] == ["24", "120"] and found["table4"] == ["29", "870"]
    (prior,), (ablation,) = ([words for words in lines if words[:1] == [name]] for name in ("prior", "app-ablation"))
    assert prior[-2:] == ["2", "5"] and ablation[-2:] == ["24", "40"]
    assert ["all", "311", "2270"] in lines  # four arms of the ablation share the runs of tables 2 and 3


def test_rows_of_a_table_show_published_values_and_notes():
    text = listed("table9", "--no-time")
    row = next(line for line in text.splitlines() if line.startswith("efficientnet-b3"))
    assert row.split() == ["efficientnet-b3", "0.3982", "±", "0.0007", "0.2411", "±", "0.0004", "10"]
    assert "- B4 without APP is 0.3826 here and 0.3819 in table 12" in text


@pytest.mark.parametrize("table", [*(f"table{n}" for n in range(1, 14)), "prior", "app-ablation", ""])
def test_lines_fit_into_100_columns(table, monkeypatch):
    monkeypatch.setattr(costs, "measure_speed", lambda device: costs.Speed(0.03, "2 CPU threads"))
    text = listed(*filter(None, [table]))
    assert max(map(len, text.splitlines())) <= 100
    assert "estimate" in text and "hours" in text


def test_hours_of_a_table_are_those_of_its_rows(monkeypatch):
    monkeypatch.setattr(costs, "measure_speed", lambda device: costs.Speed(0.03, "2 CPU threads"))
    rows = [line.split() for line in listed("table6").splitlines() if line.startswith("resnet")]
    total = next(line.split() for line in listed().splitlines() if line.startswith("table6 "))
    assert sum(float(r[-1]) for r in rows) == pytest.approx(float(total[-1]), abs=0.3)


def test_quoted_rows_say_why_they_have_no_run():
    text = listed("table5", "--no-time")
    assert next(line for line in text.splitlines() if line.startswith("vanburen ")).split()[-2:] == ["0.63", "-"]
    assert "vanburen: no run" in text


def test_the_ablation_is_listed_by_arms_with_its_metrics():
    text = listed("app-ablation", "--no-time")
    rows = [line.split() for line in text.splitlines() if line.startswith(("none", "gelu", "released"))]
    assert [r for r in rows if len(r) == 2] == [
        [arm, "5"] for arm in ("none", "gelu", "gelu-cosine", "gelu-fixed", "released")
    ]
    assert "test.iou, test.at_0.5.iou, history.app_grad_ratio" in " ".join(text.split())
    about = json.loads(listed("app-ablation", "--no-time", "--json"))[0]
    assert about["baseline"] == "none" and about["rows"][0]["cells"][0]["value"] is None


def test_json_holds_everything():
    table = json.loads(listed("table1", "--no-time", "--json"))[0]
    assert "baseline" not in table
    assert table["runs"] == 40 and table["hours_estimate"] is None
    assert table["rows"][0]["cells"][1] == {
        "column": "With APP",
        "printed": "1h 27m 40s",
        "value": 5260.0,
        "sd": None,
        "unit": "s",
        "task": "seg",
        "options": {"encoder": "resnet18", "arch": "unet", "patience": 0, "app": "gelu"},
        "metric": "train_seconds",
        "seeds": [26, 77, 334, 517, 994],
        "folds": 0,
        "why_not": "",
    }


def test_unknown_table_is_a_user_error():
    result = CliRunner().invoke(app, ["bench", "list", "table99"])
    assert result.exit_code == 2 and "table13" in result.stderr
