"""Puts the body of a function in the place of every call.

Before:
    y = custom.Wave <rate = 1.5> (x)

    Wave <rate> (x) => (y) { r = Constant <value_float: float = @rate> ()
                             t = Mul (x, r)
                             s = Sin (t)
                             y = Add (s, x) }

After:
    r = Constant <value_float = 1.5> ()
    t = Mul (x, r)
    s = Sin (t)
    y = Add (s, x)

Exact: a call means its body. For engines that know no functions; it is no part of the portable
pipeline, since an engine may have a kernel that is faster than the body. Functions that other functions
call come out too. Nodes of a body get the provenance of the call. A function stays, with its calls,
where its body is written for operators that differ in the model's opset, or has an attribute that is a
graph.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from modelport.errors import GraphError
from modelport.graph.functions import adopt_opset, calls
from modelport.passes.base import GraphPass, Refusal

_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


class InlineFunctions(GraphPass):
    name: ClassVar[str] = "inline_functions"
    summary: ClassVar[str] = "calls of functions are replaced by what the functions do"

    def apply(self, model: ir.Model) -> bool:
        stay = {name for name, function in model.functions.items() if self._stays(function, model)}
        for function in model.functions.values():
            if function.identifier() not in stay:
                _give_outputs_producers(function)
        step = InlinePass(criteria=lambda function: function.identifier() not in stay)
        return bool(step(model).modified)

    def _stays(self, function: ir.Function, model: ir.Model) -> bool:
        reason = _problem(function, model)
        if reason is not None:
            self.refusals.append(Refusal(f"{function.domain}::{function.name}", reason))
        return reason is not None


def _problem(function: ir.Function, model: ir.Model) -> str | None:
    """Why calls of the function cannot be replaced, or None."""
    mine = (node for node in calls(model) if node.op_identifier() == function.identifier())
    if any(attribute.type in _GRAPHS for node in mine for attribute in node.attributes.values()):
        return "a call gives it a graph as an attribute"
    try:
        adopt_opset(function, model)
    except GraphError as error:
        return error.seen
    return None


def _give_outputs_producers(function: ir.Function) -> None:
    """An input that is an output too, or a value that is two outputs, needs a value for each."""
    seen: set[ir.Value] = set(function.inputs)
    for index, value in enumerate(function.outputs):
        if value in seen:
            copy = ir.node("Identity", [value])
            function.append(copy)
            copy.outputs[0].name = f"{value.name}_output_{index}"
            function.outputs[index] = copy.outputs[0]
        seen.add(value)
