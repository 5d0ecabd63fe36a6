"""Nodes that multiply each channel by a number and add another, read as `x * factor + shift`.

Mul, Div, Add, Sub and Neg with a constant that is one number, or one number to a channel, and
BatchNormalization in inference mode. Products are taken in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.matching import constant_input, input_of, is_op
from modelport.types import Array

ARITHMETIC = ("Mul", "Div", "Add", "Sub", "Neg")


@dataclass(frozen=True)
class Affine:
    """`x * factor + shift`; each float64 of shape (1,) or (channels,)."""

    factor: Array
    shift: Array

    def then(self, after: Affine) -> Affine:
        return Affine(self.factor * after.factor, self.shift * after.factor + after.shift)

    def over(self, channels: int) -> Affine:
        """One number to each channel."""
        return Affine(
            np.broadcast_to(self.factor, (channels,)), np.broadcast_to(self.shift, (channels,))
        )


UNCHANGED = Affine(np.ones(1), np.zeros(1))


def affine_source(node: ir.Node | None) -> ir.Value | None:
    """What the node works on if it may be affine, else None."""
    if node is None or not is_op(node, "BatchNormalization", *ARITHMETIC):
        return None
    if node.op_type in ("BatchNormalization", "Neg"):
        return node.inputs[0]
    left, right = node.inputs
    if constant_of(right) is not None:
        return None if constant_of(left) is not None else left
    return right if node.op_type != "Div" and constant_of(left) is not None else None


def affine_of(node: ir.Node, rank: int | None, axis: int, channels: int | None) -> Affine | str:
    """The node as an affine function of its source, or why it is none.

    Args:
        rank: of the source, where it is known.
        axis: of the source's channels, not negative.
        channels: their number, where it is known.
    """
    if node.op_type == "BatchNormalization":
        problem = norm_problem(node)
        if problem is None and axis != 1:
            problem = "BatchNormalization works along another axis"
        return problem or of_norm(node)
    if node.op_type == "Neg":
        return Affine(-UNCHANGED.factor, UNCHANGED.shift)
    index = 1 if constant_input(node, 1) is not None else 0
    array = constant_input(node, index)
    assert array is not None
    numbers = _per_channel(array, rank, axis, channels)
    if numbers is None:
        return f"the constant of {node.op_type} is not one number, nor one to a channel"
    return _of_arithmetic(node.op_type, numbers, constant_first=index == 0)


def _of_arithmetic(operator: str, numbers: Array, *, constant_first: bool) -> Affine | str:
    if operator == "Mul":
        return Affine(numbers, np.zeros(1))
    if operator == "Div":
        if not numbers.all():
            return "it divides by zero"
        return Affine(1 / numbers, np.zeros(1))
    if operator == "Add":
        return Affine(np.ones(1), numbers)
    return Affine(-np.ones(1), numbers) if constant_first else Affine(np.ones(1), -numbers)


def _per_channel(array: Array, rank: int | None, axis: int, channels: int | None) -> Array | None:
    """One number, or one to a channel; None where the constant differs elsewhere or adds axes."""
    if rank is None:
        # Everything here has an axis at least, so a constant of one axis adds none.
        rank = axis + 1 if array.ndim <= 1 and array.size == 1 else 0
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(size != 1 for place, size in enumerate(shape) if place != axis):
        return None
    if shape[axis] not in (1, channels):
        return None
    return np.asarray(array, np.float64).reshape(-1)


def norm_problem(norm: ir.Node) -> str | None:
    """Why a BatchNormalization is no affine function, or None."""
    if norm.attributes.get_int("training_mode", 0):
        return "it is in training mode"
    if any(output.uses() or output.is_graph_output() for output in norm.outputs[1:]):
        return "its running statistics are read"
    parameters = [constant_of(value) for value in norm.inputs[1:5]]
    if any(array is None for array in parameters):
        return "its parameters are not constants"
    if any(array is not None and array.ndim != 1 for array in parameters):
        return "its parameters are not one number to a channel"  # `spatial = 0`, opset 8
    return None


def of_norm(norm: ir.Node) -> Affine:
    """A BatchNormalization without a problem."""
    scale, offset, mean, var = (
        np.asarray(constant_input(norm, index), np.float64) for index in range(1, 5)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = scale / np.sqrt(var + norm.attributes.get_float("epsilon", 1e-5))
        return Affine(factor, offset - mean * factor)


def norm_channels(norm: ir.Node) -> int | None:
    """How many channels a BatchNormalization has, where its parameters are constants."""
    scale = constant_of(input_of(norm, 1))
    return None if scale is None else int(scale.size)
