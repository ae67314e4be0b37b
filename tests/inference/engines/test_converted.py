"""Networks of runs are converted once per machine, and used without the libraries that build them."""

import itertools

import numpy as np
import pytest

from dedl_fastai.inference.engines import portable
from dedl_fastai.inference.engines.converted import converted_network
from dedl_fastai.inference.load import load_segmenter
from dedl_fastai.models.weights import write_tensors
from dedl_fastai.training.run_folder import RunFolder
from dedl_fastai.training.stored_network import StoredNetwork

from .stored_runs import predicted_elsewhere

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
TILES = np.random.default_rng(3).random((2, 1, 32, 32), dtype=np.float32)


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
    later, imported = predicted_elsewhere(run, "onnx", TILES, tmp_path)
    assert imported == []
    np.testing.assert_array_equal(later, first)


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
