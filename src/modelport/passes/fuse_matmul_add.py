"""Makes a matrix product with its bias one Gemm.

Before:
    a = MatMul (x, W)          # x has two axes, W is a constant with two
    y = Add (a, b)             # b is a constant: one number, or one to a column

After:
    y = Gemm (x, W, b)

Equal up to rounding: Gemm may add the bias before it rounds. Only for a product of two axes: Gemm takes
no others, and a Reshape around it would cost more than it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.affine import Affine, affine_of, affine_source
from modelport.passes.base import RewritePass
from modelport.passes.matching import (
    constant_input,
    is_op,
    is_private,
    producer,
    rank_of,
)

_FLOATS = ("float16", "float32", "float64")
"""What Gemm takes with every opset and engine."""

_BROADCASTS_SINCE = 7
"""Opset from which Gemm broadcasts its bias by itself."""


class FuseMatMulAdd(RewritePass):
    name: ClassVar[str] = "fuse_matmul_add"
    summary: ClassVar[str] = "MatMul of two axes and the Add of its bias become Gemm"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        source = affine_source(node) if is_op(node, "Add") else None
        product = producer(source, "MatMul")
        if product is None or product.graph is not node.graph:
            return None
        return [product, node] if constant_input(product, 1) is not None else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        product, add = match
        weight = constant_input(product, 1)
        assert weight is not None
        if self.opset < _BROADCASTS_SINCE:
            return "Gemm of this opset does not broadcast its bias"
        if weight.ndim != 2 or rank_of(product.inputs[0]) != 2:
            return "the product is not known to have two axes"
        if weight.dtype.name not in _FLOATS:
            return f"it multiplies numbers of {weight.dtype.name}"
        if not is_private(product.outputs[0]):
            return "something else reads the result of MatMul too"
        bias = affine_of(add, 2, 1, weight.shape[1])
        return None if isinstance(bias, Affine) else bias

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        product, add = match
        bias = add.inputs[0] if constant_input(add, 0) is not None else add.inputs[1]
        new = self.node("Gemm", [*product.inputs, bias], for_=match)
        self.replace(match, [new])
