"""Takes Softplus apart into operators for which engines have vector code.

Before:
    y = Softplus (x)

After:
    r = Relu (x)
    e = Exp (-Abs (x))
    u = Add (e, 1)
    l = Log (u)
    c = Div ((u - 1) - e, u)                            # what rounding took from u
    y = Add (r, l - c)

Equal up to rounding, for any x: e is at most 1, and the correction keeps the relative precision where
e is small. For engines whose own Softplus works number by number. The condition: the element type is
float16, float32 or double.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op

KINDS = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)


class DecomposeSoftplus(RewritePass):
    name: ClassVar[str] = "decompose_softplus"
    takes_apart: ClassVar[tuple[str, ...]] = ("Softplus",)
    summary: ClassVar[str] = "Softplus becomes Exp, Log and what keeps them precise"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if is_op(node, "Softplus") else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        x = match[0].inputs[0]
        if x is None or x.dtype not in KINDS:
            return "the element type is not known to be float16, float32 or double"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        x = match[0].inputs[0]
        assert x is not None
        assert x.dtype is not None
        new: list[ir.Node] = []

        def made(operator: str, *inputs: ir.Value) -> ir.Value:
            new.append(self.node(operator, inputs, for_=match))
            return new[-1].outputs[0]

        one = self.constant(np.asarray(1, x.dtype.numpy()), "one")
        positive = made("Relu", x)
        e = made("Exp", made("Neg", made("Abs", x)))
        u = made("Add", e, one)
        lost = made("Div", made("Sub", made("Sub", u, one), e), u)
        made("Add", positive, made("Sub", made("Log", u), lost))
        self.replace(match, new)
