"""Rounds the bias of a quantized Gemm to the integers in which its products are summed.

Before:
    y = Gemm (DequantizeLinear (a, sa), DequantizeLinear (b, sb), bias)

After:
    rounded = DequantizeLinear (integers, sa * sb)              # int32
    y = Gemm (DequantizeLinear (a, sa), DequantizeLinear (b, sb), rounded)

Equal up to rounding, and that by less than one step of a product. ONNX Runtime computes such a Gemm in
integers only if its bias is one of them; else it dequantizes the weights whenever the model runs. The
condition: all scales are constants, one to the whole of `a`, and Gemm only multiplies and adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass
from modelport.passes.matching import constant_input, is_op, producer
from modelport.types import Array

MOST = np.iinfo(np.int32).max


class RoundGemmBiases(RewritePass):
    name: ClassVar[str] = "round_gemm_biases"
    summary: ClassVar[str] = "the bias of a quantized Gemm is quantized too"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Gemm") or constant_input(node, 2) is None:
            return None
        pair = [producer(each, "DequantizeLinear") for each in node.inputs[:2]]
        return [node] if None not in pair else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return "it scales what it adds"
        scales, bias = _scales(node), constant_input(node, 2)
        assert bias is not None
        if scales is None or bias.dtype != np.float32:
            return "its scales are not constants, or there is more than one for the data"
        if bias.ndim != 1 or scales.size not in (1, bias.size):
            return "there is no scale to each number of the bias"
        if not bool((np.abs(bias / scales) < MOST).all()):
            return "the bias has more steps than int32 holds"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        scales, bias = _scales(node), constant_input(node, 2)
        assert scales is not None
        assert bias is not None
        integers = self.constant(np.rint(bias / scales).astype(np.int32), "bias_int32")
        steps = self.constant(np.broadcast_to(scales, bias.shape).copy(), "bias_scale")
        rounded = self.node("DequantizeLinear", [integers, steps], {"axis": 0}, for_=match)
        node.replace_input_with(2, rounded.outputs[0])
        assert node.graph is not None
        node.graph.insert_before(node, rounded)


def _scales(node: ir.Node) -> Array | None:
    """Of the products: one, or one to each output."""
    data, weights = (producer(each, "DequantizeLinear") for each in node.inputs[:2])
    assert data is not None
    assert weights is not None
    one, each = constant_of(data.inputs[1]), constant_of(weights.inputs[1])
    if one is None or one.size != 1 or each is None or each.dtype != np.float32:
        return None
    return np.asarray(one.reshape(()) * each)
