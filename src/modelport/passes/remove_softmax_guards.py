"""Takes out the test for NaN behind a Softmax that cannot give one.

Before:
    m = Where (mask, zero, lowest)
    t = Add (scores, m)
    s = Softmax (t)
    n = IsNaN (s)
    y = Where (n, zero, s)

After:
    m = Where (mask, zero, lowest)
    t = Add (scores, m)
    y = Softmax (t)

Exact wherever the scores are finite. A Softmax gives NaN where a whole row is -inf, as where everything is
masked with -inf. PyTorch writes the test behind every attention with a mask of booleans, and masks with
the lowest number, which is finite. The conditions: what is added to the scores is of constants whose sizes do
not add up to more than the type holds; scores are products of matrices; and the type is no float16, in which
products overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import ml_dtypes
import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.matching import is_op, producer
from modelport.passes.shaped import GivingBackPass

WIDE = {
    ir.DataType.FLOAT: np.float32,
    ir.DataType.DOUBLE: np.float64,
    ir.DataType.BFLOAT16: ml_dtypes.bfloat16,
}

PRODUCTS = {"MatMul", "Einsum"}
"""Whose results are taken to be finite, and far smaller than the largest number."""

VIEWS = {"Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Identity", "Slice"}


class RemoveSoftmaxGuards(GivingBackPass):
    name: ClassVar[str] = "remove_softmax_guards"
    summary: ClassVar[str] = "the test for NaN behind a Softmax that cannot give one goes"

    def source(self, node: ir.Node) -> ir.Value | str | None:
        if not is_op(node, "Where"):
            return None
        test = producer(node.inputs[0], "IsNaN")
        softmax = None if test is None else producer(test.inputs[0], "Softmax")
        if softmax is None or node.inputs[2] is not softmax.outputs[0]:
            return None
        kind = WIDE.get(node.inputs[2].dtype or ir.DataType.UNDEFINED)
        if kind is None:
            return "its scores may overflow their type"
        if not self.shapes.same(node.inputs[2], node.outputs[0]):
            return "the shape may change"
        largest = _largest(softmax.inputs[0])
        if largest is None:
            return "what it is taken of may be -inf all along a row"
        with np.errstate(over="ignore"):
            held = bool(np.isfinite(kind(largest)))
        return node.inputs[2] if held else "masks may add up to -inf"

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        test = producer(node.inputs[0], "IsNaN")
        super().rewrite(match)
        if test is None or test.graph is None:
            return
        if not test.outputs[0].uses() and not test.outputs[0].is_graph_output():
            test.graph.remove(test, safe=True)


DEPTH = 16
"""Nodes between a mask and the scores that are looked through."""


def _largest(value: ir.Value | None, depth: int = DEPTH) -> float | None:
    """A bound of the magnitude, with 0 for products of matrices; None where it may be infinite."""
    constant = constant_of(value)
    if constant is not None:
        found = float(np.abs(constant.astype(np.float64)).max(initial=0.0))
        return found if np.isfinite(found) else None
    node = None if value is None else value.producer()
    if not depth or node is None or not is_op(node, node.op_type):
        return None
    if node.op_type in PRODUCTS or (node.op_type == "Gemm" and len(node.inputs) < 3):
        return 0.0
    if node.op_type in VIEWS:
        return _largest(node.inputs[0], depth - 1)
    if node.op_type in ("Mul", "Div"):
        return _scaled(node, depth)
    if node.op_type not in ("Add", "Sub", "Where"):
        return None
    choices = node.inputs[1:] if node.op_type == "Where" else node.inputs
    parts = [part for each in choices if (part := _largest(each, depth - 1)) is not None]
    if len(parts) < len(choices):
        return None
    return max(parts) if node.op_type == "Where" else sum(parts)


def _scaled(node: ir.Node, depth: int) -> float | None:
    """Of a product with a constant, or a quotient by one."""
    left, right = node.inputs
    if node.op_type == "Mul" and constant_of(left) is not None:
        left, right = right, left
    factor, rest = constant_of(right), _largest(left, depth - 1)
    if factor is None or rest is None:
        return None
    sizes = np.abs(factor.astype(np.float64))
    with np.errstate(divide="ignore"):
        scale = float((1 / sizes if node.op_type == "Div" else sizes).max(initial=0.0))
    return rest * scale if np.isfinite(scale) else None
