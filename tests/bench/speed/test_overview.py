"""The measurements run and report what they should. Speeds are not tested."""

import json

import pytest
import torch
from typer.testing import CliRunner

from dedl_fastai.bench.speed.app_cost import app_cost
from dedl_fastai.bench.speed.loader import loader_speed
from dedl_fastai.bench.speed.overview import TRAINING, speed_lines, training_speed
from dedl_fastai.bench.speed.step import step_cost
from dedl_fastai.cli import app


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure memory in this process: `test_slide` measures in a process of its own, which takes seconds to start."""
    for module in ("app_cost", "loader"):
        monkeypatch.setattr(f"dedl_fastai.bench.speed.{module}.in_own_process", lambda function, *args: function(*args))


def test_loader_reads_every_tile_in_each_way(in_this_process):
    found = loader_speed(fields=1, size=(96, 128), tile=32, bs=4)
    assert found["tiles"] == 12
    assert set(found["seconds"]) == {"cache", "cache_first", "decode", "npy", "npy_first"}
    assert found["decode_over_cache"] > 1
    assert all(mb > 10 for mb in found["peak_mb"].values())


def test_step_times_both_loops_over_the_same_model():
    found = step_cost(encoder="tu-test_resnet", decoder=(16, 16, 16), tile=32, bs=2, steps=1, rounds=1, device="cpu")
    assert found["learner_over_bare"] > 0 and set(found["seconds"]) == {"learner", "bare"}
    assert found["tiles_per_second"]["bare"] > 0


def test_app_costs_time_and_memory(in_this_process):
    small = dict(decoder=(16, 16, 16), tile=32, bs=2, rounds=1, device="cpu")
    found = app_cost("unet", "tu-test_resnet", **small, rows=(1.0,))
    assert found["seconds"].keys() == found["peak_mb"].keys() == {"none", "rows 1"}
    assert found["time_over_none"]["none"] == found["memory_over_none"]["none"] == 1
    assert all(mb > 100 for mb in found["peak_mb"].values())


def test_speed_reports_variants_that_run_and_why_one_cannot(monkeypatch):
    def no_compiler(self):
        raise RuntimeError("no C++ compiler\nand more")

    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    small = dict(tile=32, bs=2, steps=1, rounds=1, device="cpu")
    variants = ["fp32", "channels_last", "bf16", "compile"]
    found = training_speed("unet", "tu-test_resnet", (16, 16, 16), **small, variants=variants)
    assert set(found["tiles_per_second"]) == {"fp32", "channels_last", "bf16"} < set(TRAINING)
    assert found["over_fp32"]["fp32"] == 1 and found["tiles_per_second"]["fp32"] > 0
    assert found["failed"] == {"compile": "RuntimeError: no C++ compiler"}


def test_speed_is_compared_with_an_earlier_file():
    now = {"hardware": "2 CPU threads", "tile": 32, "bs": 2, "cpus": 2, "versions": {"torch": "2"}}
    now["models"] = {"unet/resnet18": {"train": {"tiles_per_second": {"fp32": 30.0}}}}
    lines = speed_lines(now, now | {"models": {"unet/resnet18": {"train": {"tiles_per_second": {"fp32": 20.0}}}}})
    assert "| unet/resnet18, train, tiles_per_second, fp32 | 30 | 20 | 1.50 |" in lines
    assert not any("Not the same" in line for line in lines)
    changed = speed_lines(now, now | {"hardware": "a GPU", "versions": {"torch": "1"}})
    assert changed[-1] == "Not the same in both: hardware, torch (1 then, 2 now)."
    assert speed_lines(now)[-1] == "| unet/resnet18, train, tiles_per_second, fp32 | 30 |"


def test_bench_speed_writes_its_numbers_and_refuses_unknown_arguments(tmp_path):
    run = CliRunner().invoke
    file = tmp_path / "speed.json"
    small = ["--models", "unet/tu-test_resnet", "--decoder", "16,16,16", "--tile", "32", "--bs", "2", "--rounds", "1"]
    small += ["--device", "cpu", "--parts", "app", "--out", str(file)]
    first = run(app, ["bench", "speed", *small])
    assert first.exit_code == 0, first.output
    ratio = json.loads(file.read_text())["models"]["unet/tu-test_resnet"]["app_time_over_none"]
    assert ratio["none"] == 1
    before = file.read_bytes()
    again = run(app, ["bench", "speed", *small, "--against", str(file), "--out", str(tmp_path / "again.json")])
    assert again.exit_code == 0 and "here / before" in again.output
    link = tmp_path / "link.json"
    link.symlink_to(file)
    for same in (file, link):
        refused = run(app, ["bench", "speed", *small, "--against", str(same)])
        assert refused.exit_code == 2 and "another --out" in " ".join(refused.output.split())
    assert file.read_bytes() == before
    (tmp_path / "list.json").write_text("[1]")
    none, other = str(tmp_path / "none.json"), str(tmp_path / "list.json")
    for wrong in (
        *(["--parts", "train,fun"], ["--models", "unet"], ["--rounds", "0"]),
        *(["--against", none], ["--against", other]),
    ):
        refused = run(app, ["bench", "speed", *small, *wrong])
        assert refused.exit_code == 2 and wrong[0] in refused.output
