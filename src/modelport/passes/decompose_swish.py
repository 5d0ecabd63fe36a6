"""Takes Swish apart into Sigmoid and Mul.

Before:
    y = Swish <alpha = 1.5> (x)

After:
    a = Mul (x, 1.5)                                    # not for alpha = 1
    s = Sigmoid (a)
    y = Mul (x, s)

Equal up to rounding. For engines that fuse these two themselves and have no kernel for Swish, which is of
opset 24. The condition: the element type is known where alpha is not 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op


class DecomposeSwish(RewritePass):
    name: ClassVar[str] = "decompose_swish"
    takes_apart: ClassVar[tuple[str, ...]] = ("Swish",)
    summary: ClassVar[str] = "Swish becomes Sigmoid and Mul"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if is_op(node, "Swish") else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        x = node.inputs[0]
        if _alpha(node) != 1 and (x is None or x.dtype is None):
            return "the element type is not known"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        x, new = node.inputs[0], []
        assert x is not None
        scaled = x
        if _alpha(node) != 1:
            assert x.dtype is not None
            alpha = self.constant(np.asarray(_alpha(node), x.dtype.numpy()), "alpha")
            new.append(self.node("Mul", [x, alpha], for_=match))
            scaled = new[-1].outputs[0]
        sigmoid = self.node("Sigmoid", [scaled], for_=match)
        self.replace(match, [*new, sigmoid, self.node("Mul", [x, sigmoid.outputs[0]], for_=match)])


def _alpha(node: ir.Node) -> float:
    alpha = node.attributes.get_float("alpha", 1.0)
    return 1.0 if alpha is None else alpha
