"""`engine_speed`: tiles per second of PyTorch, ONNX Runtime and OpenVINO on the same tiles, and their agreement."""

import copy
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...errors import UserError
from ...inference.engines.engine import Engine, TorchEngine, make_engine
from ...inference.load import load_run
from ...inference.segmenter import Segmenter
from ...models.device import pick_device
from ...models.segmentation import SegSpec, create_seg_model
from ...runs.export import example_inputs
from ...scores.agreement import Agreement
from .step import device_name, seconds_of

VARIANTS: dict[str, dict[str, Any]] = {  # the others are compared with the first
    "torch": {"name": "torch", "channels_last": False},
    "torch channels_last": {"name": "torch", "channels_last": True},
    "torch bf16": {"name": "torch", "amp": "bf16", "channels_last": False},
    "torch bf16 channels_last": {"name": "torch", "amp": "bf16", "channels_last": True},
    "torch compile": {"name": "torch", "compiled": True, "channels_last": False},
    "onnx": {"name": "onnx"},
    "openvino": {"name": "openvino"},
    "openvino bf16": {"name": "openvino", "amp": "bf16"},
}
_REFERENCE = next(iter(VARIANTS))


def engine_speed(
    arch: str = "unet",
    encoder: str = "efficientnet-b0",
    decoder: tuple[int, ...] = (),  # default: the paper's 256, 128, 64
    tile: int = 480,
    bs: int = 8,
    rounds: int = 5,  # of each engine in turn
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a new network on noise; its masks have no meaning, so that only probabilities are compared."""
    spec = SegSpec(arch, encoder, decoder_channels=decoder, depth=len(decoder) or 3)
    torch.manual_seed(0)
    model = create_seg_model(spec, "none", tile)
    tiles = np.random.default_rng(0).standard_normal((bs, 1, tile, tile), dtype=np.float32)
    head = {"arch": spec.arch, "encoder": spec.encoder, "decoder": list(spec.decoder_channels), "tiles": "noise"}
    return head | _measured(model, tiles, bs=bs, rounds=rounds, device=device)


def run_engine_speed(
    path: str | Path,
    data: str | Path = "",  # default: the run's own fields
    bs: int = 8,
    rounds: int = 5,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a trained segmentation on real tiles, and the largest possible difference in IoU for any true mask."""
    segmenter = load_run(path, device="cpu")
    if not isinstance(segmenter, Segmenter):
        raise UserError(f"{path} is a classification: engines are for segmentations.")
    source, tiles = example_inputs(segmenter, data)
    tiles = np.concatenate([tiles] * -(-bs // len(tiles)))[:bs]
    network = {k: segmenter.card["network"][k] for k in ("arch", "encoder")}
    head = network | {"decoder": segmenter.card["network"]["decoder_channels"], "tiles": source}
    return head | _measured(segmenter.model, tiles, bs=bs, rounds=rounds, device=device, threshold=segmenter.threshold)


def _measured(
    model: nn.Module, tiles: np.ndarray, bs: int, rounds: int, device: str, threshold: float | None = None
) -> dict[str, Any]:
    where = pick_device(device)
    engines, failed = _started(model, tiles, where)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for name in [*engines] * rounds:
        seconds[name].append(seconds_of(partial(engines[name], tiles), where))
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    reference = engines[_REFERENCE](tiles)
    agreements = {
        name: Agreement.of(e(tiles), reference, 0.5 if threshold is None else threshold) for name, e in engines.items()
    }
    return {
        "tile": tiles.shape[-1],
        "bs": bs,
        "device": device_name(where),
        "threads": torch.get_num_threads(),
        "tiles_per_second": {name: round(bs / s, 2) for name, s in medians.items()},
        "over_torch": {name: round(medians[_REFERENCE] / s, 2) for name, s in medians.items()},
        "max_difference": {name: round(a.max_difference, 7) for name, a in agreements.items()},
        "iou_difference": {name: round(a.iou_difference, 6) for name, a in agreements.items() if threshold is not None},
        "fastest": min(medians, key=lambda name: medians[name]),
        "failed": failed,
    }


def _started(model: nn.Module, tiles: np.ndarray, device: torch.device) -> tuple[dict[str, Engine], dict[str, str]]:
    """The engines that run on this machine, warmed up, and the reasons why the others do not."""
    engines, failed = {}, {}
    for name, how in VARIANTS.items():
        try:
            engine = _engine(copy.deepcopy(model), tiles.shape, device, **how)
            engine(tiles)  # compiles
        except (UserError, RuntimeError) as e:  # no package, compiler, kernel or memory
            failed[name] = f"{type(e).__name__}: {next(iter(str(e).splitlines()), '')}"
        else:
            engines[name] = engine
    return engines, failed


def _engine(
    model: nn.Module, shape: tuple[int, ...], device: torch.device, name: str, compiled: bool = False, **how: Any
) -> Engine:
    engine = make_engine(name, model, n_channels=shape[1], tile=shape[2], device=device, **how)
    if compiled and isinstance(engine, TorchEngine):
        engine.model.compile()
    return engine
