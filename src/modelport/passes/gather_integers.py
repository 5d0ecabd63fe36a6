"""Looks up rows of a quantized table before they become floats, not after.

Before:
    table = DequantizeLinear <axis = 0> (integers, scales)      # constants; a scale to each row
    y = Gather <axis = 0> (table, ids)

After:
    rows = Gather <axis = 0> (integers, ids)
    floats = Cast <to = FLOAT> (rows)
    found = Gather <axis = 0> (scales, ids)
    each = Unsqueeze (found, [-1])
    y = Mul (floats, each)

The same numbers. For engines that dequantize the whole table whenever the model runs: that of MiniLM has
30,522 rows, of which a sentence needs some dozens. The condition: the table has two axes and no zero points
but 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, is_op, producer, rank_of


class GatherIntegers(RewritePass):
    name: ClassVar[str] = "gather_integers"
    summary: ClassVar[str] = "rows of a quantized table are looked up before they are dequantized"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Gather"):
            return None
        table = producer(node.inputs[0], "DequantizeLinear")
        if table is None or constant_of(table.inputs[0]) is None:
            return None
        return [table, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        table, gather = match
        if (gather.attributes.get_int("axis", 0), rank_of(table.inputs[0])) != (0, 2):
            return "it looks up no rows of a table"
        scales, zero = constant_input(table, 1), constant_input(table, 2)
        rows = table.attributes.get_int("axis", 1) == 0
        if scales is None or not rows or scales.ndim != 1 or scales.dtype != np.float32:
            return "the table has no constant scale in float32 to each row"
        if zero is not None and zero.any():
            return "the table has zero points"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        table, gather = match
        integers, scales = table.inputs[:2]
        ids, axis = gather.inputs[1], {"axis": 0}
        rows = self.node("Gather", [integers, ids], axis, for_=match)
        floats = self.node("Cast", [rows.outputs[0]], {"to": ir.DataType.FLOAT}, for_=match)
        found = self.node("Gather", [scales, ids], axis, for_=match)
        last = self.constant(np.asarray([-1]), "last_axis")
        each = self.node("Unsqueeze", [found.outputs[0], last], for_=match)
        made = self.node("Mul", [floats.outputs[0], each.outputs[0]], for_=match)
        self.replace(match, [rows, floats, found, each, made])
