"""`--log`: runs in TensorBoard, MLflow and W&B, killed in an epoch and resumed, off-line."""

import importlib.util
import json
import sys

import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY
from .segmentation.test_training import Killed, kill_after_batches, same

EPOCHS, BATCHES = 2, 5  # of TINY


def options(folder, **changes) -> SegConfig:
    return SegConfig.resolve({**TINY, "epochs": EPOCHS, "data": str(folder), **changes})


@pytest.fixture(scope="module")
def plain(tiny_folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("plain") / "run"
    train_seg(options(tiny_folder), run, bar=False)
    return run


def logged(tool, tiny_folder, plain, run, monkeypatch) -> dict:
    """Train a run with a tracker, killed in the second epoch and resumed, and return its metrics."""
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed: it is in the extra log")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after_batches(patch, BATCHES + 2)
        train_seg(options(tiny_folder, log=tool), run, bar=False)
    metrics = train_seg(options(tiny_folder, log=tool), run, bar=False)
    assert same(read_tensors(plain / "last.safetensors"), read_tensors(run / "last.safetensors"))
    assert metrics == json.loads((plain / "metrics.json").read_text())
    return metrics


def test_tensorboard_shows_each_batch_once(tiny_folder, plain, tmp_path, monkeypatch):
    metrics = logged("tensorboard", tiny_folder, plain, tmp_path / "run", monkeypatch)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    shown.Reload()
    assert [e.step for e in shown.Scalars("train_loss")] == list(range(1, EPOCHS * BATCHES + 1))
    assert [e.step for e in shown.Scalars("iou_tuned")] == [BATCHES, 2 * BATCHES]
    assert shown.Scalars("test/iou")[0].value == pytest.approx(metrics["test"]["iou"])
    assert {"curves", "examples"} <= set(shown.Tags()["images"])
    assert '"epochs": 2' in shown.Tensors("options/text_summary")[0].tensor_proto.string_val[0].decode()


def test_mlflow_has_one_run_with_parameters_metrics_and_figures(tiny_folder, plain, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))  # folders: quicker than a database
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which MLflow 3 asks for
    metrics = logged("mlflow", tiny_folder, plain, tmp_path / "run", monkeypatch)
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("dedl-fastai").experiment_id])
    assert run.info.status == "FINISHED" and run.data.params["epochs"] == "2"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "valid_loss")] == [1, 2]
    assert run.data.metrics["test/iou"] == pytest.approx(metrics["test"]["iou"])
    assert "figures/curves.png" in {f.path for f in client.list_artifacts(run.info.run_id, "figures")}


def test_wandb_works_offline(tiny_folder, plain, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged("wandb", tiny_folder, plain, tmp_path / "run", monkeypatch)
    name = json.loads((tmp_path / "run" / "log.json").read_text())["wandb"]
    files = [p.name for p in (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")]
    assert len(files) == 2 and set(files) == {f"run-{name}.wandb"}  # before and after the interruption, one run


def test_what_is_missing_is_said_before_anything_is_written(tiny_folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="log='x' is unknown; it may be tensorboard, mlflow, wandb"):
        options(tiny_folder, log="x")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match='logs for mlflow need the extra "log"'):
        train_seg(options(tiny_folder, log="mlflow"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
