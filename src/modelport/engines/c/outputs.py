"""Nodes that write a graph's constant outputs: the generator writes what nodes compute, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import onnx  # noqa: TID251 - the generator reads protos


def write_constants(model: onnx.ModelProto) -> None:
    """Puts an Identity before each output that is an initializer or a Constant, in place."""
    graph = model.graph
    for name in [output.name for output in graph.output]:
        if (kept := _kept_as(graph, name)) is not None:
            for node in _nodes(graph):
                _rename(node, name, kept)
            graph.node.append(onnx.helper.make_node("Identity", [kept], [name]))


def _kept_as(graph: onnx.GraphProto, name: str) -> str | None:
    """The new name of the constant that had the output's; None where there is no constant."""
    taken = {value for node in _nodes(graph) for value in (*node.input, *node.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    kept = next(each for n in range(len(taken) + 1) if (each := f"{name}_kept{n}") not in taken)
    for tensor in graph.initializer:
        if tensor.name == name:
            tensor.name = kept
            return kept
    constants = (node for node in graph.node if node.op_type == "Constant")
    return kept if any(name in node.output for node in constants) else None


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Also those of branches and loops, which see the names outside."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _rename(node: onnx.NodeProto, name: str, kept: str) -> None:
    for names in (node.input, node.output):
        for index, each in enumerate(names):
            if each == name:
                names[index] = kept
