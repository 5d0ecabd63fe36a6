"""Reads the nodes of a normalisation: `c / sqrt (mean (c²) + epsilon)`, with c either x or x - mean (x)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.matching import constant_input, input_of, is_op, producer, rank_of, reader
from modelport.passes.rules import Number, number_of, with_number
from modelport.types import Array


@dataclass(frozen=True)
class Norm:
    """A normalisation of x over axes (not negative); `centred` where the mean is taken off first."""

    x: ir.Value
    axes: tuple[int, ...]
    epsilon: Number
    centred: bool
    nodes: tuple[ir.Node, ...]

    @property
    def rank(self) -> int:
        rank = rank_of(self.x)
        assert rank is not None
        return rank

    @property
    def is_last(self) -> bool:
        """Whether the axes are the last ones."""
        return self.axes == tuple(range(self.rank - len(self.axes), self.rank))

    def problem(self) -> str | None:
        """Why the standard operators would not give the same, or None."""
        if self.epsilon.value < 0 or self.epsilon.rank > self.rank:
            return f"its epsilon is {self.epsilon.value:.9g}, of rank {self.epsilon.rank}"
        if self.x.dtype == ir.DataType.DOUBLE:
            return "the operator works in float32, and the values are double"
        return None


def norm_of(node: ir.Node) -> Norm | None:
    """The normalisation that ends in that node, or None."""
    found = _over_root(node)
    if found is None:
        return None
    value, radicand, nodes = found
    sum_ = producer(radicand, "Add")
    pair = with_number(sum_)
    mean = None if pair is None else mean_of(pair[0])
    if sum_ is None or pair is None or mean is None:
        return None
    square, axes, reduce = mean
    base = _square(square)
    if base is None:
        return None
    squared, power = base
    tail = (power, reduce, sum_, *nodes)
    if squared is value and _centre(value) is None:
        return Norm(value, axes, pair[1], False, tail)
    return _centred(value, squared, axes, pair[1], tail)


def _centred(
    value: ir.Value,
    squared: ir.Value,
    axes: tuple[int, ...],
    epsilon: Number,
    tail: tuple[ir.Node, ...],
) -> Norm | None:
    """Both the value and what is squared are x - mean (x), in one node or in two alike."""
    centres = [_centre(each) for each in dict.fromkeys((squared, value))]
    first = centres[0]
    if first is None or any(each is None or each[:2] != first[:2] for each in centres):
        return None
    x, over, _ = first
    if over != axes:
        return Norm(value, axes, epsilon, False, tail) if squared is value else None
    nodes = [node for each in centres if each is not None for node in each[2]]
    return Norm(x, axes, epsilon, True, (*dict.fromkeys(nodes), *tail))


def _centre(value: ir.Value) -> tuple[ir.Value, tuple[int, ...], tuple[ir.Node, ...]] | None:
    """x, the axes and the nodes where the value is x - mean (x)."""
    sub = producer(value, "Sub")
    mean = None if sub is None else mean_of(sub.inputs[1])
    if sub is None or mean is None or mean[0] is not sub.inputs[0]:
        return None
    return mean[0], mean[1], (mean[2], sub)


def mean_of(value: ir.Value | None) -> tuple[ir.Value, tuple[int, ...], ir.Node] | None:
    """What a ReduceMean that keeps its axes takes the mean of, over which axes, and the node."""
    node = producer(value, "ReduceMean")
    if node is None or node.inputs[0] is None or not node.attributes.get_int("keepdims", 1):
        return None
    rank = rank_of(node.inputs[0])
    given = constant_input(node, 1)
    if input_of(node, 1) is not None and given is None:
        return None
    axes = node.attributes.get_ints("axes") if given is None else given.reshape(-1).tolist()
    idle = node.attributes.get_int("noop_with_empty_axes", 0)
    if rank is None or (not axes and idle):
        return None
    return node.inputs[0], tuple(sorted(int(a) % rank for a in axes or range(rank))), node


def _square(value: ir.Value) -> tuple[ir.Value, ir.Node] | None:
    node = producer(value, "Mul", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Mul":
        return (node.inputs[0], node) if node.inputs[0] is node.inputs[1] else None
    return (node.inputs[0], node) if _is(node.inputs[1], 2.0, node.inputs[0]) else None


def _over_root(node: ir.Node) -> tuple[ir.Value, ir.Value, tuple[ir.Node, ...]] | None:
    """v, r and the nodes where the node is `v / sqrt (r)`, spelled in any way."""
    if is_op(node, "Div"):
        root = _root(node.inputs[1], 0.5)
        value = node.inputs[0]
        return None if root is None or value is None else (value, root[0], (*root[1], node))
    if not is_op(node, "Mul"):
        return None
    left, right = node.inputs
    for factor, other in ((left, right), (right, left)):
        root = _root(other, -0.5)
        inverse = producer(other, "Reciprocal", "Div")
        if inverse is not None and (
            inverse.op_type == "Reciprocal" or _is(inverse.inputs[0], 1.0, inverse.inputs[-1])
        ):
            inner = _root(inverse.inputs[-1], 0.5)
            root = None if inner is None else (inner[0], (*inner[1], inverse))
        if factor is not None and root is not None:
            return factor, root[0], (*root[1], node)
    return None


def _is(value: ir.Value | None, wanted: float, beside: ir.Value | None) -> bool:
    """Whether the value is that number, and of no more axes than what it is beside."""
    number = number_of(value)
    return number is not None and number.means(wanted) and number.rank <= (rank_of(beside) or 0)


def _root(value: ir.Value | None, power: float) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """r where the value is `r ** power`, by Pow or by Sqrt."""
    node = producer(value, "Sqrt", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Sqrt":
        return (node.inputs[0], (node,)) if power == 0.5 else None
    return (node.inputs[0], (node,)) if _is(node.inputs[1], power, node.inputs[0]) else None


def affine_after(
    node: ir.Node, operator: str, shape: tuple[int, ...]
) -> tuple[ir.Node, Array] | None:
    """The only reader where it is that operator with a constant of that shape; and the constant.

    Args:
        shape: of the constant, from the last axis of the value backwards; missing sizes are 1.
    """
    next_ = reader(node.outputs[0], operator)
    if next_ is None or next_.graph is not node.graph:
        return None
    other = next_.inputs[1] if next_.inputs[0] is node.outputs[0] else next_.inputs[0]
    array = constant_of(other)
    if array is None or array.ndim > (rank_of(node.outputs[0]) or len(shape)):
        return None
    sizes = array.shape
    while len(sizes) > len(shape) and sizes[0] == 1:
        sizes = sizes[1:]
    return (next_, array.reshape(shape)) if sizes == shape else None


def ones(shape: tuple[int, ...], like: ir.Value) -> Array:
    assert like.dtype is not None
    return np.ones(shape, like.dtype.numpy())
