"""`dedl-fastai export`: files that other programs can use with their metadata, checked before they are kept."""

import json
import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dedl_fastai.cli import app
from dedl_fastai.data import Cohort
from dedl_fastai.inference import load_run
from dedl_fastai.runs import export as export_module
from dedl_fastai.runs.classification.training import train_clf
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig
from dedl_fastai.runs.segmentation.training import train_seg

from ..options import TINY, TINY_CLF


def dedl(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(scope="module")
def cohort(tiny_folder, tmp_path_factory):
    """A copy of the cohort, which a test can move away."""
    return shutil.copytree(tiny_folder, tmp_path_factory.mktemp("export") / "cohort")


@pytest.fixture(scope="module")
def run(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "seg"
    train_seg(SegConfig.resolve({**TINY, "data": str(cohort)}), folder)
    return folder


@pytest.fixture(scope="module")
def clf_run(many_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "clf"
    train_clf(ClfConfig.resolve({**TINY_CLF, "data": str(many_folder)}), folder)
    return folder


def normalised(metadata: dict, pixels: np.ndarray) -> np.ndarray:
    """Scaled pixels as the network needs them, with nothing but the metadata of the file."""
    mean, std = (np.array(metadata[k], dtype=np.float32)[:, None, None] for k in ("mean", "std"))
    return ((pixels - mean) / std)[None]


def onnx_file(file) -> tuple[dict, callable]:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    metadata = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
    return metadata, lambda x: session.run(["probability"], {"pixels": x})[0]


def torch_file(file) -> tuple[dict, callable]:
    extra = {"facts.json": ""}
    program = torch.export.load(file, extra_files=extra).module()
    return json.loads(extra["facts.json"]), lambda x: program(torch.from_numpy(x)).numpy()


OPEN = {"onnx": (onnx_file, "model.onnx"), "torch": (torch_file, "model.pt2")}


@pytest.mark.parametrize("format", OPEN)
def test_a_segmentation_file_can_be_used_with_its_metadata(run, cohort, format):
    pytest.importorskip("onnxruntime")
    result = dedl("export", run, "--format", format)
    assert result.exit_code == 0, result.output
    assert "the run's own fields" in result.stdout and "IoU" in result.stdout
    open_file, name = OPEN[format]
    metadata, predict = open_file(run / "export" / name)
    segmenter = load_run(run, device="cpu")
    assert metadata["channels"] == ["DAPI"] and metadata["classes"] == ["background", "nucleus"]
    assert (metadata["tile"], metadata["threshold"]) == (32, segmenter.threshold)
    assert metadata["scaling"] == segmenter.card["scaling"]
    pixels = segmenter.read(Cohort.load(cohort).table.image[0])[:, :32, :32]
    got = predict(normalised(metadata, pixels))[0]
    np.testing.assert_allclose(got, segmenter.probability(pixels), atol=1e-4)
    assert got.std() > 1e-4


@pytest.mark.parametrize("format", OPEN)
def test_a_classification_file_has_the_classes_and_their_probabilities(clf_run, many_folder, format):
    pytest.importorskip("onnxruntime")
    result = dedl("export", clf_run, "--format", format)
    assert result.exit_code == 0, result.output
    open_file, name = OPEN[format]
    metadata, predict = open_file(clf_run / "export" / name)
    classifier = load_run(clf_run, device="cpu")
    assert metadata["classes"] == classifier.classes and metadata["thresholds"] == classifier.thresholds.tolist()
    pictures = np.random.default_rng(0).random((3, len(metadata["mean"]), 32, 32), dtype=np.float32)
    got = np.concatenate([predict(normalised(metadata, p)) for p in pictures])
    np.testing.assert_allclose(got, classifier.probabilities(pictures), atol=1e-4)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_the_file_holds_no_path_of_this_machine(run, name):
    pytest.importorskip("onnxruntime")
    file = run / "export" / name
    if not file.exists():
        assert dedl("export", run, "--format", "onnx" if name.endswith("onnx") else "torch").exit_code == 0
    assert str(export_module.__file__).rsplit("/", 3)[0].encode() not in file.read_bytes()


def test_weights_target_file_and_fields_can_be_chosen(run, tiny_folder, tmp_path):
    target = tmp_path / "new" / "last.pt2"
    result = dedl("export", run, "--format", "torch", "--which", "last", "--out", target, "--data", tiny_folder)
    assert result.exit_code == 0 and f"fields of {tiny_folder}" in result.stdout
    metadata, _ = torch_file(target)
    assert metadata["weights"] == "last"
    assert [p.name for p in target.parent.iterdir()] == ["last.pt2"]


def test_a_run_whose_fields_are_gone_is_checked_on_noise_and_says_so(run, cohort, tmp_path):
    away = cohort.rename(cohort.with_name("away"))
    try:
        result = dedl("export", run, "--format", "torch", "--out", tmp_path / "model.pt2")
    finally:
        away.rename(cohort)
    assert result.exit_code == 0 and "(noise)" in result.stdout


def test_a_file_that_differs_from_pytorch_is_not_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "TOLERANCE", -1.0)
    target = tmp_path / "out" / "model.pt2"
    result = dedl("export", run, "--format", "torch", "--out", target)
    assert result.exit_code == 2 and "differ from PyTorch" in result.stderr
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--format", "tflite"], "onnx, torch"),
        (["--format", "onnx"], ".onnx"),
        (["--format", "torch", "--which", "swa"], "swa"),
        (["--format", "torch", "--data", "nowhere"], "nowhere"),
    ],
)
def test_an_impossible_export_is_a_user_error(run, tmp_path, flags, says):
    result = dedl("export", run, "--out", tmp_path / "model.pt2", *flags)
    assert result.exit_code == 2 and says in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_corrupted_run_is_a_user_error(run, tmp_path):
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / "best.safetensors").write_bytes(b"no weights")
    result = dedl("export", broken)
    assert result.exit_code == 2 and "best.safetensors" in result.stderr
    assert dedl("export", tmp_path / "nothing").exit_code == 2
