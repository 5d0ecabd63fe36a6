"""Folds the scales of a Gemm into its constants.

Before:
    y = Gemm <alpha = 0.5, beta = 2.0> (x, W, b)

After:
    y = Gemm (x, W * 0.5, b * 2.0)

Equal up to rounding; exact where the scales are powers of two. Engines without scales in their matrix
product multiply twice more. Where only one of the constants is known, its scale is folded alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.linear import linear_problem, set_input, type_problem
from modelport.passes.matching import constant_input, input_of, is_op
from modelport.types import Array

_SCALED = {"alpha": (1, "weight"), "beta": (2, "bias")}


class FoldGemmScales(RewritePass):
    name: ClassVar[str] = "fold_gemm_scales"
    summary: ClassVar[str] = "alpha and beta of Gemm are folded into its weight and bias"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return (
            [node] if is_op(node, "Gemm") and any(_scale(node, n) != 1 for n in _SCALED) else None
        )

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (gemm,) = match
        problem = linear_problem(gemm)
        if problem is not None:
            return problem
        self._new: dict[str, Array] = {}
        for name, (index, _) in _SCALED.items():
            given = constant_input(gemm, index)
            if given is None:
                continue
            scaled = given.astype(np.float64) * _scale(gemm, name)
            problem = type_problem(given.dtype, scaled)
            if problem is not None:
                return problem
            self._new[name] = scaled.astype(given.dtype)
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (gemm,) = match
        for name, (index, role) in _SCALED.items():
            if _scale(gemm, name) != 1 and name in self._new:
                set_input(self, gemm, index, self._new[name], role)
            if name in self._new or input_of(gemm, index) is None:
                gemm.attributes.pop(name, None)


def _scale(gemm: ir.Node, name: str) -> float:
    return gemm.attributes.get_float(name, 1.0)
