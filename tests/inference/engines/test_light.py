"""Networks of runs are kept as PyTorch's operators, and predict without the libraries that build them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.inference import Segmenter
from dedl_fastai.inference.engines import light
from dedl_fastai.inference.engines.light import FILE, light_network, written_operators
from dedl_fastai.inference.engines.operators import network_of
from dedl_fastai.inference.load import load_segmenter
from dedl_fastai.models.weights import write_tensors
from dedl_fastai.runs.packing import pack_run
from dedl_fastai.training.run_folder import RunFolder
from dedl_fastai.training.stored_network import StoredNetwork

from .stored_runs import predicted_elsewhere, run_of

SHAPE = (1, 32, 32)
TILES = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def builds(monkeypatch):
    """The networks that are built layer by layer."""
    built = []
    build = StoredNetwork.__call__
    monkeypatch.setattr(StoredNetwork, "__call__", lambda stored: built.append(stored) or build(stored))
    return built


def stored(run):
    return StoredNetwork.of(RunFolder.at(run))


@torch.inference_mode()
def logits(network):
    return network(TILES.to(memory_format=torch.channels_last))


def test_a_network_is_built_once_and_later_commands_do_without_the_libraries_of_networks(run, builds, tmp_path):
    first = load_segmenter(run, device="cpu").predict_tiles(TILES.numpy())
    assert len(builds) == 1
    np.testing.assert_array_equal(load_segmenter(run, device="cpu").predict_tiles(TILES.numpy()), first)
    assert len(builds) == 1
    later, imported = predicted_elsewhere(run, "torch", TILES.numpy(), tmp_path)
    assert imported == []
    np.testing.assert_array_equal(later, first)


def test_runs_with_the_same_layers_share_the_operators_and_have_their_own_weights(run, builds, tmp_path):
    light_network(stored(run), SHAPE)
    other = stored(run_of(tmp_path / "other", seed=1))
    network = light_network(other, SHAPE)
    assert len(builds) == 1
    assert torch.equal(logits(network), logits(other()))
    assert not torch.equal(logits(network), logits(stored(run)()))


def damaged(whole):
    """Files that are cut, of another kind, or have another number in an operator."""
    yield from (
        b"",
        b"{}",
        b"[]",
        b"\xff",
        whole[: len(whole) // 2],
        b'{"sha256": "", "network": {"shape": [1, 32, 32]}}',
    )
    kept = json.loads(whole)
    name, target, args, kwargs = kept["network"]["operators"][-1]
    kept["network"]["operators"].append([f"{name}_again", target, args, kwargs])
    yield json.dumps(kept).encode()


def test_a_damaged_file_in_the_cache_is_replaced(run, builds, tmp_path):
    expected = logits(light_network(stored(run), SHAPE))
    (kept,) = (tmp_path / "cache" / "networks").iterdir()
    whole = kept.read_bytes()
    for n, data in enumerate(damaged(whole), 2):
        kept.write_bytes(data)
        assert torch.equal(logits(light_network(stored(run), SHAPE)), expected)
        assert kept.read_bytes() == whole and len(builds) == n


def test_a_network_that_is_not_made_of_plain_operators_is_built_each_time(run, builds, tmp_path, monkeypatch):
    monkeypatch.setattr(light, "operators_of", lambda program: None)
    assert torch.equal(logits(light_network(stored(run), SHAPE)), logits(light_network(stored(run), SHAPE)))
    assert len(builds) == 2 and not (tmp_path / "cache").exists()


class Exported(nn.Module):
    """A network whose export computes something else than the network itself."""

    def forward(self, x):
        return x * 2 if torch.compiler.is_compiling() else x * 3


class Counting(nn.Module):
    """A network with an operator that is not PyTorch's own."""

    def forward(self, x):
        return x * (x.shape[0] + 1)


@pytest.mark.parametrize("network", [Exported(), Counting()])
def test_operators_that_would_compute_something_else_are_not_kept(network):
    assert written_operators(network, {}, SHAPE) is None


def test_only_operators_of_pytorch_are_run():
    for target in ("os.system.default", "aten.no_such_operator.default", "system"):
        written = {"input": "x", "tensors": {}, "operators": [["y", target, [], {}]], "output": {"result of": "y"}}
        with pytest.raises((AttributeError, ValueError)):
            network_of(written, {})


def test_weights_of_another_network_are_refused(run):
    light_network(stored(run), SHAPE)
    write_tensors(run / "best.safetensors", {"weight": torch.zeros(3)})
    with pytest.raises(UserError, match="does not fit the model"):
        load_segmenter(run)


def test_the_packaged_model_needs_no_library_of_networks(tmp_path, monkeypatch):
    monkeypatch.setenv("DEDL_CACHE", str(tmp_path / "cache"))
    model = Segmenter.nuclei()
    tiles = torch.rand(3, 1, model.tile, model.tile, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        light, built = light_network(model.source, tuple(tiles.shape[1:])), model.source()
        assert torch.equal(light(tiles), built(tiles))
    assert not (tmp_path / "cache").exists()


def test_a_packed_run_has_its_operators_for_its_own_layers_and_tile_alone(run, builds, tmp_path):
    pack_run(run, tmp_path / "packed")
    assert (tmp_path / "packed" / FILE).is_file()
    builds.clear()
    light_network(stored(tmp_path / "packed"), SHAPE)
    assert not builds
    card = json.loads((tmp_path / "packed" / "model.json").read_text())
    card["network"]["decoder_channels"] = [32, 16]
    (tmp_path / "other").mkdir()
    for name in (FILE, "best.safetensors"):
        (tmp_path / "other" / name).write_bytes((tmp_path / "packed" / name).read_bytes())
    (tmp_path / "other" / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match="does not fit the model"):
        light_network(stored(tmp_path / "other"), SHAPE)
    builds.clear()
    larger = light_network(stored(tmp_path / "packed"), (1, 64, 64))
    assert builds and larger(torch.zeros(1, 1, 64, 64)).shape[-2:] == (64, 64)
