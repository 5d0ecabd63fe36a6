"""Makes one RMSNormalization of the nodes that exporters write for it.

Before:
    q = Pow (x, 2)
    v = ReduceMean (q, [-1])
    e = Add (v, 0.00001)
    s = Sqrt (e)
    r = Reciprocal (s)
    n = Mul (x, r)
    y = Mul (n, gamma)                                  # may be missing

After:
    y = RMSNormalization <axis = -1, epsilon = 0.00001> (x, gamma)

Equal up to rounding. The conditions: opset 23 or newer, the axes are the last ones and of known sizes,
gamma is a constant over just these axes, and nothing else reads what lies between. For older opsets
there is `divide_by_root`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir

from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, size_of
from modelport.passes.norms import Norm, affine_after, norm_of, ones
from modelport.passes.rules import in_order, leak
from modelport.types import Array

SINCE = 23


class FuseRmsNorm(RewritePass):
    name: ClassVar[str] = "fuse_rmsnorm"
    summary: ClassVar[str] = "the nodes of a normalisation by the root mean square become one node"
    exact: ClassVar[bool] = False

    _norm: Norm
    _scale: Array | None

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Div", "Mul"):
            return None
        norm = norm_of(node)
        if norm is None or norm.centred or not norm.is_last:
            return None
        sizes = _sizes(norm)
        scale = None if sizes is None else affine_after(node, "Mul", sizes)
        self._norm, self._scale = norm, None if scale is None else scale[1]
        return in_order([*norm.nodes, *([] if scale is None else [scale[0]])])

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if self.opset < SINCE:
            return f"RMSNormalization is of opset {SINCE}, and the model of opset {self.opset}"
        if _sizes(self._norm) is None:
            return "the sizes of the axes it normalises over are not known"
        if self._scale is None and self._norm.x.dtype is None:
            return "the element type is not known"
        return self._norm.problem() or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        norm, sizes = self._norm, _sizes(self._norm)
        assert sizes is not None
        scale = ones(sizes, norm.x) if self._scale is None else self._scale
        value = self.constant(scale, f"{match[-1].outputs[0].name}_scale")
        attributes = {"axis": -len(norm.axes), "epsilon": norm.epsilon.value}
        new = self.node("RMSNormalization", [norm.x, value], attributes, for_=match)
        self.replace(match, [new])


def _sizes(norm: Norm) -> tuple[int, ...] | None:
    sizes = [size_of(norm.x, axis) for axis in norm.axes]
    return None if None in sizes else tuple(size for size in sizes if size is not None)
