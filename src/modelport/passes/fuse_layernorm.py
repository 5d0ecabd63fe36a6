"""Makes one LayerNormalization of the nodes that exporters write for it.

Before:
    m = ReduceMean (x, [-1])
    c = Sub (x, m)
    q = Pow (c, 2)
    v = ReduceMean (q, [-1])
    e = Add (v, 0.00001)
    s = Sqrt (e)
    n = Div (c, s)
    g = Mul (n, gamma)                                  # this one and the next may be missing
    y = Add (g, beta)

After:
    y = LayerNormalization <axis = -1, epsilon = 0.00001> (x, gamma, beta)

Equal up to rounding. The conditions: opset 17 or newer, the axes are the last ones and of known sizes,
gamma and beta are constants over just these axes, and nothing else reads what lies between.
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

SINCE = 17


class FuseLayerNorm(RewritePass):
    name: ClassVar[str] = "fuse_layernorm"
    summary: ClassVar[str] = "the nodes of a layer normalisation become one LayerNormalization"
    exact: ClassVar[bool] = False

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Div", "Mul"):
            return None
        norm = norm_of(node)
        if norm is None or not norm.centred or not norm.is_last:
            return None
        self._norm, self._scale, self._shift = norm, None, None
        after = _affine(node, norm)
        for next_, array in after:
            if next_.op_type == "Mul":
                self._scale = array
            else:
                self._shift = array
        return in_order([*norm.nodes, *(next_ for next_, _ in after)])

    _norm: Norm
    _scale: Array | None
    _shift: Array | None

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if self.opset < SINCE:
            return f"LayerNormalization is of opset {SINCE}, and the model of opset {self.opset}"
        if _sizes(self._norm) is None:
            return "the sizes of the axes it normalises over are not known"
        if self._scale is None and self._norm.x.dtype is None:
            return "the element type is not known"
        return self._norm.problem() or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        norm, sizes = self._norm, _sizes(self._norm)
        assert sizes is not None
        scale = ones(sizes, norm.x) if self._scale is None else self._scale
        parameters = [scale] if self._shift is None else [scale, self._shift]
        stem = match[-1].outputs[0].name
        values = [
            self.constant(array, f"{stem}_{role}")
            for array, role in zip(parameters, ("scale", "shift"), strict=False)
        ]
        attributes = {"axis": -len(norm.axes), "epsilon": norm.epsilon.value}
        new = self.node("LayerNormalization", [norm.x, *values], attributes, for_=match)
        self.replace(match, [new])


def _affine(node: ir.Node, norm: Norm) -> list[tuple[ir.Node, Array]]:
    """The Mul and the Add that follow with one number to each place of the axes; the Add may be alone."""
    sizes = _sizes(norm)
    if sizes is None:
        return []
    scale = affine_after(node, "Mul", sizes)
    shift = affine_after(node if scale is None else scale[0], "Add", sizes)
    return [each for each in (scale, shift) if each is not None]


def _sizes(norm: Norm) -> tuple[int, ...] | None:
    sizes = [size_of(norm.x, axis) for axis in norm.axes]
    return None if None in sizes else tuple(size for size in sizes if size is not None)
