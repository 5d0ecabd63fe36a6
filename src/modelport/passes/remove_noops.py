"""Removes nodes that do nothing for the values, sizes and attributes that they have.

Before:
    a = Reshape (x, same_shape)
    b = Mul (a, one)
    y = Concat <axis = 1> (b)

After:
    y = x

Exact. A node goes where its result is one of its inputs on every feed:

- the shape stays the same: Reshape, Flatten, Expand, Squeeze, Unsqueeze, and Slice in steps of 1;
  Pad by nothing, Resize by 1, Tile once, Gather of all in order, pools of one element, Transpose that
  keeps the order, reductions over axes of size 1
- one part only: Concat, Sum, Mean, Max, Min, Split
- Mul and Div by 1, Sub of 0, Add of 0 to integers, And with true, Or with false, where neither the
  shape nor the element type changes
- Where with one answer for all; Clip without bounds
- again what was done already: Relu of Relu, Abs of Abs; Not of Not, Neg of Neg

`x + 0.0` stays for floats, since `-0.0 + 0.0` is `0.0`; `x + -0.0` goes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph.arguments import integers
from modelport.graph.query import constant_of
from modelport.graph.shapes import Shapes
from modelport.passes.matching import constant_input, input_of, is_op, producer
from modelport.passes.shaped import GivingBackPass
from modelport.types import Array

ALL_OF_MAX = 64
"""Longest Gather of all that is looked for."""


class RemoveNoops(GivingBackPass):
    name: ClassVar[str] = "remove_noops"
    summary: ClassVar[str] = "nodes that do nothing for their sizes and numbers are removed"

    def source(self, node: ir.Node) -> ir.Value | str | None:
        rule = _RULES.get(node.op_type) if is_op(node, node.op_type) else None
        if rule is None or not node.inputs or node.inputs[0] is None:
            return None
        if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
            return None
        return rule(node, self)

    def keeps_shape(self, node: ir.Node, index: int = 0) -> bool:
        return self.shapes.same(node.inputs[index], node.outputs[0])


_Rule = Callable[[ir.Node, RemoveNoops], ir.Value | str | None]


def _same_shape(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    return node.inputs[0] if known.keeps_shape(node) else None


def _when(condition: Callable[[ir.Node, Shapes], bool]) -> _Rule:
    """Removes nodes that keep the shape and meet a condition."""

    def rule(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
        return node.inputs[0] if condition(node, known.shapes) and known.keeps_shape(node) else None

    return rule


def _steps_by_one(node: ir.Node, shapes: Shapes) -> bool:
    steps = integers(node, "steps", 4, shapes)
    return steps is not None and (not isinstance(steps, list) or set(steps) <= {1})


def _says_what_goes(node: ir.Node, shapes: Shapes) -> bool:
    """Of an empty list of axes, engines do not agree whether it means none or all."""
    return integers(node, "axes", 1, shapes) != []


def _pads_nothing(node: ir.Node, shapes: Shapes) -> bool:
    pads = integers(node, "pads", 1, shapes)
    return isinstance(pads, list) and not any(pads)


def _tiles_once(node: ir.Node, shapes: Shapes) -> bool:
    repeats = shapes.numbers(input_of(node, 1))
    return repeats is not None and set(repeats) <= {1}


def _keeps_order(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    perm = node.attributes.get_ints("perm", ())
    if not perm:
        sizes = known.shapes.of(node.inputs[0])
        return node.inputs[0] if sizes is not None and len(sizes) < 2 else None
    return node.inputs[0] if list(perm) == sorted(perm) else None


def _takes_all(node: ir.Node, shapes: Shapes) -> bool:
    order = shapes.numbers(input_of(node, 1))
    return order is not None and order == list(range(len(order)))


def _resizes_by_one(node: ir.Node, shapes: Shapes) -> bool:
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return False
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        return True  # to its own sizes
    scales = constant_input(node, 2 if len(node.inputs) > 2 else 1)
    if scales is None:
        return False
    return bool(np.all(scales == 1))


def _slides_over_one(node: ir.Node, shapes: Shapes) -> bool:
    numbers = [
        *node.attributes.get_ints("kernel_shape", (0,)),
        *node.attributes.get_ints("strides", ()),
    ]
    return set(numbers) == {1} and not any(node.attributes.get_ints("pads", ()))


def _only(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == len(node.outputs) == 1 else None


def _neutral(number: float | bool, *, either: bool = False, signed: bool = False) -> _Rule:
    """An operator that one constant leaves as it is; `signed` where a float zero has the wrong sign."""

    def rule(node: ir.Node, known: RemoveNoops) -> ir.Value | str | None:
        for index in (0, 1) if either else (0,):
            other = constant_input(node, 1 - index)
            if other is None or not other.size or not _all_are(other, number):
                continue
            if not _broadcasts_into(other, node, index, known):
                continue
            if signed and other.dtype.kind not in "iu" and not np.all(np.signbit(other)):
                return "-0.0 + 0.0 is 0.0"
            if node.op_type == "Sub" and other.dtype.kind not in "iu" and np.any(np.signbit(other)):
                return "-0.0 - -0.0 is 0.0"
            return node.inputs[index]
        return None

    return rule


def _all_are(array: Array, number: float | bool) -> bool:
    return array.size <= ALL_OF_MAX**2 and bool(np.all(array == number))


def _broadcasts_into(array: Array, node: ir.Node, index: int, known: RemoveNoops) -> bool:
    """Whether the result has the shape of that input; a single number of rank 0 changes no shape."""
    return array.ndim == 0 or known.keeps_shape(node, index)


def _chosen(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    condition = constant_of(node.inputs[0])
    if condition is None or not condition.size or condition.min() != condition.max():
        return None
    index = 1 if condition.reshape(-1)[0] else 2
    return node.inputs[index] if known.keeps_shape(node, index) else None


def _unbounded(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    given = [value for value in node.inputs[1:] if value is not None]
    return node.inputs[0] if not given and known.opset >= 11 and not node.attributes else None


def _undone(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    before = producer(node.inputs[0], node.op_type)
    return None if before is None else before.inputs[0]


def _repeated(node: ir.Node, known: RemoveNoops) -> ir.Value | None:
    return node.inputs[0] if producer(node.inputs[0], node.op_type) is not None else None


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Expand", "Unsqueeze"), _same_shape),
    **dict.fromkeys(
        ("ReduceMax", "ReduceMin", "ReduceMean", "ReduceSum", "ReduceProd"), _same_shape
    ),
    **dict.fromkeys(("Concat", "Sum", "Mean", "Max", "Min", "Split"), _only),
    **dict.fromkeys(("Resize", "Upsample"), _when(_resizes_by_one)),
    **dict.fromkeys(("MaxPool", "AveragePool"), _when(_slides_over_one)),
    **dict.fromkeys(("Not", "Neg", "BitwiseNot"), _undone),
    **dict.fromkeys(("Relu", "Abs", "Floor", "Ceil", "Round", "Sign"), _repeated),
    "Squeeze": _when(_says_what_goes),
    "Slice": _when(_steps_by_one),
    "Pad": _when(_pads_nothing),
    "Tile": _when(_tiles_once),
    "Gather": _when(_takes_all),
    "Transpose": _keeps_order,
    "Add": _neutral(0, either=True, signed=True),
    "Sub": _neutral(0),
    "Mul": _neutral(1, either=True),
    "Div": _neutral(1),
    "And": _neutral(True, either=True),
    "Or": _neutral(False, either=True),
    "Where": _chosen,
    "Clip": _unbounded,
}
