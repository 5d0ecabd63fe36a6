"""Makes one HardSwish of the nodes that exporters write for it.

Before (in any order of the products):
    a = Add (x, 3)
    c = Clip (a, 0, 6)
    m = Mul (x, c)
    y = Div (m, 6)

After:
    y = HardSwish (x)

And `x * HardSigmoid <alpha = 1/6, beta = 0.5> (x)`. Relu6 may be written as Min and Max, or as Relu and
Min.

Equal up to rounding. The conditions: opset 14 or newer, the constants are those of the definition,
rounded to the type they are written in, and nothing else reads what lies between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.hard_sigmoid import Hard, hard_of
from modelport.passes.matching import is_op
from modelport.passes.rules import Number, goes_on, in_order, leak, product_of, wider

SINCE = 14


class FuseHardSwish(RewritePass):
    name: ClassVar[str] = "fuse_hardswish"
    summary: ClassVar[str] = "the nodes of a HardSwish become one HardSwish"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Mul", "Div"):
            return None
        hard = hard_of(node)
        if hard is None:
            return None
        outer = product_of(node.outputs[0], (hard.x, hard.value))
        if outer is None or not outer.is_of(hard.x, hard.value):
            return None
        if not _height(hard, outer.number).means(1.0) and goes_on(node):
            return None
        self._hard, self._factor = hard, outer.number
        return in_order([*hard.nodes, *outer.nodes])

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if self.opset < SINCE:
            return f"HardSwish is of opset {SINCE}, and the model of opset {self.opset}"
        height = _height(self._hard, self._factor)
        if not height.means(1.0):
            return f"it rises to {height.value:.9g} times x, not to x"
        problem = self._hard.differs()
        return problem or wider([self._factor, *self._hard.numbers], self._hard.x) or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        self.replace(match, [self.node("HardSwish", [self._hard.x], for_=match)])


def _height(hard: Hard, factor: Number) -> Number:
    """What x is multiplied by where it is large."""
    return hard.top.times(factor)
