"""`make_engine`: runs a segmentation network on tiles with PyTorch or a faster runtime, behind one interface."""

import logging
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ...errors import UserError
from ...models.device import AMPS
from ...training.stored_network import StoredNetwork
from .converted import converted_network
from .foreground import foreground_and_maps
from .light import light_network
from .runtimes import OnnxEngine, OpenVinoEngine, check_runtime

log = logging.getLogger(__name__)

CONVERTED = ("onnx", "openvino")  # engines that run a converted network
ENGINES = ("torch", *CONVERTED)


class Engine(Protocol):
    """Normalised tiles (b, C, t, t) float32 -> probability of the foreground (b, t, t) float32, for any b.

    A network with a head gives (b, 1 + maps, t, t): the probability, then the maps in 0..1.
    """

    def __call__(self, tiles: np.ndarray, /) -> np.ndarray:
        """Predict a batch of tiles."""


def make_engine(
    name: str,  # torch, onnx, openvino
    model: nn.Module | StoredNetwork,  # the conversion of a stored one is kept
    n_channels: int,
    tile: int,  # edge in pixels
    device: torch.device | str = "cpu",
    amp: str = "no",  # no, fp16, bf16
    channels_last: bool | None = None,  # memory format of PyTorch tensors; None: on the CPU, where it is faster
    n_maps: int = 0,  # of a head, after the classes
) -> Engine:
    """The engine `name` for a segmentation network. Raises `UserError` for unsupported options and missing packages."""
    device = torch.device(device)
    if name not in ENGINES:
        raise UserError(f"engine={name!r} is unknown; it may be {', '.join(ENGINES)}.")
    if amp != "no" and amp not in AMPS:
        raise UserError(f"amp={amp!r} is unknown; it may be no, {', '.join(AMPS)}.")
    if name == "torch":
        network = light_network(model, (n_channels, tile, tile)) if isinstance(model, StoredNetwork) else model
        return TorchEngine(network, device, amp, channels_last=channels_last, n_maps=n_maps)
    if channels_last:
        raise UserError(f"`channels_last` is only for engine=torch: {name} chooses the memory format itself.")
    if name == "onnx" and amp != "no":
        raise UserError(f"engine=onnx computes in float32 and does not support amp={amp}: use openvino or torch.")
    check_runtime(name, amp)  # before the conversion, which takes a while
    converted = converted_network(model, (n_channels, tile, tile), n_maps)
    return OnnxEngine(converted, device) if name == "onnx" else OpenVinoEngine(converted, device, amp)


class TorchEngine:
    """PyTorch. If the GPU runs out of memory, batches get smaller; if one tile does not fit, the CPU takes over."""

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | str,
        amp: str = "no",
        channels_last: bool | None = None,
        n_maps: int = 0,
    ):
        self.device, self.amp, self.n_maps = torch.device(device), amp, n_maps
        if self.device.type == "cpu" and amp == "fp16":
            raise UserError("amp=fp16 needs a GPU: use bf16 or no on the CPU.")
        if self.device.type == "cuda" and amp == "bf16" and not torch.cuda.is_bf16_supported():
            raise UserError("this GPU does not support bfloat16: use amp=fp16.")
        is_last = self.device.type == "cpu" if channels_last is None else channels_last
        self.memory_format = torch.channels_last if is_last else torch.contiguous_format
        self.model = model.eval().to(self.device).to(memory_format=self.memory_format)
        self.most: int | None = None  # tiles per batch, after larger batches did not fit
        self.turn = Lock()  # fields side by side take turns: the last digits depend on the threads of a batch

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        """Probability of the foreground (b, t, t) in tiles (b, C, t, t)."""
        with self.turn:
            return self._predict_all(tiles)

    def _predict_all(self, tiles: np.ndarray) -> np.ndarray:
        batches: list[np.ndarray] = []
        n = 0
        while n < len(tiles):
            part = tiles[n : n + (self.most or len(tiles))]
            try:
                batches.append(self._predict(part))
                n += len(part)
            except torch.OutOfMemoryError:
                if len(part) == 1 and self.device.type == "cpu":
                    raise
                self._use_less(len(part))
        return np.concatenate(batches) if len(batches) > 1 else batches[0]

    @torch.inference_mode()
    def _predict(self, tiles: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device, memory_format=self.memory_format)
        with self._autocast():
            logits = self.model(x)
        return foreground_and_maps(logits, self.n_maps).cpu().numpy()

    def _autocast(self) -> AbstractContextManager:
        return nullcontext() if self.amp == "no" else torch.autocast(self.device.type, dtype=AMPS[self.amp])

    def _use_less(self, tried: int) -> None:
        """After running out of memory with `tried` tiles, halve the batch size or move to the CPU in float32."""
        if tried > 1:
            self.most = tried // 2
            log.warning(
                "out of memory on %s with %d tiles per batch: continuing with %d", self.device, tried, self.most
            )
        else:
            log.warning("out of memory on %s with one tile: continuing on the CPU in float32", self.device)
            self.model = self.model.cpu()
            self.device, self.amp, self.most = torch.device("cpu"), "no", None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
