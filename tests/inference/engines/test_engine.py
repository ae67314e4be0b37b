"""Engines agree with PyTorch, take any batch, continue when memory runs out, and refuse unsupported options."""

import importlib
import logging
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from dedl_fastai.errors import UserError
from dedl_fastai.inference.engines.engine import ENGINES, Engine, TorchEngine, make_engine
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.scores.agreement import Agreement

NEEDS = {"torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
UNET, UNETPLUSPLUS = ("unet", "tu-test_resnet"), ("unetplusplus", "tu-test_efficientnet")
ON_ENGINES = [("torch", *UNET), ("torch", *UNETPLUSPLUS), ("onnx", *UNET), ("openvino", *UNETPLUSPLUS)]


def need(engine: str) -> None:
    for package in NEEDS[engine]:
        pytest.importorskip(package)


def network(arch: str = "unet", encoder: str = "tu-test_resnet") -> nn.Module:
    """A network with probabilities from 0 to 1; those of a new network are all near 0.5, which tests little."""
    torch.manual_seed(3)
    model = create_seg_model(SegSpec(arch, encoder, depth=2, decoder_channels=(16, 16)), "none", 32).eval()
    with torch.no_grad():
        logits, head = model(torch.from_numpy(tiles(8))), model.segmentation_head[0]
        factor = 3 / logits.std(dim=(0, 2, 3))
        head.bias.sub_(logits.mean(dim=(0, 2, 3))).mul_(factor)
        head.weight.mul_(factor[:, None, None, None])
    return model


def convolution(channels: int = 1, classes: int = 2) -> nn.Module:
    """A minimal network, which is exported quickly."""
    torch.manual_seed(3)
    return nn.Conv2d(channels, classes, 3, padding=1)


def tiles(n: int, channels: int = 1, edge: int = 32) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, channels, edge, edge), dtype=np.float32)


def expected(model: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return 1 - model(torch.from_numpy(x)).softmax(dim=1)[:, 0].numpy()


@pytest.mark.parametrize(("engine", "arch", "encoder"), ON_ENGINES)
def test_engine_gives_the_probability_of_the_foreground_for_any_batch(engine, arch, encoder):
    need(engine)
    model = network(arch, encoder)
    predict = make_engine(engine, model, n_channels=1, tile=32)
    for n in (4, 1, 7):
        got, want = predict(tiles(n)), expected(model, tiles(n))
        assert got.shape == (n, 32, 32) and got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-4)
    assert want.min() < 0.1 < 0.9 < want.max()


class Small(NamedTuple):
    """A minimal network of three channels and four classes, given in training mode, on an engine."""

    model: nn.Module
    predict: Engine

    def check(self, x: np.ndarray) -> None:
        np.testing.assert_allclose(self.predict(x), expected(self.model, np.ascontiguousarray(x)), atol=1e-4)


@pytest.fixture(scope="module", params=ENGINES)
def small(request):
    need(request.param)
    model = nn.Sequential(convolution(channels=3, classes=4), nn.Dropout(0.9)).train()
    predict = make_engine(request.param, model, n_channels=3, tile=32)
    return Small(model.eval(), predict)


def test_foreground_of_several_classes_and_channels_is_all_but_the_first(small):
    small.check(tiles(2, 3))


def test_mirrored_tiles(small):
    small.check(tiles(2, 3)[..., ::-1])


def test_a_result_is_unchanged_by_the_next_call(small):
    first = small.predict(tiles(2, 3))
    before = first.copy()
    small.predict(tiles(2, 3) + 1)
    assert np.array_equal(first, before)


def test_bfloat16_and_channels_last_stay_near_float32():
    want = make_engine("torch", network(), n_channels=1, tile=32)(tiles(4))
    same = make_engine("torch", network(), n_channels=1, tile=32, channels_last=True)(tiles(4))
    near = make_engine("torch", network(), n_channels=1, tile=32, amp="bf16")(tiles(4))
    np.testing.assert_allclose(same, want, atol=1e-5)
    assert 0 < np.abs(near - want).max() < 0.1 and near.dtype == np.float32


def test_openvino_computes_in_bfloat16_if_the_cpu_supports_it():
    need("openvino")
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(UserError, match="bf16"):
            make_engine("openvino", convolution(), n_channels=1, tile=32, amp="bf16")
        return
    got, want = (
        make_engine("openvino", convolution(), n_channels=1, tile=32, amp=amp)(tiles(4)) for amp in ("bf16", "no")
    )
    assert 0 < np.abs(got - want).max() < 0.1


