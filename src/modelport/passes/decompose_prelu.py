"""Takes PRelu apart: into LeakyRelu where there is one slope, else into Relu and a product.

Before:
    y = PRelu (x, slope)

After:
    y = LeakyRelu <alpha = 0.25> (x)                    # one slope, of float32
    p = Relu (x)                                        # several
    n = Min (x, 0)
    m = Mul (n, slope)
    y = Add (p, m)

The same numbers: one of the two summands is zero. For engines that have vector code for these and none for
PRelu. The conditions: the slopes are finite constants, and the element type is float16, float32 or double.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, is_op, rank_of

KINDS = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)

MIN_BROADCASTS_SINCE = 8


class DecomposePRelu(RewritePass):
    name: ClassVar[str] = "decompose_prelu"
    takes_apart: ClassVar[tuple[str, ...]] = ("PRelu",)
    summary: ClassVar[str] = "PRelu becomes LeakyRelu, or Relu and a product"

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if is_op(node, "PRelu") else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        x, slope = node.inputs[0], constant_input(node, 1)
        if slope is None:
            return "its slopes are computed"
        if x is None or x.dtype not in KINDS:
            return "the element type is not known to be float16, float32 or double"
        if self.opset < MIN_BROADCASTS_SINCE:
            return f"Min broadcasts from opset {MIN_BROADCASTS_SINCE} on"
        if not np.isfinite(slope).all():
            return "a slope is not finite"
        if slope.ndim > (rank_of(x) or 0):
            return "the slopes have more axes than x is known to have"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        x, slope = node.inputs[:2]
        array = constant_input(node, 1)
        assert x is not None
        assert x.dtype is not None
        assert array is not None
        if array.size == 1 and x.dtype == ir.DataType.FLOAT:
            alpha = {"alpha": float(array.reshape(()))}
            self.replace(match, [self.node("LeakyRelu", [x], alpha, for_=match)])
            return
        zero = self.constant(np.asarray(0, x.dtype.numpy()), "zero")
        positive = self.node("Relu", [x], for_=match)
        negative = self.node("Min", [x, zero], for_=match)
        scaled = self.node("Mul", [negative.outputs[0], slope], for_=match)
        both = self.node("Add", [positive.outputs[0], scaled.outputs[0]], for_=match)
        self.replace(match, [positive, negative, scaled, both])
