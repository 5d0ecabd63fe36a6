"""Questions that patterns ask of nodes and values."""

from __future__ import annotations

import onnx_ir as ir

from modelport.graph.provenance import marks_of
from modelport.graph.query import constant_of
from modelport.types import Array

STANDARD = ("", "ai.onnx")


def is_op(node: ir.Node | None, *operators: str) -> bool:
    """Whether the node is one of those operators of the standard domain."""
    return node is not None and node.domain in STANDARD and node.op_type in operators


def producer(value: ir.Value | None, *operators: str) -> ir.Node | None:
    """The node that makes the value if it is one of those operators, else None."""
    node = None if value is None else value.producer()
    return node if is_op(node, *operators) else None


def reader(value: ir.Value, *operators: str) -> ir.Node | None:
    """The only node that reads the value if it is one of those operators and reads it once, else None.

    A value that is an output of a graph has a reader outside, and so has one that the source marked.
    """
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output() or marks_of(value):
        return None
    node = uses[0].node
    return node if not operators or is_op(node, *operators) else None


def is_private(value: ir.Value) -> bool:
    """Whether exactly one node reads it, once, and no caller does."""
    return reader(value) is not None


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """The input at that place, None where it is left out or the list ends before."""
    return node.inputs[index] if index < len(node.inputs) else None


def constant_input(node: ir.Node, index: int) -> Array | None:
    """The array of a constant input; None where there is none or it is computed."""
    return constant_of(input_of(node, index))


def scalar_of(value: ir.Value | None) -> float | int | bool | None:
    """The one number of a constant, whatever its rank; None where it is not one number."""
    array = constant_of(value)
    if array is None or array.size != 1 or array.dtype.kind not in "biuf":
        return None
    number: float | int | bool = array.reshape(()).item()
    return number


def with_scalar(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The other input and the number of a commutative node that has one constant number, else None."""
    left, right = node.inputs
    for value, other in ((left, right), (right, left)):
        number = scalar_of(other)
        if value is not None and number is not None:
            return value, float(number)
    return None


def rank_of(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def sizes_of(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape where every size is known, else None."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(value.shape.numpy())


def size_of(value: ir.Value | None, axis: int) -> int | None:
    """One size where it is known, else None. Negative axes count from the end."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None
