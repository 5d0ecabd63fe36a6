"""Folds strided slices stacked on the channels, and channels in another order, into a convolution.

Before:
    a = Slice (x, ...)                     # x[:, :, 0::2, 0::2]
    b = Slice (x, ...)                     # x[:, :, 1::2, 0::2], and so on for all four
    s = Concat <axis = 1> (a, b, c, d)
    y = Conv <pads = [1, 1, 1, 1]> (s, W)  # 3x3

After:
    y = Conv <pads = [2, 2, 2, 2], strides = [2, 2]> (x, V)    # 6x6: W with its weights elsewhere

Equal up to the order of sums: the same weights meet the same elements, and beyond the border both see
zeros. The Focus block of YOLOv5 and YOLOX, SpaceToDepth, its Reshape-Transpose-Reshape form, and swaps
of channels (BGR for RGB) by Slice, Gather, or Split and Concat. The conditions: the channels that the
Conv reads hold every element of the value once, in whatever order; Conv has one group, constant weights
and, where slices have steps, no dilation; nothing else reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.base import RewritePass
from modelport.passes.linear import (
    dilations_of,
    group_of,
    linear_problem,
    set_input,
    spatial_pads,
    strides_of,
)
from modelport.passes.matching import constant_input, is_op, is_private
from modelport.passes.rearranging import Layout, layout_of
from modelport.types import Array


class FoldFocus(RewritePass):
    name: ClassVar[str] = "fold_focus"
    summary: ClassVar[str] = "stacked slices and swapped channels are folded into the Conv behind"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        weight = constant_input(node, 1) if is_op(node, "Conv") else None
        layout = None if weight is None else layout_of(node.inputs[0], weight.ndim - 2)
        if layout is None or not layout.is_rearranged():
            return None
        if any(part.graph is not node.graph for part in layout.nodes):
            return None
        self._layout: Layout = layout
        return [*layout.nodes, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        conv = match[-1]
        stacked = conv.inputs[0]
        problem = linear_problem(conv)
        if problem is not None:
            return problem
        if stacked is None or not is_private(stacked):
            return "something else reads the stacked channels too"
        if group_of(conv) != 1:
            return "Conv has groups"
        weight = constant_input(conv, 1)
        assert weight is not None
        axes = weight.ndim - 2
        dilations = dilations_of(conv, axes)
        if any(d > 1 < step for d, step in zip(dilations, self._layout.steps, strict=True)):
            return "Conv has a dilation"
        self._pads = spatial_pads(
            conv, tuple((n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilations, strict=True))
        )
        return "the pads of Conv are not known" if self._pads is None else None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        conv, layout = match[-1], self._layout
        weight = constant_input(conv, 1)
        assert weight is not None
        assert self._pads is not None
        steps = layout.steps
        strides = strides_of(conv, len(steps))
        begins, ends = ([a * b for a, b in zip(side, steps, strict=True)] for side in self._pads)
        spread = _spread(weight, layout)
        set_input(self, conv, 1, spread, "weight")
        conv.replace_input_with(0, layout.base)
        conv.attributes.pop("auto_pad", None)
        for name, numbers in (
            ("kernel_shape", list(spread.shape[2:])),
            ("strides", [a * b for a, b in zip(strides, steps, strict=True)]),
            ("pads", [*begins, *ends]),
        ):
            conv.attributes[name] = ir.AttrInt64s(name, numbers)
        provenance.inherit(conv, [conv, *layout.nodes])
        for node in reversed(layout.nodes):
            read = any(
                value.uses() or value.is_graph_output() or provenance.marks_of(value)
                for value in node.outputs
            )
            if node.graph is not None and not read:
                node.graph.remove(node, safe=True)


def _spread(weight: Array, layout: Layout) -> Array:
    """The weights where the elements lie that they meet."""
    taps = [n * step for n, step in zip(weight.shape[2:], layout.steps, strict=True)]
    result = np.zeros((weight.shape[0], layout.channels, *taps), weight.dtype)
    for index, (channel, phase) in enumerate(layout.sources):
        places = (slice(a, None, step) for a, step in zip(phase, layout.steps, strict=True))
        where: tuple[Any, ...] = (slice(None), channel, *places)
        result[where] = weight[:, index]
    return result
