"""Keeps a Pad with zeros from being folded into the MaxPool behind it, where that is wrong.

Before:
    p = Pad (x, [0, 0, 1, 1, 0, 0, 1, 1])
    y = MaxPool (p)

After:
    p = Pad (x, [0, 0, 1, 1, 0, 0, 1, 1], 1.2e-38)
    y = MaxPool (p)

ONNX Runtime 1.31 folds the two: zero then no longer counts in windows whose numbers are all
negative, and results are silently wrong (BiT of transformers, any `nn.ConstantPad2d(1, 0.0)` before a
pool). It folds no other number than zero. `fold_pad` has folded what may be folded before.

Equal up to 1.2e-38, the smallest normal number of the type (6.1e-5 for float16, which is left alone). The
condition: elements are of a type with numbers that small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import input_of, is_op, producer, scalar_of

SMALLEST = float(np.finfo(np.float32).smallest_normal)

_TYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)


class KeepPad(RewritePass):
    name: ClassVar[str] = "keep_pad"
    summary: ClassVar[str] = (
        "Pad with zeros before MaxPool is kept from engines that fold it wrongly"
    )
    exact: ClassVar[bool] = False  # 1.2e-38 in place of zero

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "MaxPool"):
            return None
        pad = producer(node.inputs[0], "Pad")
        if pad is None or pad.graph is not node.graph or _number(pad) == SMALLEST:
            return None
        return [pad, node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        pad, _ = match
        if pad.attributes.get_string("mode", "constant") != "constant":
            return "it does not pad with a constant"
        number = _number(pad)
        if number is None:
            return "the number that it pads with is computed"
        if number != 0:
            return f"it pads with {number:g}"
        padded = pad.inputs[0]
        if padded is None or padded.dtype not in _TYPES:
            return "its elements have no numbers as small"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        pad, _ = match
        if self.opset < _INPUT_SINCE:
            pad.attributes["value"] = ir.AttrFloat32("value", SMALLEST)
            return
        assert pad.inputs[0] is not None
        dtype = pad.inputs[0].dtype
        assert dtype is not None
        smallest = self.constant(np.array(SMALLEST, dtype.numpy()), "smallest")
        if len(pad.inputs) < 3:
            pad.resize_inputs(3)
        pad.replace_input_with(2, smallest)


_INPUT_SINCE = 11
"""Opset from which the number is an input."""


def _number(pad: ir.Node) -> float | None:
    given = input_of(pad, 2)
    if given is None:
        return pad.attributes.get_float("value", 0.0)
    number = scalar_of(given)
    return None if number is None else float(number)
