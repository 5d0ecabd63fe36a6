"""Makes one HardSigmoid of the nodes that exporters write for it.

Before:
    a = Add (x, 3)
    c = Clip (a, 0, 6)
    y = Div (c, 6)

After:
    y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)

Equal up to rounding. Any offset and height will do. The conditions: the height comes to 1, the numbers
are not of more precision than the attributes, which are float32, and nothing else reads what lies
between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.hard_sigmoid import hard_of
from modelport.passes.matching import is_op
from modelport.passes.rules import goes_on, in_order, leak, product_of, wider


class FuseHardSigmoid(RewritePass):
    name: ClassVar[str] = "fuse_hardsigmoid"
    summary: ClassVar[str] = "the nodes of a HardSigmoid become one HardSigmoid"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Mul", "Div"):
            return None
        hard = hard_of(node)
        if hard is None or hard.nodes[-1].op_type == "HardSigmoid":
            return None
        outer = product_of(node.outputs[0], (hard.value,))
        if outer is None or len(outer.factors) != 1:
            return None
        if not hard.top.times(outer.number).means(1.0) and goes_on(node):
            return None
        self._hard, self._factor = hard, outer.number
        return in_order([*hard.nodes, *outer.nodes])

    def check(self, match: Sequence[ir.Node]) -> str | None:
        height = self._hard.top.times(self._factor)
        if not height.means(1.0):
            return f"it rises to {height.value:.9g}, not to 1"
        if self._hard.x.dtype == ir.DataType.DOUBLE:
            return "the attributes of HardSigmoid are float32, and the values are double"
        return wider([self._factor, *self._hard.numbers], self._hard.x) or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        attributes = {
            "alpha": self._hard.slope.times(self._factor).value,
            "beta": self._hard.offset.times(self._factor).value,
        }
        self.replace(match, [self.node("HardSigmoid", [self._hard.x], attributes, for_=match)])
