"""Folds a Pad with zeros into the convolution or pool behind it.

Before:
    p = Pad (x, [0, 0, 1, 1, 0, 0, 1, 1])
    y = Conv (p, W)

After:
    y = Conv <pads = [1, 1, 1, 1]> (x, W)

Equal: Conv pads with zeros itself. AveragePool does where it counts its pads; one without pads of its
own starts to count them. MaxPool pads with the smallest number instead, which is as good as zero where
nothing in the value is negative, since every window holds an element: behind Relu, Sigmoid and the
like. The conditions: the mode is `constant`, the number zero, the pads constant, not negative and on
spatial axes alone; sizes do not decide about the pads (`auto_pad = SAME`); a pool does not round up, and
is not dilated, and its pads stay smaller than its window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.base import RewritePass
from modelport.passes.matching import (
    constant_input,
    input_of,
    is_op,
    is_private,
    producer,
    scalar_of,
    sizes_of,
)

_COUNTS_SINCE = 7
"""Opset from which AveragePool can count its pads."""

_NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Abs", "Exp", "Softmax", "Softplus", "Sqrt")


class FoldPad(RewritePass):
    name: ClassVar[str] = "fold_pad"
    summary: ClassVar[str] = "Pad with zeros is folded into the Conv or pool behind it"
    exact: ClassVar[bool] = False  # engines take other paths for it, and sum in another order

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Conv", "AveragePool", "MaxPool"):
            return None
        pad = producer(node.inputs[0], "Pad")
        return [pad, node] if pad is not None and pad.graph is node.graph else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        pad, node = match
        if not is_private(pad.outputs[0]):
            return "something else reads what is padded too"
        mode = node.attributes.get_string("auto_pad", "NOTSET")
        if mode not in ("NOTSET", "VALID"):
            return f"the sizes decide about the pads of {node.op_type}"
        window = _window(node)
        if node.op_type == "AveragePool" and self.opset < _COUNTS_SINCE:
            return "AveragePool of this opset does not count pads"
        if window is None:
            return "the size of its weight is not known"
        problem = _pad_problem(pad, len(window) + 2)
        if problem is not None:
            return problem
        self._pads = _total(pad, node, len(window))
        return None if node.op_type == "Conv" else _pool_problem(pad, node, window, self._pads)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        pad, node = match
        node.attributes["pads"] = ir.AttrInt64s("pads", self._pads)
        node.attributes.pop("auto_pad", None)
        if node.op_type == "AveragePool":
            node.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
        node.replace_input_with(0, pad.inputs[0])
        provenance.inherit(node, [node, pad])
        assert pad.graph is not None
        pad.graph.remove(pad, safe=True)


def _window(node: ir.Node) -> list[int] | None:
    """Sizes of the kernel or window, one to a spatial axis."""
    if node.op_type == "Conv":
        sizes = sizes_of(node.inputs[1])
        return None if sizes is None else list(sizes[2:])
    return list(node.attributes.get_ints("kernel_shape") or []) or None


def _pad_problem(pad: ir.Node, rank: int) -> str | None:
    if pad.attributes.get_string("mode", "constant") != "constant":
        return "it does not pad with a constant"
    value = pad.attributes.get_float("value", 0.0)
    if input_of(pad, 2) is not None:
        number = scalar_of(input_of(pad, 2))
        if number is None:
            return "the number that it pads with is computed"
        value = float(number)
    if value != 0:
        return f"it pads with {value:g}"
    pads = _pads(pad, rank)
    if pads is None:
        return "its pads are computed"
    if min(pads) < 0:
        return "it cuts off"
    if any(pads[axis] or pads[axis + rank] for axis in (0, 1)):
        return "it pads the batch or the channels"
    return None


def _pads(pad: ir.Node, rank: int) -> list[int] | None:
    """Pads at the begin of all axes, then at their end; None where they are not known."""
    if "pads" in pad.attributes:  # before opset 11
        return list(pad.attributes.get_ints("pads"))
    given, axes = constant_input(pad, 1), constant_input(pad, 3)
    if given is None or (axes is None and input_of(pad, 3) is not None):
        return None
    places = list(range(rank)) if axes is None else [int(axis) % rank for axis in axes]
    numbers = [int(number) for number in given.reshape(-1)]
    pads = [0] * (2 * rank)
    for place, begin, end in zip(places, numbers, numbers[len(places) :], strict=False):
        pads[place], pads[place + rank] = begin, end
    return pads


def _total(pad: ir.Node, node: ir.Node, axes: int) -> list[int]:
    """The pads of both on the spatial axes."""
    first = _pads(pad, axes + 2) or []
    second = node.attributes.get_ints("pads") or [0] * (2 * axes)
    spatial = [*first[2 : axes + 2], *first[axes + 4 :]]
    return [one + other for one, other in zip(spatial, second, strict=True)]


def _pool_problem(
    pad: ir.Node, pool: ir.Node, window: Sequence[int], total: Sequence[int]
) -> str | None:
    operator = pool.op_type
    if pool.attributes.get_int("ceil_mode", 0) == 1:
        return f"{operator} rounds the number of its windows up"
    if any(step > 1 for step in pool.attributes.get_ints("dilations") or []):
        return f"{operator} is dilated"
    if any(pads >= size for pads, size in zip(total, [*window, *window], strict=True)):
        return f"{operator} would have windows of pads alone"
    if operator == "MaxPool":
        if any(value.uses() or value.is_graph_output() for value in pool.outputs[1:]):
            return "the indices of MaxPool are read"
        if producer(pad.inputs[0], *_NOT_NEGATIVE) is None:
            return (
                "MaxPool pads with the smallest number, and what is padded may be smaller than zero"
            )
        return None
    counts = pool.attributes.get_int("count_include_pad", 0) == 1
    if not counts and any(pool.attributes.get_ints("pads") or []):
        return "AveragePool does not count its own pads"
    return None
