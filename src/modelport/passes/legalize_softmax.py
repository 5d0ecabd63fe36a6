"""Writes out what Softmax meant before opset 13: all axes from the given one on, taken as one.

Before (opset 11, x of 2 x 3 x 4):
    y = Softmax <axis = 1> (x)

After:
    f = Flatten <axis = 1> (x)
    m = Softmax <axis = 1> (f)
    s = Shape (x)
    y = Reshape (m, s)

The same numbers. For engines that read every Softmax as those of opset 13 are meant, along one axis.
LogSoftmax and Hardmax too. Nothing is to do where the axis is the last one, or all axes behind it have one
place. The condition: the rank is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, rank_of, size_of

ALONG_ONE_AXIS_SINCE = 13


class LegalizeSoftmax(RewritePass):
    name: ClassVar[str] = "legalize_softmax"
    summary: ClassVar[str] = "Softmax over several axes, of old opsets, is written out"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if self.opset >= ALONG_ONE_AXIS_SINCE or not is_op(
            node, "Softmax", "LogSoftmax", "Hardmax"
        ):
            return None
        x = node.inputs[0]
        rank, axis = rank_of(x), node.attributes.get_int("axis", 1) or 0
        if rank is None:
            return [node]
        behind = range(axis % rank + 1 if rank else 0, rank)
        return [node] if any(size_of(x, each) != 1 for each in behind) else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        return "the rank of its input is not known" if rank_of(match[0].inputs[0]) is None else None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        x, rank = node.inputs[0], rank_of(node.inputs[0])
        assert rank is not None
        axis = (node.attributes.get_int("axis", 1) or 0) % rank
        flat = self.node("Flatten", [x], {"axis": axis}, for_=match)
        flat.outputs[0].shape = ir.Shape([None, None])
        each = self.node(node.op_type, [flat.outputs[0]], {"axis": 1}, for_=match)
        shape = self.node("Shape", [x], for_=match)
        back = self.node("Reshape", [each.outputs[0], shape.outputs[0]], for_=match)
        self.replace(match, [flat, each, shape, back])
