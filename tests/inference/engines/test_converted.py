"""Networks of runs are converted once per machine, and used without the libraries that build them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dedl_fastai.inference.engines import portable
from dedl_fastai.inference.load import load_segmenter
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.models.weights import write_tensors

from ..fields import CARD

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
TILES = np.random.default_rng(3).random((2, 1, 32, 32), dtype=np.float32)
PREDICT = """
import sys
import numpy as np
from dedl_fastai.inference.load import load_segmenter
segmenter = load_segmenter(sys.argv[1], engine="onnx", device="cpu")
np.save(sys.argv[2], segmenter.predict_tiles(np.load(sys.argv[3])))
print(*{"timm", "segmentation_models_pytorch", "torchvision", "torch._dynamo"} & set(sys.modules))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder that can predict, and an empty cache."""
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "cache"))
    spec = SegSpec("unet", "tu-test_resnet", depth=2, decoder_channels=(16, 16))
    folder = tmp_path / "run"
    write_tensors(folder / "best.safetensors", create_seg_model(spec, "none", 32).state_dict())
    card = {**CARD, "format": 1, "task": "segmentation", "network": spec.to_dict(), "tile": 32}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def conversions(monkeypatch):
    """The conversions that are made."""
    made = []
    convert = portable.onnx_bytes

    def onnx_bytes(program):
        made.append(program)
        return convert(program)

    monkeypatch.setattr(portable, "onnx_bytes", onnx_bytes)
    return made


def predicted(run, engine="onnx"):
    return load_segmenter(run, engine=engine, device="cpu").predict_tiles(TILES)


def test_a_run_is_converted_once_and_again_for_other_weights(run, conversions):
    first, again = predicted(run), predicted(run)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, predicted(run, "torch"), atol=1e-4)
    assert len(conversions) == 1
    segmenter = load_segmenter(run)
    changed = {n: t * 1.5 if t.is_floating_point() else t for n, t in segmenter.model.state_dict().items()}
    write_tensors(run / "best.safetensors", changed)
    assert np.abs(predicted(run) - first).max() > 1e-3 and len(conversions) == 2


def test_a_cache_that_cannot_be_written_costs_time_alone(run, conversions, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "file"))
    np.testing.assert_array_equal(predicted(run), predicted(run))
    assert len(conversions) == 2 and "the converted network is not kept" in caplog.text


def test_a_converted_run_predicts_without_the_libraries_of_networks(run, tmp_path):
    first = predicted(run)
    np.save(tmp_path / "tiles.npy", TILES)
    files = [str(path) for path in (run, tmp_path / "out.npy", tmp_path / "tiles.npy")]
    done = subprocess.run([sys.executable, "-c", PREDICT, *files], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), first)
