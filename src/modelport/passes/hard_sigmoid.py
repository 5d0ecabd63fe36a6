"""Reads `Clip (x + 3, 0, 6)`, its other spellings, and HardSigmoid, as one function of x.

Each is `min (max (slope * x + offset, 0), top)`. HardSwish and HardSigmoid are made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.passes.matching import input_of, is_op, producer
from modelport.passes.rules import Number, in_product, number_of, with_number

SPELLINGS = ("Clip", "HardSigmoid", "Min", "Max")
ROUNDED = float(np.finfo(np.float32).eps)
"""Attributes are float32, and exporters compute 1/6 in several ways."""


@dataclass(frozen=True)
class Hard:
    """`min (max (slope * x + offset, 0), top)`, the value that holds it and the nodes that make it."""

    x: ir.Value
    value: ir.Value
    slope: Number
    offset: Number
    top: Number
    nodes: tuple[ir.Node, ...]

    @property
    def numbers(self) -> tuple[Number, ...]:
        return (self.slope, self.offset, self.top)

    def differs(self) -> str | None:
        """Why it is no HardSigmoid of the standard slope and offset, times a number; or None."""
        for what, number, wanted in (("slope", self.slope, 1 / 6), ("offset", self.offset, 0.5)):
            found = number.times(self.top, -1)
            if not found.means(wanted):
                return f"its {what} is {found.value:.9g} of its height, not {wanted:.9g}"
        return None


def hard_of(node: ir.Node) -> Hard | None:
    """The function among the factors of a product, or None."""
    found = (read(clip) for clip in in_product(node, *SPELLINGS))
    return next((hard for hard in found if hard is not None), None)


def read(clip: ir.Node) -> Hard | None:
    """The function that ends in that node, or None."""
    if clip.op_type == "HardSigmoid":
        slope = Number(clip.attributes.get_float("alpha", 0.2) or 0.0, ROUNDED)
        offset = Number(clip.attributes.get_float("beta", 0.5) or 0.0, ROUNDED)
        x = clip.inputs[0]
        return None if x is None else Hard(x, clip.outputs[0], slope, offset, Number(1.0), (clip,))
    cut = _relu6(clip)
    if cut is None:
        return None
    inner, top, nodes = cut
    sum_ = producer(inner, "Add")
    pair = with_number(sum_)
    if sum_ is None or pair is None:
        return None
    x, offset = pair
    return Hard(x, clip.outputs[0], Number(1.0), offset, top, (sum_, *nodes))


def _relu6(node: ir.Node) -> tuple[ir.Value, Number, list[ir.Node]] | None:
    """What is cut at zero and at a number above; the number, and the nodes that cut."""
    if is_op(node, "Clip"):
        low, high = (_bound(node, index, name) for index, name in ((1, "min"), (2, "max")))
        value = node.inputs[0]
        if value is None or low is None or high is None or low.value != 0 or high.value <= 0:
            return None
        return value, high, [node]
    outer = _cut(node)
    inner = None if outer is None else _cut(producer(outer[0], "Min", "Max", "Relu"))
    if outer is None or inner is None or {node.op_type, inner[2].op_type} == {node.op_type}:
        return None
    low, high = (outer[1], inner[1]) if node.op_type == "Max" else (inner[1], outer[1])
    if low.value != 0 or high.value <= 0:
        return None
    return inner[0], high, [inner[2], node]


def _cut(node: ir.Node | None) -> tuple[ir.Value, Number, ir.Node] | None:
    """What a Min, Max or Relu cuts, and where."""
    if node is None or not is_op(node, "Min", "Max", "Relu"):
        return None
    if node.op_type == "Relu":
        return None if node.inputs[0] is None else (node.inputs[0], Number(0.0), node)
    pair = with_number(node)
    return None if pair is None else (*pair, node)


def _bound(clip: ir.Node, index: int, name: str) -> Number | None:
    """A bound of Clip, an attribute up to opset 10 and an input since."""
    if name in clip.attributes:
        return Number(clip.attributes.get_float(name, 0.0) or 0.0)
    return number_of(input_of(clip, index))
