"""Makes a LayerNormalization between two Transposes of the nodes that normalise each place's channels.

Before (x of N x C x H x W):
    m = ReduceMean (x, [1])
    c = Sub (x, m)
    q = Pow (c, 2)
    v = ReduceMean (q, [1])
    e = Add (v, 0.00001)
    s = Sqrt (e)
    n = Div (c, s)
    g = Mul (n, gamma)                                  # this one and the next may be missing
    y = Add (g, beta)

After:
    t = Transpose <perm = [0, 2, 3, 1]> (x)
    n = LayerNormalization <axis = -1, epsilon = 0.00001> (t, gamma, beta)
    y = Transpose <perm = [0, 3, 1, 2]> (n)

Equal up to rounding. For engines that are slow at reducing over an axis that is not the last. The
conditions: opset 17 or newer, the number of channels is known, gamma and beta are constants of one number
to a channel, and nothing else reads what lies between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.fuse_layernorm import SINCE
from modelport.passes.matching import is_op, size_of
from modelport.passes.norms import Norm, affine_after, norm_of, ones
from modelport.passes.rules import in_order, leak
from modelport.types import Array


class FuseChannelNorm(RewritePass):
    name: ClassVar[str] = "fuse_channelnorm"
    summary: ClassVar[str] = "normalisation of each place's channels becomes a LayerNormalization"
    exact: ClassVar[bool] = False

    _norm: Norm
    _values: list[Array | None]

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Div", "Mul"):
            return None
        norm = norm_of(node)
        if norm is None or not norm.centred or norm.axes != (1,) or norm.is_last:
            return None
        self._norm, self._values = norm, []
        last, channels = node, size_of(norm.x, 1)
        nodes = [*norm.nodes]
        for operator in ("Mul", "Add") if channels is not None else ():
            found = affine_after(last, operator, (channels or 0, *[1] * (norm.rank - 2)))
            self._values.append(None if found is None else found[1].reshape(-1))
            if found is not None:
                last = found[0]
                nodes.append(last)
        return in_order(nodes)

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if self.opset < SINCE:
            return f"LayerNormalization is of opset {SINCE}, and the model of opset {self.opset}"
        if size_of(self._norm.x, 1) is None or self._norm.x.dtype is None:
            return "the number of channels or the element type is not known"
        return self._norm.problem() or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        norm, (scale, shift) = self._norm, self._values
        rank, stem = norm.rank, match[-1].outputs[0].name
        if scale is None:
            scale = ones((size_of(norm.x, 1) or 0,), norm.x)
        values = [self.constant(scale, f"{stem}_scale")]
        if shift is not None:
            values.append(self.constant(shift, f"{stem}_shift"))
        there, back = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
        last = self.node("Transpose", [norm.x], {"perm": there}, for_=match)
        attributes = {"axis": -1, "epsilon": norm.epsilon.value}
        inner = self.node("LayerNormalization", [last.outputs[0], *values], attributes, for_=match)
        outer = self.node("Transpose", [inner.outputs[0]], {"perm": back}, for_=match)
        self.replace(match, [last, inner, outer])
