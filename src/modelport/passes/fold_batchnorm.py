"""Folds a BatchNormalization into the convolution or matrix product before it.

Before:
    a = Conv (x, W, b)
    y = BatchNormalization <epsilon> (a, scale, shift, mean, var)

After:
    y = Conv (x, W * f, (b - mean) * f + shift)        # f = scale / sqrt(var + epsilon)

Equal up to rounding; the products are taken in float64. The condition: BatchNormalization runs in
inference mode, all its parameters and the weights are constants, nothing else reads what lies
between the two nodes, and the products fit the element type. Works for Conv, ConvTranspose and
Gemm.

Run `fold_constants` first: exporters hide the bias behind CastLike and Expand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.affine import norm_problem, of_norm
from modelport.passes.base import RewritePass, take_over
from modelport.passes.linear import (
    BIASED,
    Parameters,
    followed_by,
    linear_problem,
    set_parameters,
    storage_problem,
)
from modelport.passes.matching import is_op, is_private, producer


class FoldBatchNorm(RewritePass):
    name: ClassVar[str] = "fold_batchnorm"
    summary: ClassVar[str] = "BatchNormalization is folded into the Conv or Gemm before it"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "BatchNormalization"):
            return None
        linear = producer(node.inputs[0], *BIASED)
        return [linear, node] if linear is not None and linear.graph is node.graph else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        linear, norm = match
        if not is_private(linear.outputs[0]):
            return f"something else reads the result of {linear.op_type} too"
        problem = norm_problem(norm) or linear_problem(linear)
        if problem is not None:
            return problem
        self._new: Parameters = followed_by(linear, of_norm(norm))
        return storage_problem(linear, self._new.weight, self._new.bias)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        linear, norm = match
        set_parameters(self, linear, self._new)
        provenance.inherit(linear, [linear, norm])
        take_over(linear.outputs[0], norm.outputs[0])
        assert norm.graph is not None
        norm.graph.remove(norm, safe=True)
