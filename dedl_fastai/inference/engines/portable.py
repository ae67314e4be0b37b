"""Export of a network to a program that runs without this package: torch.export and ONNX."""

import copy
import warnings
from types import ModuleType

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from ...errors import UserError
from ...extras import optional
from .runtimes import INPUT, OUTPUT

_BATCH = ({0: Dim("batch")},)
_NOT_EXPORTED = (RuntimeError, ValueError, TypeError)  # torch.export's and torch.onnx's errors are RuntimeErrors


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


def exporter() -> ModuleType:
    """The package `onnx`. Raises `UserError` if the packages that an export to ONNX needs are not installed."""
    optional("onnxscript", "engines", "ONNX files")
    return optional("onnx", "engines", "ONNX files")


def onnx_bytes(program: ExportedProgram, metadata: dict[str, str] | None = None) -> bytes:
    """The program as an ONNX file with `metadata`. Raises `UserError` if the extra "engines" is not installed."""
    onnx = exporter()
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