class Memory(nn.Module):
    """A network that runs out of memory above `most` tiles on the device; it records the batch sizes it was given."""

    def __init__(self, most: int, device: str):
        super().__init__()
        self.most, self.device, self.asked = most, device, []

    def forward(self, x):
        self.asked.append(len(x))
        if len(x) > self.most and x.device.type == self.device:
            raise torch.OutOfMemoryError("simulated")
        return torch.cat([torch.zeros_like(x), x], dim=1)


def test_out_of_memory_halves_the_batch_and_remembers(caplog):
    model = Memory(most=2, device="cpu")
    engine = TorchEngine(model, "cpu")
    x = tiles(8, edge=4)
    with caplog.at_level(logging.WARNING, "dedl_fastai"):
        got = engine(x)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-x[:, 0])), atol=1e-6)
    assert model.asked == [8, 4, 2, 2, 2, 2]
    assert [r.message.split(": ")[1] for r in caplog.records] == ["continuing with 4", "continuing with 2"]
    assert engine(tiles(3, edge=4)).shape == (3, 4, 4)
    assert model.asked[6:] == [2, 1]


def test_a_tile_too_large_for_the_device_is_predicted_on_the_cpu_in_float32(caplog):
    model = Memory(most=0, device="meta")  # the only device besides the CPU that every machine has
    engine = TorchEngine(model, "meta", amp="bf16")
    engine._autocast = lambda: torch.no_grad()  # autocast does not support the meta device
    x = tiles(4, edge=4)
    with caplog.at_level(logging.WARNING, "dedl_fastai"):
        got = engine(x)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-x[:, 0])), atol=1e-6)
    assert model.asked == [4, 2, 1, 4] and engine.amp == "no"
    assert "on the CPU" in caplog.text


def test_out_of_memory_with_one_tile_on_the_cpu_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        TorchEngine(Memory(most=0, device="cpu"), "cpu")(tiles(2, edge=4))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("tensorrt", {}, "torch, onnx, openvino"),
        ("torch", {"amp": "int8"}, "fp16, bf16"),
        ("torch", {"amp": "fp16"}, "needs a GPU"),
        ("onnx", {"amp": "bf16"}, "onnx"),
        ("onnx", {"channels_last": True}, "engine=torch"),
        ("openvino", {"channels_last": True}, "engine=torch"),
    ],
)
def test_unsupported_options_are_refused(name, options, says):
    with pytest.raises(UserError, match=says):
        make_engine(name, convolution(), n_channels=1, tile=32, **options)


@pytest.mark.parametrize(
    ("name", "package"),
    [("onnx", "onnx"), ("onnx", "onnxscript"), ("onnx", "onnxruntime"), ("openvino", "openvino")],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package):
    need(name)
    there = importlib.import_module

    def import_module(module, *args):
        if module == package:
            raise ImportError(module)
        return there(module, *args)

    monkeypatch.setattr("dedl_fastai.extras.importlib.import_module", import_module)
    with pytest.raises(UserError, match=r"dedl-fastai\[engines\]"):
        make_engine(name, convolution(), n_channels=1, tile=32)


class Undecided(nn.Module):
    """A network with control flow that depends on the pixels, which cannot be exported."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_exported_is_a_user_error():
    need("onnx")
    with pytest.raises(UserError, match="engine=torch"):
        make_engine("onnx", Undecided(), 1, 32)


def test_agreement_on_a_constructed_case():
    reference = np.array([[0.9, 0.6, 0.4, 0.1]])
    ours = np.array([[0.9, 0.45, 0.4, 0.1]])
    found = Agreement.of(ours, reference, 0.5)
    assert (found.max_difference, found.changed, found.iou_difference) == (pytest.approx(0.15), 0.25, 0.5)
    assert Agreement.of(reference, reference).iou_difference == 0
    assert Agreement.of(reference, reference, threshold=0.95).iou_difference == 0  # two empty masks


@pytest.mark.parametrize("seed", range(5))
def test_the_iou_with_any_truth_differs_by_at_most_the_bound(seed):
    ours, reference, truth = np.random.default_rng(seed).random((3, 40))
    iou = [((p >= 0.5) & (truth >= 0.5)).sum() / ((p >= 0.5) | (truth >= 0.5)).sum() for p in (ours, reference)]
    assert abs(iou[0] - iou[1]) <= Agreement.of(ours, reference, 0.5).iou_difference
