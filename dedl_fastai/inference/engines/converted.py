"""`converted_network`: the ONNX file of a network, converted once per machine and kept in the cache."""

import hashlib
import logging
from pathlib import Path

import torch
from torch import nn

from ... import __version__
from ...errors import UserError
from ...io.files import cache_root, written_whole
from .portable import Foreground, exported_program, onnx_bytes

log = logging.getLogger(__name__)

_VERSION = 1  # increase it when networks compute something else with equal weights, so that old files are not used


def converted_network(model: nn.Module, shape: tuple[int, int, int], n_maps: int = 0) -> bytes:
    """Return the ONNX file of a segmentation network for batches of inputs of `shape` (C, H, W).

    The conversion takes longer than the prediction of a few fields. Its result is kept in the folder `networks` of the
    cache, under a digest of the weights; a cache that cannot be written costs time alone. Raises `UserError` if the
    network cannot be exported.
    """
    path = cache_root() / "networks" / f"{_digest(model, shape, n_maps)}.onnx"
    try:
        return path.read_bytes()
    except OSError:
        log.info("converting the network to ONNX: this takes a while, and is done once for these weights")
    data = onnx_bytes(exported_program(Foreground(model, n_maps), shape))
    _keep(path, data)
    return data


def _keep(path: Path, data: bytes) -> None:
    try:
        with written_whole(path) as tmp:
            tmp.write_bytes(data)
    except (OSError, UserError) as e:
        log.warning("the converted network is not kept, and will be converted again: %s", e)


def _digest(model: nn.Module, shape: tuple[int, int, int], n_maps: int) -> str:
    """Return a digest of all that the file depends on: layers, weights, shape of the inputs, and versions."""
    layers = [(name, type(layer).__name__) for name, layer in model.named_modules()]
    digest = hashlib.sha256(repr((_VERSION, __version__, torch.__version__, shape, n_maps, layers)).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
