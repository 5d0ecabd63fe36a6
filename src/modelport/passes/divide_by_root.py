"""Divides by a square root instead of multiplying by its reciprocal.

Before:
    s = Sqrt (e)
    r = Reciprocal (s)
    y = Mul (x, r)

After:
    s = Sqrt (e)
    y = Div (x, s)

Equal up to rounding: one rounding less. PyTorch writes `rsqrt` so, in every normalisation. ONNX Runtime
fuses the second form alone. The condition: nothing else reads the reciprocal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, producer
from modelport.passes.rules import leak


class DivideByRoot(RewritePass):
    name: ClassVar[str] = "divide_by_root"
    summary: ClassVar[str] = "a product with the reciprocal of a square root becomes a quotient"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Mul"):
            return None
        for value in node.inputs:
            inverse = producer(value, "Reciprocal")
            if inverse is not None and producer(inverse.inputs[0], "Sqrt") is not None:
                return [inverse, node]
        return None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        inverse, product = match
        if product.inputs[0] is product.inputs[1]:
            return "it is the square of the reciprocal"
        return leak([inverse, product])

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        inverse, product = match
        left, right = product.inputs
        value = left if right is inverse.outputs[0] else right
        self.replace(match, [self.node("Div", [value, inverse.inputs[0]], for_=match)])
