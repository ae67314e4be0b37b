"""`bench engines`: its reports of engines that run and of those that do not. Speeds are not tested."""

import importlib
import json

import pytest
from typer.testing import CliRunner

from dedl_fastai.bench.speed import engines as bench_engines
from dedl_fastai.bench.speed.engines import engine_speed
from dedl_fastai.cli import app
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ...options import TINY


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch):
    """Leave out `torch compile`, which takes a minute."""
    kept = {name: how for name, how in bench_engines.VARIANTS.items() if name != "torch compile"}
    monkeypatch.setattr(bench_engines, "VARIANTS", kept)


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def test_every_engine_is_measured_or_says_why_not(monkeypatch):
    import_any = importlib.import_module

    def import_module(module, *args):
        if module == "openvino":
            raise ImportError(module)
        return import_any(module, *args)

    monkeypatch.setattr("dedl_fastai.extras.importlib.import_module", import_module)
    found = engine_speed("unet", "tu-test_resnet", (16, 16), tile=32, bs=2, rounds=1, device="cpu")
    measured, failed = found["tiles_per_second"], found["failed"]
    assert measured.keys() | failed.keys() == bench_engines.VARIANTS.keys() and not measured.keys() & failed.keys()
    assert "dedl-fastai[engines]" in failed["openvino"]
    assert found["over_torch"]["torch"] == 1 and found["max_difference"]["torch"] == 0
    assert found["max_difference"]["torch channels_last"] < 1e-4
    assert found["fastest"] in measured and found["iou_difference"] == {}


def test_a_run_is_measured_on_its_own_fields_with_the_difference_in_iou(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_engines, "VARIANTS", {n: bench_engines.VARIANTS[n] for n in ("torch", "torch bf16")})
    train_seg(SegConfig.resolve({**TINY, "data": str(tiny_folder)}), tmp_path / "run")
    result = dedl("bench", "engines", "--run", tmp_path / "run", "--bs", 3, "--rounds", 1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["tiles"], found["tile"], found["bs"]) == ("the run's own fields", 32, 3)
    assert found["iou_difference"].keys() == found["tiles_per_second"].keys() == {"torch", "torch bf16"}
    assert found["iou_difference"]["torch"] == 0
