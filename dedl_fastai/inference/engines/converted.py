"""`converted_network`: a network as an ONNX file; that of a run is converted once per machine and kept in the cache."""

import hashlib
import logging
from pathlib import Path

import torch
from torch import nn

from ... import __version__
from ...errors import UserError
from ...io.files import cache_root, written_whole
from ...training.stored_network import StoredNetwork

log = logging.getLogger(__name__)

_VERSION = 1  # increase it when networks compute something else with equal weights, so that old files are not used


def converted_network(model: nn.Module | StoredNetwork, shape: tuple[int, int, int], n_maps: int = 0) -> bytes:
    """Return the ONNX file of a segmentation network for batches of inputs of `shape` (C, H, W).

    The conversion takes longer than the prediction of a few fields. That of a stored network is kept in the folder
    `networks` of the cache, and found there without building the network; a cache that cannot be written costs time
    alone. Raises `UserError` if the network cannot be exported.
    """
    if isinstance(model, nn.Module):
        return _converted(model, shape, n_maps)
    path = _kept_file(model, shape, n_maps)
    try:
        return path.read_bytes()
    except OSError:
        log.info("converting the network to ONNX: this takes a while, and is done once for these weights")
    data = _converted(model(), shape, n_maps)
    _keep(path, data)
    return data


def _converted(model: nn.Module, shape: tuple[int, int, int], n_maps: int) -> bytes:
    from .foreground import Foreground
    from .portable import exported_program, onnx_bytes  # imports torch.export, which takes seconds

    return onnx_bytes(exported_program(Foreground(model, n_maps), shape))


def _kept_file(stored: StoredNetwork, shape: tuple[int, int, int], n_maps: int) -> Path:
    facts = (_VERSION, __version__, torch.__version__, shape, n_maps, stored.digest())
    return cache_root() / "networks" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.onnx"


def _keep(path: Path, data: bytes) -> None:
    try:
        with written_whole(path) as tmp:
            tmp.write_bytes(data)
    except (OSError, UserError) as e:
        log.warning("the converted network is not kept, and will be converted again: %s", e)
