"""A network as a program that runs without this package: torch.export and ONNX, the last step inside."""

import copy
import warnings

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from ...errors import UserError
from ...extras import optional

INPUT, OUTPUT = "pixels", "probability"  # what they are called in the graph
_BATCH = ({0: Dim("batch")},)
_NOT_EXPORTED = (RuntimeError, ValueError, TypeError)  # torch.export's and torch.onnx's errors are RuntimeErrors


def foreground(logits: torch.Tensor) -> torch.Tensor:
    """Logits (b, K, t, t) -> float32 (b, t, t): all but class 0. Of two classes a sigmoid, the same and cheaper."""
    logits = logits.float()
    if logits.shape[1] == 2:
        return (logits[:, 1] - logits[:, 0]).sigmoid()
    return 1 - logits.softmax(dim=1)[:, 0]


class Foreground(nn.Module):
    """A segmentation network and its last step: tiles (b, C, t, t) -> probability of the foreground (b, t, t)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Probability of each pixel of `x`."""
        return foreground(self.network(x))


def exported_program(network: nn.Module, shape: tuple[int, int, int]) -> ExportedProgram:
    """The network in eval mode, on the CPU, for any number of inputs of `shape` (C, H, W).

    Saved by `torch.export.save`, it is opened by torch alone. Raises `UserError` for networks that do not export.
    """
    network = copy.deepcopy(network).cpu().eval().requires_grad_(False)
    try:
        program = torch.export.export(network, (torch.zeros(2, *shape),), dynamic_shapes=_BATCH)
    except _NOT_EXPORTED as e:
        raise _not_exportable(e) from e
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine have no place in a file for others
    return program


def onnx_bytes(program: ExportedProgram, metadata: dict[str, str] | None = None) -> bytes:
    """The program as an ONNX file, with `metadata` in its metadata. Raises `UserError` without the extra "engines"."""
    onnx = optional("onnx", "engines", "ONNX files")
    optional("onnxscript", "engines", "ONNX files")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own libraries, nothing a user could change
            made = torch.onnx.export(
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
    model = made.model_proto
    onnx.helper.set_model_props(model, metadata or {})
    return model.SerializeToString()


def _not_exportable(e: Exception) -> UserError:
    reason = str(e).strip().split("\n")[0]
    return UserError(f"this network cannot be exported ({reason}): predict with engine=torch.")
