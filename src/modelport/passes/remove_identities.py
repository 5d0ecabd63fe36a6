"""Removes nodes that give their input back.

Before:
    a = Identity (x)
    b = Dropout <training_mode = 0> (a)
    y = Relu (b)

After:
    y = Relu (x)

Exact. Identity, Dropout outside training (its mask unused), and a Cast to the element type that the
value has already. A node stays where removing it would rename something that callers see: between an
input or weight and an output, or where the value is an output under another name already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass, take_over_type


class RemoveIdentities(RewritePass):
    name: ClassVar[str] = "remove_identities"
    summary: ClassVar[str] = "Identity, Dropout and casts to the same type are removed"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if _gives_back(node) else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        if not result.is_graph_output():
            return None
        if source.is_graph_input() or source.is_initializer():
            return "it connects an input or a weight to an output"
        if source.is_graph_output():
            return "its input is an output under another name"
        producer = source.producer()
        if producer is None or producer.graph is not node.graph:
            return "its input belongs to an enclosing graph"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        source, result = node.inputs[0], node.outputs[0]
        assert source is not None
        assert node.graph is not None
        take_over_type(source, result)
        name = result.name
        keep_name = result.is_graph_output()
        result.replace_all_uses_with(source, replace_graph_outputs=True)
        node.graph.remove(node, safe=True)
        if keep_name:
            result.name = None
            source.name = name


def _gives_back(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return False
    if node.op_type == "Identity":
        return True
    if node.op_type == "Cast":
        dtype = node.inputs[0].dtype
        return dtype is not None and dtype.value == node.attributes.get_int("to", -1)
    return node.op_type == "Dropout" and _is_idle_dropout(node)


def _is_idle_dropout(node: ir.Node) -> bool:
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True  # before opset 12 there is no training mode; from then on it is off by default
    training = constant_of(node.inputs[2])
    return training is not None and not bool(training)
