"""`converted_network`: a network as an ONNX file; that of a run is converted once per machine and kept in the cache."""

import logging

from torch import nn

from ...training.stored_network import StoredNetwork
from .kept import keep, kept_file

log = logging.getLogger(__name__)


def converted_network(model: nn.Module | StoredNetwork, shape: tuple[int, int, int], n_maps: int = 0) -> bytes:
    """Return the ONNX file of a segmentation network for batches of inputs of `shape` (C, H, W).

    The conversion takes longer than the prediction of a few fields. That of a stored network is kept in the folder
    `networks` of the cache, and found there without building the network; a cache that cannot be written costs time
    alone. Raises `UserError` if the network cannot be exported.
    """
    if isinstance(model, nn.Module):
        return _converted(model, shape, n_maps)
    path = kept_file(".onnx", shape, n_maps, model.digest())
    try:
        return path.read_bytes()
    except OSError:
        log.info("converting the network to ONNX: this takes a while, and is done once for these weights")
    data = _converted(model(), shape, n_maps)
    keep(path, data)
    return data


def _converted(model: nn.Module, shape: tuple[int, int, int], n_maps: int) -> bytes:
    from .foreground import Foreground
    from .portable import exported_program, exporter, onnx_bytes  # imports torch.export, which takes seconds

    exporter()  # before the export, which takes a while
    return onnx_bytes(exported_program(Foreground(model, n_maps), shape))
