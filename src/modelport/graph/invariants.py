"""What must hold of every graph after every pass, beyond what ONNX itself demands."""

from __future__ import annotations

import onnx_ir as ir

from modelport.errors import GraphError


def check(model: ir.Model) -> None:
    """Raises GraphError where the graph is not well formed.

    Each value is defined before it is used, has one name, and outputs have a producer. Values of
    an enclosing graph may be used in a subgraph.
    """
    _check_graph(model.graph, set())


def _check_graph(graph: ir.Graph, outer: set[ir.Value]) -> None:
    defined = set(outer) | set(graph.inputs) | set(graph.initializers.values())
    names: dict[str, ir.Value] = {}
    for known in [*graph.inputs, *graph.initializers.values()]:
        _claim(names, known)
    for initializer in graph.initializers.values():
        if initializer.const_value is None:
            raise GraphError(f"The initializer {initializer.name!r} has no data")
    for node in graph:
        _check_node(node, defined)
        for result in node.outputs:
            _claim(names, result)
            defined.add(result)
    for output in graph.outputs:
        if output not in defined:
            raise GraphError(f"Nothing in the graph defines its output {output.name!r}")


def _check_node(node: ir.Node, defined: set[ir.Value]) -> None:
    for value in node.inputs:
        if value is not None and value not in defined:
            raise GraphError(
                f"The node {node.name!r} ({node.op_type}) uses the value {value.name!r} before "
                f"anything defines it"
            )
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            _check_graph(attribute.as_graph(), defined)


def _claim(names: dict[str, ir.Value], value: ir.Value) -> None:
    if not value.name:
        return
    if names.setdefault(value.name, value) is not value:
        raise GraphError(f"Two values of one graph are named {value.name!r}")
