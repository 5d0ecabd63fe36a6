"""Takes GroupNormalization apart into an InstanceNormalization of the groups, and the affine part.

Before (x of N x C x ...):
    y = GroupNormalization <num_groups = 32, epsilon = 0.00001> (x, scale, bias)

After:
    r = Reshape (x, [0, 32, -1])
    i = InstanceNormalization <epsilon = 0.00001> (r, ones, zeros)
    s = Shape (x)
    n = Reshape (i, s)
    m = Mul (n, scale as C x 1 x ...)
    y = Add (m, bias as C x 1 x ...)

Equal up to rounding. For engines without a kernel for it. Up to opset 20 there is one scale to a group, and
InstanceNormalization takes it. The conditions: the rank is known, and the values are float32, the type
in which the statistics are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, rank_of, sizes_of

PER_CHANNEL_SINCE = 21


class DecomposeGroupNorm(RewritePass):
    name: ClassVar[str] = "decompose_groupnorm"
    takes_apart: ClassVar[tuple[str, ...]] = ("GroupNormalization",)
    summary: ClassVar[str] = "GroupNormalization becomes InstanceNormalization and its affine part"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        return [node] if is_op(node, "GroupNormalization") else None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        (node,) = match
        x = node.inputs[0]
        if x is None or rank_of(x) is None:
            return "the rank of its input is not known"
        if x.dtype != ir.DataType.FLOAT:
            return f"its statistics are taken in float32, and the values are {x.dtype}"
        if not node.attributes.get_int("num_groups", 0):
            return "the number of groups is missing"
        return None

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        (node,) = match
        x, scale, bias = node.inputs
        assert x is not None
        groups = node.attributes.get_int("num_groups", 1) or 1
        per_group = self.opset < PER_CHANNEL_SINCE
        if not per_group:
            inner = np.ones(groups, np.float32)
            parameters: list[ir.Value | None] = [
                self.constant(inner, "group_ones"),
                self.constant(0 * inner, "group_zeros"),
            ]
        else:
            parameters = [scale, bias]
        shape = self.constant(np.array([0, groups, -1], np.int64), "group_shape")
        apart = self.node("Reshape", [x, shape], for_=match)
        attributes = {"epsilon": node.attributes.get_float("epsilon", 1e-5)}
        norm = self.node(
            "InstanceNormalization", [apart.outputs[0], *parameters], attributes, for_=match
        )
        new = [apart, norm, *self._shaped_back(norm, x, match)]
        if not per_group:
            new += self._affine(new[-1], node, match)
        self.replace(match, new)

    def _shaped_back(self, norm: ir.Node, x: ir.Value, match: Sequence[ir.Node]) -> list[ir.Node]:
        sizes = sizes_of(x)
        if sizes is not None:
            shape = self.constant(np.array(sizes, np.int64), "group_sizes")
            return [self.node("Reshape", [norm.outputs[0], shape], for_=match)]
        asked = self.node("Shape", [x], for_=match)
        back = self.node("Reshape", [norm.outputs[0], asked.outputs[0]], for_=match)
        return [asked, back]

    def _affine(
        self, normalised: ir.Node, node: ir.Node, match: Sequence[ir.Node]
    ) -> list[ir.Node]:
        """The product with the scale and the sum with the bias, each along the second axis."""
        rank = rank_of(node.inputs[0])
        assert rank is not None
        new: list[ir.Node] = []
        last = normalised
        for value, operator in zip(node.inputs[1:3], ("Mul", "Add"), strict=True):
            array, target = constant_of(value), [-1, *[1] * (rank - 2)]
            if array is not None:
                shaped = self.constant(array.reshape(target), f"{operator.lower()}_channels")
            else:
                sizes = self.constant(np.array(target, np.int64), "channel_shape")
                new.append(self.node("Reshape", [value, sizes], for_=match))
                shaped = new[-1].outputs[0]
            last = self.node(operator, [last.outputs[0], shaped], for_=match)
            new.append(last)
        return new
