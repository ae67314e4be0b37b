"""The ablation: arms that differ in APP alone, each in its own process, kept when it is run again."""

import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.grid.ablation import ARMS, plan_ablation, run_ablation
from dedl_fastai.cli import app
from dedl_fastai.errors import UserError
from dedl_fastai.runs.cohort import load_split_cohort
from dedl_fastai.runs.options.seg import SegConfig

from ...options import TINY, as_flags


def only(paths):
    """The one path there is."""
    (path,) = paths
    return path


def test_two_arms_are_paired_and_not_repeated(tiny_folder, tmp_path):
    options, grid = {**TINY, "data": str(tiny_folder), "epochs": 2, "app_width": 96}, tmp_path / "grid"
    flags = [*as_flags(options), "--rows", "gelu", "--seeds", "5", "--out", str(grid)]
    result = CliRunner().invoke(app, ["bench", "run", "app-ablation", *flags])
    assert result.exit_code == 0, result.output
    assert "| gelu | 1 |" in result.stdout
    folders = [only(grid.glob(f"{arm}-seg-*-s5-*")) for arm in ("none", "gelu")]
    configs = [json.loads((folder / "config.json").read_text()) for folder in folders]
    assert {k for k in configs[0] if configs[0][k] != configs[1][k]} == {"app", "app_width"}  # idle without APP
    splits = [(folder / "splits.json").read_text() for folder in folders]
    assert splits[0] == splits[1]
    weights = folders[1] / "best.safetensors"
    before = weights.stat().st_mtime_ns
    rows, failed = run_ablation({**options, "data": str(tiny_folder)}, [5], grid, ["gelu"])
    assert weights.stat().st_mtime_ns == before and not failed
    assert [r["arm"] for r in rows] == ["none", "gelu"] and all(r["peak_mb"] > 100 for r in rows)
    assert rows[0]["app_grad_ratio"] == 0 and rows[1]["app_grad_ratio"] > 0
    run_ablation({**options, "epochs": 1}, [5], grid, ["none"])
    other = only(set(grid.glob("none-*")) - {folders[0]})
    assert len((other / "history.csv").read_text().splitlines()) == 1 + 1


def test_other_options_fields_or_split_are_other_runs(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder)}
    seen = set()
    for changes in ({}, {"epochs": 9}, {"limit_fields": 4}, {"split": "random"}):
        runs = plan_ablation({**given, **changes}, [5, 6], tmp_path, ["none", "relu", "released"])
        assert list(runs) == [(arm, seed) for seed in (5, 6) for arm in ("none", "relu", "released")]
        folders = {run.folder for run in runs.values()}
        assert len(folders) == 6 and not folders & seen
        seen |= folders
    again = plan_ablation({**given, "workers": 1}, [5, 6], tmp_path, ["none"])
    assert {run.folder for run in again.values()} <= seen


def test_the_split_is_of_the_option_seed_whatever_the_seeds(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder), "split": "random"}
    splits = {
        what: only({r.options["splits"] for r in plan_ablation({**given, **seed}, seeds, tmp_path, ["none"]).values()})
        for what, seed, seeds in [("first", {}, [1, 2]), ("turned", {}, [2, 1]), ("other", {"seed": 4}, [1, 2])]
    }
    assert splits["first"] == splits["turned"] != splits["other"]


@pytest.mark.parametrize("flag", [{"app": "gelu"}, {"app_released": True}])
def test_what_the_arms_differ_in_is_no_option(tiny_folder, tmp_path, flag):
    with pytest.raises(UserError, match="choose arms with --rows"):
        plan_ablation({**TINY, "data": str(tiny_folder), **flag}, [1], tmp_path / "grid")
    assert not (tmp_path / "grid").exists()


def test_fields_are_limited_once(tiny_folder, tmp_path):
    given = {**TINY, "data": str(tiny_folder), "limit_fields": 4, "seed": 5}
    runs = plan_ablation(given, [5, 6], tmp_path, ["none"])
    wanted = load_split_cohort(SegConfig.resolve(given)).table
    assert set(wanted.split) == {"train", "valid", "test"} and len(wanted) == 4
    for run in runs.values():
        table = load_split_cohort(SegConfig.resolve(run.options)).table
        assert dict(zip(table.field, table.split, strict=True)) == dict(zip(wanted.field, wanted.split, strict=True))


def test_unknown_arm_and_table_are_user_errors(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="gelu-cosine"):
        run_ablation({**TINY, "data": str(tiny_folder)}, [1], tmp_path / "grid", ["tanh"])
    assert not (tmp_path / "grid").exists()
    assert CliRunner().invoke(app, ["bench", "run", "table99"]).exit_code == 2


def test_arms_cover_activation_schedule_and_weight():
    assert {a.get("app") for a in ARMS.values()} == {"none", "gelu", "relu"}
    assert any(a.get("app_schedule") == "cosine" for a in ARMS.values())
    assert any(a.get("app_released") for a in ARMS.values()) and any("app_weight" in a for a in ARMS.values())
