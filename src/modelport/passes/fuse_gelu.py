"""Makes one Gelu of the nodes that exporters write for it.

Before (in any order of the products):
    d = Div (x, 1.4142135)
    e = Erf (d)
    a = Add (e, 1)
    h = Mul (x, a)
    y = Mul (h, 0.5)

After:
    y = Gelu (x)

And `x * 0.5 * (1 + Tanh (0.7978846 * (x + 0.044715 * x * x * x)))`, which becomes the approximate form.

Equal up to rounding. The conditions: opset 20 or newer, the constants are those of the definition,
rounded to the type they are written in, and nothing else reads what lies between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, producer
from modelport.passes.rules import (
    Number,
    Product,
    goes_on,
    in_order,
    in_product,
    leak,
    product_of,
    wider,
    with_number,
)

SINCE = 20
HALF, ROOT, CUBIC, SLOPE = "factor", "factor of x in Erf", "factor of x³", "factor of Tanh"
WANTED = {
    HALF: 0.5,
    ROOT: math.sqrt(0.5),
    CUBIC: 0.044715,
    SLOPE: math.sqrt(2 / math.pi),
    "sum": 1.0,
}

Found = tuple[ir.Value, dict[str, Number], list[ir.Node]]
"""x, the numbers of the formula by what they are, and the nodes."""


class FuseGelu(RewritePass):
    name: ClassVar[str] = "fuse_gelu"
    summary: ClassVar[str] = "the nodes of a Gelu, exact or by Tanh, become one Gelu"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Mul", "Div"):
            return None
        for sum_ in in_product(node, "Add"):
            pair = with_number(sum_)
            found = pair and (_of_erf(pair[0]) or _of_tanh(pair[0]))
            if pair and found:
                return self._around(node, sum_, found, pair[1])
        return None

    def _around(
        self, node: ir.Node, sum_: ir.Node, found: Found, one: Number
    ) -> Sequence[ir.Node] | None:
        """The match where the product is that of x, the sum and a number."""
        x, numbers, inner = found
        outer = product_of(node.outputs[0], (x, sum_.outputs[0]))
        if outer is None or not outer.is_of(x, sum_.outputs[0]):
            return None
        if not outer.number.means(WANTED[HALF]) and goes_on(node):
            return None
        self._x, self._numbers = x, {**numbers, HALF: outer.number, "sum": one}
        return in_order([*inner, sum_, *outer.nodes])

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if self.opset < SINCE:
            return f"Gelu is of opset {SINCE}, and the model of opset {self.opset}"
        for name, number in self._numbers.items():
            if not number.means(WANTED[name]):
                return f"its {name} is {number.value:.9g}, not {WANTED[name]:.9g}"
        return wider(list(self._numbers.values()), self._x) or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        form = "tanh" if SLOPE in self._numbers else "none"
        attributes = {} if form == "none" else {"approximate": form}
        self.replace(match, [self.node("Gelu", [self._x], attributes, for_=match)])


def _of_erf(value: ir.Value) -> Found | None:
    """x, the number and the nodes of `Erf (x * number)`."""
    erf = producer(value, "Erf")
    scaling = None if erf is None else producer(erf.inputs[0], "Mul", "Div")
    pair = with_number(scaling)
    if erf is None or scaling is None or pair is None:
        return None
    x, _ = pair
    inner = product_of(erf.inputs[0], (x,))
    if inner is None:
        return None
    return x, {ROOT: inner.number}, [scaling, erf]


def _of_tanh(value: ir.Value) -> Found | None:
    """x, the numbers and the nodes of `Tanh (slope * (x + cubic * x³))`, the x factored out or not."""
    tanh = producer(value, "Tanh")
    if tanh is None or tanh.inputs[0] is None:
        return None
    scaling = producer(tanh.inputs[0], "Mul", "Div")
    if scaling is None:
        return None
    for sum_ in in_product(scaling, "Add"):
        for x in _candidates(sum_):
            outer, cubic = product_of(tanh.inputs[0], (x, sum_.outputs[0])), _cubic(sum_, x)
            if outer is None or cubic is None:
                continue
            if outer.is_of(sum_.outputs[0], *[x] * (3 - len(cubic.factors))):
                numbers = {CUBIC: cubic.number, SLOPE: outer.number}
                return x, numbers, [*cubic.nodes, sum_, *outer.nodes, tanh]
    return None


def _candidates(sum_: ir.Node) -> list[ir.Value]:
    """What x may be: a summand of `x + cubic * x³`, or what `1 + cubic * x²` multiplies."""
    found: list[ir.Value] = []
    waiting = [(value, 4) for value in sum_.inputs if value is not None]
    while waiting:
        value, depth = waiting.pop(0)
        found.append(value)
        inner = producer(value, "Mul", "Div", "Pow")
        if inner is not None and depth:
            waiting += [(each, depth - 1) for each in inner.inputs if each is not None]
    return list(dict.fromkeys(found))


def _cubic(sum_: ir.Node, x: ir.Value) -> Product | None:
    """`cubic * x³` where the sum is `x + cubic * x³`, or `cubic * x²` where it is `1 + cubic * x²`."""
    left, right = (product_of(value, (x,)) for value in sum_.inputs)
    for one, other in ((left, right), (right, left)):
        if one is None or other is None or not one.number.means(1.0) or one.nodes:
            continue
        if (len(one.factors), len(other.factors)) in ((1, 3), (0, 2)):
            return other
    return None
