"""`light_network`: a stored network as PyTorch's operators, which needs neither timm nor segmentation-models-pytorch.

Importing these two and torchvision takes longer than predicting a small field.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...errors import UserError
from ...training.stored_network import StoredNetwork
from .kept import keep, kept_file
from .operators import network_of, operators_of

FILE = "operators.json"  # beside the weights of a packed run


def light_network(stored: StoredNetwork, shape: tuple[int, int, int]) -> nn.Module:
    """Return a network for batches of inputs of `shape` (C, H, W), equal to `stored()` in every bit.

    Its operators are found beside the weights or in the cache; otherwise it is built, and its operators are kept for
    later commands, and for all runs with the same layers. Raises `UserError` if the files of the run are damaged.
    """
    tensors, layers = stored.tensors(), stored.card["network"]
    shapes = sorted((name, tuple(tensor.shape)) for name, tensor in tensors.items())
    kept = kept_file(".json", shape, json.dumps(layers, sort_keys=True), shapes)
    for path in (stored.file.with_name(FILE), kept):
        with suppress(OSError, LookupError, AttributeError, TypeError, ValueError):
            return _read(path, tensors, {"layers": layers, "shape": list(shape)}).eval()
    network = stored()
    data = written_operators(network, layers, shape)
    if data is not None:
        keep(kept, data)
    return network


def written_operators(network: nn.Module, layers: Mapping[str, Any], shape: tuple[int, int, int]) -> bytes | None:
    """Return the operators of a network as JSON; None if it cannot be written down, or would compute other bits.

    `layers` is how model.json describes the network: the operators are used for no other one.
    """
    from .portable import exported_program

    try:
        written = operators_of(exported_program(network, shape))
    except UserError:  # not every network can be exported
        return None
    if written is None:
        return None
    plain = _json({"layers": dict(layers), "shape": list(shape), **written})
    read = json.loads(plain)
    if not _are_equal(network, network_of(read, network.state_dict()), shape):
        return None
    return _json({"sha256": _digest(plain), "network": read})


def _read(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> nn.Module:
    kept = json.loads(path.read_bytes())
    written = kept["network"]
    if any(written[name] != fact for name, fact in facts.items()) or kept["sha256"] != _digest(_json(written)):
        raise ValueError(f"{path} is damaged, or of another network.")
    return network_of(written, tensors)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@torch.inference_mode()
def _are_equal(network: nn.Module, light: nn.Module, shape: tuple[int, int, int]) -> bool:
    inputs = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    return torch.equal(network.eval()(inputs), light.eval()(inputs))
