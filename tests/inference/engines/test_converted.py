"""Networks of runs are converted once per machine, and used without the libraries that build them."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from dedl_fastai.inference.engines import portable
from dedl_fastai.inference.engines.converted import converted_network
from dedl_fastai.inference.load import load_segmenter
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.models.weights import write_tensors
from dedl_fastai.training.run_folder import RunFolder
from dedl_fastai.training.stored_network import StoredNetwork

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


def test_a_run_is_converted_once_and_then_used_without_the_libraries_of_networks(run, conversions, tmp_path):
    first = predicted(run)
    np.testing.assert_array_equal(predicted(run), first)
    np.testing.assert_allclose(predicted(run, "torch"), first, atol=1e-4)
    assert len(conversions) == 1
    np.save(tmp_path / "tiles.npy", TILES)
    files = [str(path) for path in (run, tmp_path / "out.npy", tmp_path / "tiles.npy")]
    done = subprocess.run([sys.executable, "-c", PREDICT, *files], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), first)


def converted(run):
    return converted_network(StoredNetwork.of(RunFolder.existing(run)), (1, 32, 32))


@pytest.fixture
def numbered(monkeypatch):
    """Conversions that give a number, in no time."""
    numbers = itertools.count()
    monkeypatch.setattr(portable, "exported_program", lambda network, shape: None)
    monkeypatch.setattr(portable, "onnx_bytes", lambda program: b"%d" % next(numbers))


def test_other_weights_are_converted_again(run, numbered):
    assert [converted(run), converted(run)] == [b"0", b"0"]
    tensors = StoredNetwork.of(RunFolder.existing(run)).tensors()
    write_tensors(run / "best.safetensors", {n: t + 1 if t.is_floating_point() else t for n, t in tensors.items()})
    assert [converted(run), converted(run)] == [b"1", b"1"]


def test_a_cache_that_cannot_be_written_costs_time_alone(run, numbered, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "file"))
    assert [converted(run), converted(run)] == [b"0", b"1"]
    assert "the converted network is not kept" in caplog.text
