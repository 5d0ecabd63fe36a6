"""Computes once what nodes compute again from the same inputs.

Before:
    size = Shape (x)
    again = Shape (x)
    a = Add (x, w)
    b = Add (w, x)

After:
    size = Shape (x)
    a = Add (x, w)

Exact. Two nodes are one expression where operator, attributes and inputs are the same, in any order for
operators that do not care. A node in a subgraph may be one with a node before it in a graph around.
Random operators, nodes with subgraphs, and operators of other domains stay. So do QuantizeLinear and
DequantizeLinear: engines fuse them with their reader, and want one for each. Two values that callers
see keep two nodes.

onnx-ir has such a pass; it leaves subgraphs out and forgets where the second node came from.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.base import GraphPass, Refusal, take_over_type
from modelport.passes.matching import STANDARD

LARGEST_TENSOR = 64
"""Elements of a tensor attribute that is compared."""

_ALONE = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
    | {"Bernoulli", "Dropout", "Constant", "QuantizeLinear", "DequantizeLinear"}
)
"""Dropout may train; Constant nodes and equal weights are for `share_initializers`."""

_COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal"})

_LISTS = (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS)
_SINGLES = (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING)


class ShareExpressions(GraphPass):
    name: ClassVar[str] = "share_expressions"
    summary: ClassVar[str] = "what is computed twice from the same inputs is computed once"

    def apply(self, model: ir.Model) -> bool:
        return self._visit(model.graph, [])

    def _visit(self, graph: ir.Graph, around: list[dict[Hashable, ir.Node]]) -> bool:
        """Graphs around come first: their nodes are computed before the subgraph is."""
        known: dict[Hashable, ir.Node] = {}
        scopes = [*around, known]
        modified = False
        for node in list(graph):
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    modified |= self._visit(attribute.as_graph(), scopes)
            key = _expression(node)
            if key is None:
                continue
            first = next((scope[key] for scope in scopes if key in scope), None)
            if first is None:
                known[key] = node
                continue
            reason = _problem(first, node)
            if reason is None:
                _share(first, node)
                modified = True
            else:
                self.refusals.append(Refusal(provenance.describe(node), reason))
        return modified


def _expression(node: ir.Node) -> Hashable | None:
    """What two nodes have in common where they compute the same; None for a node that stays alone."""
    if node.domain not in STANDARD or node.op_type in _ALONE or not node.inputs:
        return None
    attributes = []
    for name, attribute in node.attributes.items():
        value = _comparable(attribute)
        if value is None:
            return None
        attributes.append((name, value))
    inputs = [0 if value is None else id(value) for value in node.inputs]
    if node.op_type in _COMMUTATIVE:
        inputs.sort()
    given = tuple(bool(value.name) for value in node.outputs)
    return node.op_type, tuple(inputs), tuple(sorted(attributes)), given


def _comparable(attribute: ir.Attr) -> tuple[str, ...] | None:
    if attribute.is_ref():
        return None
    if attribute.type in _SINGLES:
        return str(attribute.type), repr(attribute.value)
    if attribute.type in _LISTS:
        return str(attribute.type), repr(tuple(attribute.value))
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        if tensor.size <= LARGEST_TENSOR and tensor.dtype != ir.DataType.STRING:
            return str(tensor.dtype), str(tensor.shape), tensor.tobytes().hex()
    return None


def _problem(first: ir.Node, second: ir.Node) -> str | None:
    for one, two in zip(first.outputs, second.outputs, strict=True):
        if two.is_graph_output() and one.is_graph_output():
            return "both results are outputs"
        if two.is_graph_output() and first.graph is not second.graph:
            return "its result is an output of a subgraph"
    return None


def _share(first: ir.Node, second: ir.Node) -> None:
    for one, two in zip(first.outputs, second.outputs, strict=True):
        take_over_type(one, two)
        name, is_output = two.name, two.is_graph_output()
        two.replace_all_uses_with(one, replace_graph_outputs=True)
        if is_output:
            two.name = None
            one.name = name
    provenance.inherit(first, [second])
    assert second.graph is not None
    second.graph.remove(second, safe=True)
