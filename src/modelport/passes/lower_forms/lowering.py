"""What writing a node in an older opset is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.matching import constant_input
from modelport.passes.shaped import ShapedPass


class Lowering(ShapedPass):
    """A pass that writes a model for an older opset."""

    target: ClassVar[int]

    def scalar(self, number: float, like: ir.Value) -> ir.Value:
        """A constant number of the element type of a value."""
        assert like.dtype is not None
        return self.constant(np.asarray(number, like.dtype.numpy()), "number")


@dataclass(frozen=True)
class Lowered:
    """What a node needs on its way to an older opset.

    Attributes:
        since: the opset that brought the operator, or its present form.
        write: writes a node in the old form, in place or with new nodes.
        problem: why a node cannot be written so, or None.
    """

    since: int
    write: Callable[[ir.Node, Lowering], None]
    problem: Callable[[ir.Node, Lowering], str | None] = lambda node, at: None


def ints_in(node: ir.Node, index: int) -> list[int] | None:
    array = constant_input(node, index)
    return None if array is None else [int(number) for number in array.reshape(-1)]


def drop(node: ir.Node, *attributes: str) -> None:
    for name in attributes:
        node.attributes.pop(name, None)


def end_inputs(node: ir.Node, count: int) -> None:
    if len(node.inputs) > count:
        node.resize_inputs(count)


def give(node: ir.Node, index: int, value: ir.Value) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def first_of(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


def untyped_problem(node: ir.Node, at: Lowering) -> str | None:
    value = node.inputs[0]
    return "its element type is not known" if value is None or value.dtype is None else None
