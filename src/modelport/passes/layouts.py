"""Operators that may run before a Transpose as well as after it, and how they then are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from modelport.graph.shape_rules import ELEMENTWISE
from modelport.passes.matching import input_of, is_op
from modelport.passes.shaped import ShapedPass

LARGEST_CONSTANT = 1 << 20
"""Elements of a constant that is worth transposing beside the values."""

Moved: TypeAlias = tuple[dict[str, Any], dict[int, list[int]]]
"""What changes of a node before the Transpose: attributes, and whole numbers that are inputs."""


def data_inputs(node: ir.Node) -> range | None:
    """Which inputs a Transpose can move away from; None of a node that it cannot pass."""
    if not is_op(node, node.op_type):
        return None
    if node.op_type in ELEMENTWISE or node.op_type == "Concat":
        return range(len(node.inputs))
    if node.op_type in _RULES:
        return range(1)
    return None


def moved(node: ir.Node, perm: Sequence[int], at: ShapedPass) -> Moved | None:
    """The node for values as they are before a Transpose of that order; None where that is not certain."""
    if node.op_type in ELEMENTWISE:
        return {}, {}
    return _RULES[node.op_type](node, perm, at)


def transposed_constant(
    array: np.ndarray[Any, Any], perm: Sequence[int]
) -> np.ndarray[Any, Any] | None:
    """What a Transpose of that order turns into the constant, as far as broadcasting goes."""
    if array.ndim > len(perm) or array.size > LARGEST_CONSTANT:
        return None
    full = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return np.ascontiguousarray(full.transpose(np.argsort(perm)))


def _axis(default: int, since: int = 0) -> Callable[..., Moved | None]:
    """An operator along one axis."""

    def rule(node: ir.Node, perm: Sequence[int], at: ShapedPass) -> Moved | None:
        if at.opset < since:
            return None
        axis = node.attributes.get_int("axis", default)
        return {"axis": perm[axis % len(perm)]}, {}

    return rule


def _reduction(node: ir.Node, perm: Sequence[int], at: ShapedPass) -> Moved | None:
    if not node.attributes.get_int("keepdims", 1):
        return None
    if "axes" in node.attributes:
        return {"axes": [perm[axis] for axis in node.attributes.get_ints("axes", ())]}, {}
    given = input_of(node, 1)
    if given is None:
        return {}, {}
    axes = at.shapes.numbers(given)
    return None if not axes else ({}, {1: [perm[axis] for axis in axes]})


def _slice(node: ir.Node, perm: Sequence[int], at: ShapedPass) -> Moved | None:
    starts = at.shapes.of(input_of(node, 1))
    if "starts" in node.attributes or not starts or not isinstance(starts[0], int):
        return None
    axes: list[int] | None = list(range(starts[0]))
    if input_of(node, 3) is not None:
        axes = at.shapes.numbers(node.inputs[3])
    if axes is None:
        return None
    return {}, {3: [perm[axis] for axis in axes]}


def _pad(node: ir.Node, perm: Sequence[int], at: ShapedPass) -> Moved | None:
    rank = len(perm)
    pads = at.shapes.numbers(input_of(node, 1))
    if "pads" in node.attributes or pads is None or len(pads) != 2 * rank:
        return None
    if input_of(node, 3) is not None:
        return None
    order = np.argsort(perm)
    both = np.asarray(pads).reshape(2, rank)[:, order]
    return {}, {1: both.reshape(-1).tolist()}


def _split(node: ir.Node, perm: Sequence[int], at: ShapedPass) -> Moved | None:
    return {"axis": perm[node.attributes.get_int("axis", 0) % len(perm)]}, {}


_REDUCTIONS = ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")

_RULES: dict[str, Callable[[ir.Node, Sequence[int], ShapedPass], Moved | None]] = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _axis(-1, since=13)),
    **{f"Reduce{name}": _reduction for name in _REDUCTIONS},
    "Concat": _axis(0),
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
}
