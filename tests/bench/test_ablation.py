"""The ablation: arms that differ in APP alone, each in its own process, kept when it is run again."""

import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.ablation import ARMS, run_ablation
from dedl_fastai.cli import app
from dedl_fastai.errors import UserError

from ..options import TINY, as_flags


def test_two_arms_are_paired_and_not_repeated(tiny_folder, tmp_path):
    options = {**TINY, "data": str(tiny_folder), "epochs": 2, "app_width": 96}
    flags = [*as_flags(options), "--rows", "gelu", "--seeds", "5", "--out", str(tmp_path / "grid")]
    result = CliRunner().invoke(app, ["bench", "run", "app-ablation", *flags])
    assert result.exit_code == 0, result.output
    assert "| gelu | 1 |" in result.stdout
    configs = [json.loads((tmp_path / "grid" / f"{arm}-seed5" / "config.json").read_text()) for arm in ("none", "gelu")]
    assert {k for k in configs[0] if configs[0][k] != configs[1][k]} == {"app"}
    splits = [(tmp_path / "grid" / f"{arm}-seed5" / "splits.json").read_text() for arm in ("none", "gelu")]
    assert splits[0] == splits[1]
    weights = tmp_path / "grid" / "gelu-seed5" / "best.safetensors"
    before = weights.stat().st_mtime_ns
    rows, failed = run_ablation({**options, "data": str(tiny_folder)}, [5], tmp_path / "grid", ["gelu"])
    assert weights.stat().st_mtime_ns == before and not failed
    assert [r["arm"] for r in rows] == ["none", "gelu"] and all(r["peak_mb"] > 100 for r in rows)
    assert rows[0]["app_grad_ratio"] == 0 and rows[1]["app_grad_ratio"] > 0


def test_unknown_arm_and_table_are_user_errors(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="gelu-cosine"):
        run_ablation({**TINY, "data": str(tiny_folder)}, [1], tmp_path / "grid", ["tanh"])
    assert not (tmp_path / "grid").exists()
    assert CliRunner().invoke(app, ["bench", "run", "table99"]).exit_code == 2


def test_arms_cover_activation_schedule_and_weight():
    assert {a.get("app") for a in ARMS.values()} == {"none", "gelu", "relu"}
    assert any(a.get("app_schedule") == "cosine" for a in ARMS.values())
    assert any(a.get("app_released") for a in ARMS.values()) and any("app_weight" in a for a in ARMS.values())
