"""What operators make of whole numbers that are known in part: the arithmetic of shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from modelport.graph import sizes
from modelport.graph.arguments import ABSENT, axes_of, integers, slices
from modelport.graph.sizes import Entry

if TYPE_CHECKING:
    from modelport.graph.shapes import Contents, Shapes

Rule: TypeAlias = "Callable[[ir.Node, Shapes], list[Contents | None]]"

_LARGEST = 64
_WIDE = (ir.DataType.INT64, ir.DataType.INT32)


def infer(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    """The contents of a node's outputs, as far as its inputs tell."""
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None:
        return []
    try:
        return rule(node, shapes)
    except (ValueError, IndexError, TypeError, OverflowError):
        return []  # a node that asks for what is not there; the engine will say so


def _each(
    function: Callable[..., Entry],
) -> Callable[[ir.Node, Shapes], list[Contents | None]]:
    """An operator that works element by element, with broadcasting."""

    def rule(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
        arrays = [shapes.contents(value) for value in node.inputs]
        known = [array for array in arrays if array is not None]
        if not known or len(known) != len(arrays) or not _is_small(known):
            return []
        if len(known) == 1 and function in (sizes.maximum, sizes.minimum, sizes.add):
            return [known[0]]
        result = known[0]
        if function in (sizes.maximum, sizes.minimum, sizes.add):
            for other in known[1:]:
                result = np.asarray(np.frompyfunc(function, 2, 1)(result, other), object)
            return [result]
        return [np.asarray(np.frompyfunc(function, len(known), 1)(*known), object)]

    return rule


def _is_small(arrays: Sequence[Contents]) -> bool:
    return math.prod(np.broadcast_shapes(*(array.shape for array in arrays))) <= _LARGEST


def _constant(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    return []  # read where it is asked for


def _shape(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    known = shapes.of(node.inputs[0])
    if known is None:
        return []
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(known))
    return [_row(known[start:end])]


def _size(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    known = shapes.of(node.inputs[0])
    return [] if known is None else [_scalar(sizes.product(known))]


def _gather(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, index = shapes.contents(node.inputs[0]), shapes.numbers(node.inputs[1])
    places = shapes.contents(node.inputs[1])
    if data is None or index is None or places is None:
        return []
    axis = node.attributes.get_int("axis", 0) or 0
    taken = np.asarray(index, np.int64).reshape(places.shape)
    return [np.asarray(data.take(taken, axis), object)]


def _slice(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data = shapes.contents(node.inputs[0])
    cuts = None if data is None else slices(node, shapes, data.ndim)
    if data is None or cuts is None:
        return []
    index = []
    for start, end, step in cuts:
        if not isinstance(start, int) or not isinstance(end, int):
            return []
        index.append(slice(start, None if step < 0 and end < -data.size else end, step))
    return [data[tuple(index)]]


def _concat(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    """Parts of which nothing is known still take their places, where it is known how many."""
    parts = []
    for value in node.inputs:
        part = shapes.contents(value)
        known = shapes.of(value)
        if part is None:
            if known is None or len(known) != 1 or not isinstance(known[0], int):
                return []
            part = np.full(min(known[0], _LARGEST + 1), None, object)
        parts.append(part)
    return [np.concatenate(parts, node.attributes.get_int("axis", 0) or 0)]


def _split(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, listed = shapes.contents(node.inputs[0]), integers(node, "split", 1, shapes)
    if data is None or listed is None:
        return []
    axis = node.attributes.get_int("axis", 0) or 0
    if listed is ABSENT:
        part = -(-data.shape[axis] // len(node.outputs))
        return list(np.split(data, range(part, part * len(node.outputs), part), axis))
    return list(np.split(data, np.cumsum(listed)[:-1], axis))


def _squeeze(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, axes = shapes.contents(node.inputs[0]), integers(node, "axes", 1, shapes)
    if data is None or not axes:
        return []
    if axes is ABSENT:
        return [np.asarray(data.squeeze(), object)]
    return [np.asarray(data.squeeze(tuple(axes)), object)]


def _unsqueeze(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, axes = shapes.contents(node.inputs[0]), integers(node, "axes", 1, shapes)
    if data is None or axes is None or axes is ABSENT:
        return []
    return [np.expand_dims(data, tuple(axes))]


def _reshape(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, result = shapes.contents(node.inputs[0]), shapes.of(node.outputs[0])
    if data is None or result is None or not all(isinstance(size, int) for size in result):
        return []
    return [data.reshape([size for size in result if isinstance(size, int)])]


def _expand(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, target = shapes.contents(node.inputs[0]), shapes.numbers(node.inputs[1])
    if data is None or target is None:
        return []
    shape = np.broadcast_shapes(data.shape, tuple(target))
    return [np.broadcast_to(data, shape)] if math.prod(shape) <= _LARGEST else []


def _transpose(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data = shapes.contents(node.inputs[0])
    return [] if data is None else [data.transpose(node.attributes.get_ints("perm", None))]


def _cast(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    data, kind = shapes.contents(node.inputs[0]), node.attributes.get_int("to", 0)
    if data is None or node.outputs[0].dtype not in (None, *_WIDE, ir.DataType.BOOL):
        return []
    if kind == ir.DataType.BOOL:
        return [np.asarray(np.frompyfunc(_is_set, 1, 1)(data), object)]
    if kind not in _WIDE:
        return []
    return [np.asarray(np.frompyfunc(lambda e: int(e) if isinstance(e, bool) else e, 1, 1)(data))]


def _is_set(entry: Entry) -> bool | None:
    equal = sizes.equals(entry, 0)
    return None if equal is None else not equal


def _where(condition: Entry, one: Entry, other: Entry) -> Entry:
    if condition is None:
        return one if one is not None and one == other else None
    return one if condition else other


def _range(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    bounds = [shapes.numbers(value) for value in node.inputs]
    if any(bound is None for bound in bounds):
        return []
    start, limit, delta = (bound[0] for bound in bounds if bound is not None)
    found = range(start, limit, delta)
    return [_row(found)] if len(found) <= _LARGEST else []


def _constant_of_shape(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    target = shapes.numbers(node.inputs[0])
    given = node.attributes.get("value")
    if target is None or given is None or math.prod(target) > _LARGEST:
        return []
    tensor = given.as_tensor()
    if tensor.dtype not in (*_WIDE, ir.DataType.BOOL):
        return []
    return [np.full(target, tensor.numpy().reshape(-1)[0].item(), object)]


def _reduced(function: Callable[[Entry, Entry], Entry], empty: int | None) -> Rule:
    def rule(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
        data = shapes.contents(node.inputs[0])
        axes = None if data is None else axes_of(node, shapes, data.ndim)
        if data is None or axes is None:
            return []
        if empty is None and data.size == 0:
            return []
        kept = bool(node.attributes.get_int("keepdims", 1))
        ufunc = np.frompyfunc(function, 2, 1, identity=empty)
        result = data
        for axis in sorted(axes, reverse=True):
            result = np.asarray(ufunc.reduce(result, axis=axis, keepdims=kept), object)
        return [result]

    return rule


def _row(entries: Sequence[Entry]) -> Contents:
    array = np.empty(len(entries), object)
    array[:] = entries
    return array


def _scalar(entry: Entry) -> Contents:
    array = np.empty((), object)
    array[()] = entry
    return array


def _absolute(entry: Entry) -> Entry:
    if isinstance(entry, int):
        return abs(entry)
    bound = sizes.least(entry)
    return entry if bound is not None and bound >= 0 else None


def _not(entry: Entry) -> Entry:
    return None if entry is None else not entry


def _and(left: Entry, right: Entry) -> Entry:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: Entry, right: Entry) -> Entry:
    return _not(_and(_not(left), _not(right)))


def _same(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    return [shapes.contents(node.inputs[0])]


def _mod(node: ir.Node, shapes: Shapes) -> list[Contents | None]:
    return [] if node.attributes.get_int("fmod", 0) else _each(sizes.modulo)(node, shapes)


_RULES: dict[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Expand": _expand,
    "Transpose": _transpose,
    "Cast": _cast,
    "Identity": _same,
    "Range": _range,
    "ConstantOfShape": _constant_of_shape,
    "Mod": _mod,
    "ReduceProd": _reduced(sizes.multiply, 1),
    "ReduceSum": _reduced(sizes.add, 0),
    "ReduceMax": _reduced(sizes.maximum, None),
    "ReduceMin": _reduced(sizes.minimum, None),
    "Add": _each(sizes.add),
    "Sub": _each(sizes.subtract),
    "Mul": _each(sizes.multiply),
    "Div": _each(sizes.truncated),
    "Max": _each(sizes.maximum),
    "Min": _each(sizes.minimum),
    "Neg": _each(sizes.negative),
    "Abs": _each(_absolute),
    "Where": _each(_where),
    "Equal": _each(sizes.equals),
    "Less": _each(sizes.less),
    "Greater": _each(lambda left, right: sizes.less(right, left)),
    "LessOrEqual": _each(lambda left, right: _not(sizes.less(right, left))),
    "GreaterOrEqual": _each(lambda left, right: _not(sizes.less(left, right))),
    "Not": _each(_not),
    "And": _each(_and),
    "Or": _each(_or),
}
