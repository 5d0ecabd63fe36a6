"""Operators that make elements from sizes and numbers, or sizes from shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from modelport.graph import sizes
from modelport.graph.shape_rules.rows import (
    Row,
    Rule,
    sizes_held,
)
from modelport.graph.sizes import add, divide, subtract

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes


def _constant_of_shape(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    return [sizes_held(node.inputs[0], shapes)]


def _range(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    ends = [shapes.contents(value) for value in node.inputs]
    if any(end is None for end in ends):
        return [(None,)]
    start, limit, delta = (end.reshape(-1)[0] for end in ends if end is not None)
    if not isinstance(delta, int) or delta < 1:
        return [(None,)]
    length = divide(add(subtract(limit, start), delta - 1), delta)
    return [(sizes.maximum(length, 0),)]


def _shape(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    row = shapes.of(node.inputs[0])
    if row is None:
        return [(None,)]
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(row))
    return [(len(row[start:end]),)]


def _scalar(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    return [()]


def _constant(node: ir.Node, shapes: Shapes) -> list[Row | None]:
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    return [] if tensor is None else [tuple(int(size) for size in tensor.shape.numpy())]


RULES: dict[str, Rule] = {
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Shape": _shape,
    "Size": _scalar,
    "Constant": _constant,
}
