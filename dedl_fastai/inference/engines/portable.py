"""Export of a network to a program that runs without this package: torch.export and ONNX."""

import copy
import warnings

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from ...errors import UserError
from ...extras import optional

INPUT, OUTPUT = "pixels", "probability"  # names in the graph
_BATCH = ({0: Dim("batch")},)
_NOT_EXPORTED = (RuntimeError, ValueError, TypeError)  # torch.export's and torch.onnx's errors are RuntimeErrors


def foreground(logits: torch.Tensor) -> torch.Tensor:
    """Probability of all classes except class 0, float32 (b, t, t), from logits (b, K, t, t)."""
    logits = logits.float()
    if logits.shape[1] == 2:  # equal to the softmax, and cheaper
        return (logits[:, 1] - logits[:, 0]).sigmoid()
    return 1 - logits.softmax(dim=1)[:, 0]


def foreground_and_maps(logits: torch.Tensor, n_maps: int = 0) -> torch.Tensor:
    """Probability of the foreground, (b, t, t); with maps of a head after the classes, (b, 1 + maps, t, t)."""
    if not n_maps:
        return foreground(logits)
    return torch.cat([foreground(logits[:, :-n_maps])[:, None], logits[:, -n_maps:].float().sigmoid()], dim=1)


class Foreground(nn.Module):
    """A segmentation network with `foreground_and_maps` applied to its logits."""

    def __init__(self, network: nn.Module, n_maps: int = 0):
        super().__init__()
        self.network, self.n_maps = network, n_maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probability of the foreground of each pixel, and the maps of the head if there is one."""
        return foreground_and_maps(self.network(x), self.n_maps)


def exported_program(network: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    """Export the network in eval mode, on the CPU, for batches of any size of inputs of `shape` (C, H, W).

    Files from `torch.export.save` need only torch to be opened. Raises `UserError` if the network cannot be exported.
    """
    network = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    try:
        program = torch.export.export(network, (torch.zeros(2, *shape),), dynamic_shapes=_BATCH)
    except _NOT_EXPORTED as e:
        raise _not_exportable(e) from e
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds paths of this machine, which do not belong in a shared file
    return program


def onnx_bytes(program: ExportedProgram, metadata: dict[str, str] | None = None) -> bytes:
    """The program as an ONNX file with `metadata`. Raises `UserError` if the extra "engines" is not installed."""
    onnx = optional("onnx", "engines", "ONNX files")
    optional("onnxscript", "engines", "ONNX files")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from the exporter's own libraries, which users cannot act on
            exported = torch.onnx.export(
                program,
                (),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=_BATCH,
                dynamo=True,
                verbose=False,
            )
    except _NOT_EXPORTED as e:
        raise _not_exportable(e) from e
    assert exported is not None  # with dynamo=True there is always a program
    model = exported.model_proto
    onnx.helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


def _not_exportable(e: Exception) -> UserError:
    reason = str(e).strip().split("\n")[0]
    return UserError(f"this network cannot be exported ({reason}): predict with engine=torch.")
