"""A network as a list of PyTorch's operators, as JSON can hold them: torch alone runs it, without what built it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind


def operators_of(program: ExportedProgram) -> dict[str, Any] | None:
    """Return the operators of a network with one input and one output; None if they are not all plain.

    Plain are operators of PyTorch (`torch.ops.aten`) with numbers, words and tensors of the state dict as arguments.
    """
    specs = program.graph_signature.input_specs
    inputs = [s.arg.name for s in specs if s.kind == InputKind.USER_INPUT]
    tensors = {s.arg.name: s.target for s in specs if s.kind in (InputKind.PARAMETER, InputKind.BUFFER)}
    if len(inputs) != 1 or len(inputs) + len(tensors) != len(specs) or set(tensors.values()) - set(program.state_dict):
        return None
    try:
        nodes = [_operator(n) for n in program.graph.nodes if n.op not in ("placeholder", "output")]
        (result,) = program.graph.output_node().args[0]
        return {"input": inputs[0], "tensors": tensors, "operators": nodes, "output": _plain(result)}
    except TypeError:
        return None


def network_of(written: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> fx.GraphModule:
    """Build the network that `operators_of` has written down, with the tensors of its state dict, in float32.

    Raises `LookupError`, `AttributeError`, `TypeError` or `ValueError` for anything else.
    """
    graph = fx.Graph()
    nodes = {written["input"]: graph.placeholder(written["input"])}
    root = {target: tensors[target].float() for target in written["tensors"].values()}
    for name, target in written["tensors"].items():
        nodes[name] = graph.create_node("get_attr", target)
    for name, target, args, kwargs in written["operators"]:
        nodes[name] = graph.call_function(_resolved(target), tuple(_linked(args, nodes)), _linked(kwargs, nodes))
    graph.output(_linked(written["output"], nodes))
    return fx.GraphModule(root, graph)


def _operator(node: fx.Node) -> list[Any]:
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        raise TypeError(f"{node} is not an operator of PyTorch.")
    return [node.name, str(target), _plain(node.args), {k: _plain(v) for k, v in node.kwargs.items()}]


def _plain(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"result of": value.name}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r} is not plain.")


def _linked(value: Any, nodes: Mapping[str, fx.Node]) -> Any:
    """Arguments with the nodes whose results they are."""
    if isinstance(value, list):
        return [_linked(v, nodes) for v in value]
    if isinstance(value, dict):
        return nodes[value["result of"]] if "result of" in value else {k: _linked(v, nodes) for k, v in value.items()}
    return value


def _resolved(target: str) -> torch._ops.OpOverload:
    namespace, name, overload = target.split(".")
    if namespace != "aten":
        raise ValueError(f"{target} is not an operator of PyTorch.")
    return getattr(getattr(torch.ops.aten, name), overload)
