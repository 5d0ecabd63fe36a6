"""Takes Mish apart into one exponential and a quotient.

Before:
    y = Mish (x)                                        # or Softplus, Tanh and Mul

After:
    c = Min (x, 20)
    e = Exp (c)
    f = Add (e, 2)
    n = Mul (e, f)
    d = Add (n, 2)
    q = Div (n, d)
    y = Mul (x, q)

Equal up to rounding: Tanh (Log (1 + e)) is e (e + 2) / (e (e + 2) + 2), which loses nothing for small e.
Where x is larger than the limit the quotient is 1 in the type's precision, and Exp must not overflow. For
engines whose Softplus is slow. The conditions: the element type is float16, float32 or double, and nothing
else reads what lies between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, producer
from modelport.passes.rules import leak

LIMITS = {ir.DataType.FLOAT16: 5.0, ir.DataType.FLOAT: 20.0, ir.DataType.DOUBLE: 20.0}
"""Above, the quotient differs from 1 by less than the type can say, and e² does not overflow."""


class DecomposeMish(RewritePass):
    name: ClassVar[str] = "decompose_mish"
    takes_apart: ClassVar[tuple[str, ...]] = ("Mish",)
    summary: ClassVar[str] = "Mish becomes one exponential and a quotient"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if is_op(node, "Mish"):
            return [node]
        if not is_op(node, "Mul"):
            return None
        left, right = node.inputs
        for x, other in ((left, right), (right, left)):
            tanh = producer(other, "Tanh")
            softplus = None if tanh is None else producer(tanh.inputs[0], "Softplus")
            if tanh is not None and softplus is not None and softplus.inputs[0] is x:
                return [softplus, tanh, node]
        return None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        x = match[0].inputs[0]
        if x is None or x.dtype not in LIMITS:
            return "the element type is not known to be float16, float32 or double"
        return leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        x = match[0].inputs[0]
        assert x is not None
        assert x.dtype is not None
        dtype = x.dtype.numpy()
        limit = self.constant(np.asarray(LIMITS[x.dtype], dtype), "mish_limit")
        two = self.constant(np.asarray(2, dtype), "two")
        cut = self.node("Min", [x, limit], for_=match)
        e = self.node("Exp", [cut.outputs[0]], for_=match)
        more = self.node("Add", [e.outputs[0], two], for_=match)
        upper = self.node("Mul", [e.outputs[0], more.outputs[0]], for_=match)
        lower = self.node("Add", [upper.outputs[0], two], for_=match)
        quotient = self.node("Div", [upper.outputs[0], lower.outputs[0]], for_=match)
        result = self.node("Mul", [x, quotient.outputs[0]], for_=match)
        self.replace(match, [cut, e, more, upper, lower, quotient, result])
