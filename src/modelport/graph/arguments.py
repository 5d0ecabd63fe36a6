"""Whole numbers that a node is given: an attribute in old opsets, an input in new ones."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import onnx_ir as ir

from modelport.graph.sizes import Entry

if TYPE_CHECKING:
    from modelport.graph.shapes import Shapes


class Left(Enum):
    """What stands for numbers that a node leaves out, so that the operator's default holds."""

    OUT = "out"


ABSENT: Final = Left.OUT

END: Final = 2**31 - 1
"""Ends of a Slice from here on mean the end, whatever the size."""


def integers(node: ir.Node, attribute: str, index: int, shapes: Shapes) -> list[int] | Left | None:
    """The numbers of an attribute or of that input; None where they are computed."""
    given = node.attributes.get(attribute)
    if given is not None:
        return None if given.is_ref() else list(given.as_ints())
    if index >= len(node.inputs) or node.inputs[index] is None:
        return ABSENT
    return shapes.numbers(node.inputs[index])


def axes_of(node: ir.Node, shapes: Shapes, rank: int) -> list[int] | None:
    """The axes that a reduction takes away, counted from the front; None where they are not known."""
    axes = integers(node, "axes", 1, shapes)
    if axes is None:
        return None
    if axes is ABSENT or not axes:
        idle = node.attributes.get_int("noop_with_empty_axes", 0)
        return [] if idle else list(range(rank))
    assert isinstance(axes, list)
    return sorted(axis % rank for axis in axes)


def slices(node: ir.Node, shapes: Shapes, rank: int) -> list[tuple[Entry, Entry, int]] | None:
    """Start, end and step of a Slice on each axis; None where axes or steps are not known.

    On axes that it leaves alone they are 0, END and 1.
    """
    if "starts" in node.attributes:
        starts: list[Entry] = list(node.attributes["starts"].as_ints())
        ends: list[Entry] = list(node.attributes["ends"].as_ints())
        given = node.attributes.get_ints("axes", None)
        axes, steps = list(given or range(len(starts))), [1] * len(starts)
    else:
        one, two = shapes.contents(node.inputs[1]), shapes.contents(node.inputs[2])
        if one is None or two is None:
            return None
        starts, ends = list(one), list(two)
        listed = integers(node, "", 3, shapes)
        strides = integers(node, "", 4, shapes)
        if listed is None or strides is None:
            return None
        axes = list(listed) if isinstance(listed, list) else list(range(len(starts)))
        steps = list(strides) if isinstance(strides, list) else [1] * len(starts)
    found: list[tuple[Entry, Entry, int]] = [(0, END, 1)] * rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        found[axis % rank] = (start, end, step)
    return found
