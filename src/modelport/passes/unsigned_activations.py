"""Writes quantized activations in uint8 instead of int8.

Before:
    q = QuantizeLinear (x, scale, zero_point)           # int8
    y = DequantizeLinear (q, scale, zero_point)

After:
    q = QuantizeLinear (x, scale, zero_point + 128)     # uint8
    y = DequantizeLinear (q, scale, zero_point + 128)

The same numbers, bit for bit. x86 processors multiply unsigned by signed bytes, so engines have their fastest
kernels for this form; and OpenVINO 2026.4 gives other results for int8 with a zero point behind a Split or
into a Concat. The condition: the zero points are constants, and only Dequantize reads the integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, is_op
from modelport.types import Array

SHIFT = 128
ZERO_POINT = 2


class UnsignedActivations(RewritePass):
    name: ClassVar[str] = "unsigned_activations"
    summary: ClassVar[str] = "activations in int8 become the same numbers in uint8"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "QuantizeLinear") or _zero_point(node) is None:
            return None
        return [node, *(use.node for use in node.outputs[0].uses())]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        quantize, *readers = match
        others = {reader.op_type for reader in readers if not is_op(reader, "DequantizeLinear")}
        if others or quantize.outputs[0].is_graph_output():
            return f"{', '.join(sorted(others)) or 'the caller'} reads the integers"
        if any(_zero_point(reader) is None for reader in readers):
            return "a DequantizeLinear has no constant zero point in int8"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        for node in match:
            zero = _zero_point(node)
            assert zero is not None
            shifted = (zero.astype(np.int16) + SHIFT).astype(np.uint8)
            node.replace_input_with(ZERO_POINT, self.constant(shifted, "zero_point"))
        quantize = match[0]
        quantize.attributes.pop("output_dtype", None)
        quantize.outputs[0].type = ir.TensorType(ir.DataType.UINT8)


def _zero_point(node: ir.Node) -> Array | None:
    """Of int8, as a constant."""
    zero = constant_input(node, ZERO_POINT)
    return zero if zero is not None and zero.dtype == np.int8 else None
