"""Evaluates one node on constants with onnx's reference operators."""

from __future__ import annotations

import onnx_ir as ir
from onnx.reference import ReferenceEvaluator  # noqa: TID251

from modelport.errors import GraphError
from modelport.types import Array


def evaluate(node: ir.Node, inputs: list[Array | None], opset: int) -> list[Array]:
    """The node's outputs, by the definition of its operator.

    Args:
        inputs: one array for each input of the node, None where that is left out.

    Raises:
        GraphError: where the reference has no such operator or cannot evaluate it.
    """
    try:
        evaluator = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset})
        names = [value.name or "" for value in node.outputs]
        feeds = {
            value.name: array
            for value, array in zip(node.inputs, inputs, strict=True)
            if value is not None and array is not None
        }
        return list(evaluator.run(names, feeds))
    except Exception as error:
        raise GraphError(f"{node.op_type} cannot be evaluated: {error}") from error
