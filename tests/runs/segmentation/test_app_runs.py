"""Runs with APP: they resume exactly, and neither saved models nor predictions depend on APP."""

import csv
import json
import subprocess
import sys

import pytest
import torch

from dedl_fastai.errors import UserError
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ...options import TINY
from .test_training import Killed, kill_after_batches, same, weights

APP = {"app": "gelu", "app_width": 96}


def options(folder, **changes) -> SegConfig:
    return SegConfig.resolve({**TINY, "data": str(folder), **APP, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"app": "relu", "app_schedule": "cosine", "app_rows": 1.0, "accumulate": 3, "clip": 0.5},
        {"app_released": True, "app": "relu"},
        {"amp": "bf16", "app_weight": "0.3", "workers": 2},
    ],
    ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items()) or "defaults",
)
def test_resumed_equals_uninterrupted(tiny_folder, tmp_path, monkeypatch, changes):
    settings = options(tiny_folder, **changes)
    train_seg(settings, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, 12)
        train_seg(settings, tmp_path / "killed")
    train_seg(settings, tmp_path / "killed")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    columns = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader((run / "history.csv").open())]
        for run in (tmp_path / "whole", tmp_path / "killed")
    ]
    assert columns[0] == columns[1]
    assert {"app_loss", "app_grad_ratio", "app_weight"} <= columns[0][0].keys()


def test_model_files_with_and_without_app_have_the_same_keys_shapes_and_size(tiny_folder, tmp_path):
    train_seg(options(tiny_folder, epochs=1), tmp_path / "with")
    train_seg(options(tiny_folder, epochs=1, app="none"), tmp_path / "without")
    a, b = (read_tensors(tmp_path / run / "best.safetensors") for run in ("with", "without"))
    assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    assert any(not torch.equal(a[k], b[k]) for k in a)
    sizes = [(tmp_path / run / "best.safetensors").stat().st_size for run in ("with", "without")]
    assert sizes[0] == sizes[1]
    cards = [json.loads((tmp_path / run / "model.json").read_text()) for run in ("with", "without")]
    assert cards[0]["network"] == cards[1]["network"]
    assert {p.name for p in (tmp_path / "with").iterdir()} == {p.name for p in (tmp_path / "without").iterdir()}


def test_evaluate_and_load_run_do_not_import_app(tiny_folder, tmp_path):
    train_seg(options(tiny_folder, epochs=1), tmp_path / "run")
    code = (
        "import sys; from dedl_fastai.runs.evaluation import evaluate_run; "
        f"evaluate_run({str(tmp_path / 'run')!r}); "
        "print([m for m in sys.modules if m.startswith('dedl_fastai.training.segmentation.app')])"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip().splitlines()[-1] == "[]"


def test_app_released_needs_app(tiny_folder):
    with pytest.raises(UserError, match="app=relu"):
        options(tiny_folder, app="none", app_released=True)


def test_early_stopping_with_app_restores_the_best(tiny_folder, tmp_path):
    train_seg(options(tiny_folder, epochs=20, patience=2, lr=1e-8, lr_min=1e-8), tmp_path / "run")
    with (tmp_path / "run" / "history.csv").open() as f:
        rows = list(csv.DictReader(f))
    iou = [float(r["iou_tuned"]) for r in rows]
    assert len(rows) < 20 and len(rows) - 1 - iou.index(max(iou)) == 2
    assert all(float(r["app_loss"]) > 0 for r in rows)
