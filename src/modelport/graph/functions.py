"""Functions of a model: operators of its own domains, each with a body of other operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from modelport.errors import GraphError
from modelport.graph.schemas import means_the_same

STANDARD = ("", "ai.onnx")


def attach(model: ir.Model, functions: Sequence[ir.Function]) -> None:
    """Gives a model the functions that its nodes call, those among them that others call too.

    Raises:
        GraphError: where a body is written for operators that mean something else in the model's opset.
    """
    known = {function.identifier(): function for function in functions}
    for node in model.graph.all_nodes():
        _bring(node.op_identifier(), known, model)
    if any(value.dtype is None for value in model.graph.outputs):
        ShapeInferencePass()(model)


def _bring(
    name: ir.OperatorIdentifier, known: dict[ir.OperatorIdentifier, ir.Function], model: ir.Model
) -> None:
    """Those that a function calls come before it, as onnx's reference evaluator wants them."""
    if name not in known or name in model.functions:
        return
    function = known[name].clone()
    adopt_opset(function, model)
    for node in function.all_nodes():
        _bring(node.op_identifier(), known, model)
    model.functions[name] = function
    model.opset_imports.setdefault(function.domain, 1)


def calls(model: ir.Model) -> Iterator[ir.Node]:
    """The nodes of the graph, subgraphs included, that call a function of the model."""
    return (node for node in model.graph.all_nodes() if node.op_identifier() in model.functions)


def adopt_opset(function: ir.Function, model: ir.Model) -> None:
    """Writes a function for the opset of its model, where its operators mean the same in both.

    Raises:
        GraphError: where one does not. The function then is as it was.
    """
    written, wanted = function.opset_imports.get(""), model.opset_imports.get("")
    if written is None or wanted is None or written == wanted:
        return
    for node in function.all_nodes():
        if node.domain in STANDARD and not means_the_same(node.op_type, written, wanted):
            raise GraphError(
                f"The body of {function.domain}::{function.name} has {node.op_type} of opset "
                f"{written}, which differs in opset {wanted}",
                hint=f"Write it for opset {wanted}: onnxscript.script(..., "
                f"default_opset=onnxscript.opset{wanted}); or export with opset {written}",
            )
    function.opset_imports[""] = wanted
