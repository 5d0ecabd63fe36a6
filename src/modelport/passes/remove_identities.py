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

from typing import ClassVar

import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.shaped import GivingBackPass


class RemoveIdentities(GivingBackPass):
    name: ClassVar[str] = "remove_identities"
    summary: ClassVar[str] = "Identity, Dropout and casts to the same type are removed"

    def source(self, node: ir.Node) -> ir.Value | str | None:
        return node.inputs[0] if _gives_back(node) else None


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
