"""Gives the slopes of a PRelu the axes that they need, where a file has left them out.

Before (x of N x C x H x W, slope of C):
    y = PRelu (x, slope)

After (slope of C x 1 x 1):
    y = PRelu (x, slope)

MXNet's exporter wrote one slope to a channel without the axes behind it, which from opset 7 on means one to
a column, and is invalid where there are not C columns. Such a file runs nowhere, so nothing can be
compared; what it meant is certain all the same. The conditions: the slopes are as many as the channels, and
not as many as the last axis has places; both are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, is_op, rank_of, size_of

BROADCAST_SINCE = 7


class RepairPRelu(RewritePass):
    name: ClassVar[str] = "repair_prelu"
    summary: ClassVar[str] = "slopes of PRelu that lack axes get them"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        slope = constant_input(node, 1) if is_op(node, "PRelu") else None
        rank = None if slope is None else rank_of(node.inputs[0])
        if slope is None or slope.ndim != 1 or slope.size == 1 or rank is None or rank < 3:
            return None
        return [node] if self.opset >= BROADCAST_SINCE else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        slope = constant_input(node, 1)
        assert slope is not None
        last, channels = size_of(node.inputs[0], -1), size_of(node.inputs[0], 1)
        if last is None or channels is None:
            return "it is not known how many channels and columns there are"
        if last in (1, slope.size):
            return "one slope to a column is what the file says"
        if channels != slope.size:
            return f"there are {slope.size} slopes and {channels} channels"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        slope, rank = constant_input(node, 1), rank_of(node.inputs[0])
        assert slope is not None
        assert rank is not None
        shaped = slope.reshape(-1, *[1] * (rank - 2))
        node.replace_input_with(1, self.constant(shaped, f"{node.outputs[0].name}_slope"))
