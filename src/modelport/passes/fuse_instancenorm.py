"""Makes one InstanceNormalization of the nodes that exporters write for it.

Before (x of N x C x H x W):
    m = ReduceMean (x, [2, 3])
    c = Sub (x, m)
    q = Pow (c, 2)
    v = ReduceMean (q, [2, 3])
    e = Add (v, 0.00001)
    s = Sqrt (e)
    n = Div (c, s)
    g = Mul (n, gamma)                                  # this one and the next may be missing
    y = Add (g, beta)

After:
    y = InstanceNormalization <epsilon = 0.00001> (x, gamma, beta)

Equal up to rounding. The conditions: the axes are all after the second, the number of channels is known,
gamma and beta are constants of one number to a channel, and nothing else reads what lies between. With
three axes in all, gamma or beta must be there: without, it is a layer normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.passes.base import RewritePass
from modelport.passes.matching import is_op, reader, size_of
from modelport.passes.norms import Norm, affine_after, norm_of, ones
from modelport.passes.rules import in_order, leak
from modelport.types import Array


class FuseInstanceNorm(RewritePass):
    name: ClassVar[str] = "fuse_instancenorm"
    summary: ClassVar[str] = (
        "the nodes of an instance normalisation become one InstanceNormalization"
    )
    exact: ClassVar[bool] = False

    _norm: Norm
    _scale: Array | None
    _shift: Array | None

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        if not is_op(node, "Div", "Mul"):
            return None
        norm = norm_of(node)
        if norm is None or not norm.centred or norm.axes != tuple(range(2, norm.rank)):
            return None
        after = _affine(node, norm)
        if not after and (norm.rank < 4 or _of_layer(node)):
            return None
        self._norm, self._scale, self._shift = norm, None, None
        for next_, array in after:
            if next_.op_type == "Mul":
                self._scale = array.reshape(-1)
            else:
                self._shift = array.reshape(-1)
        return in_order([*norm.nodes, *(next_ for next_, _ in after)])

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if size_of(self._norm.x, 1) is None:
            return "the number of channels is not known"
        if self._norm.x.dtype is None:
            return "the element type is not known"
        return self._norm.problem() or leak(match)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        norm, channels = self._norm, size_of(self._norm.x, 1)
        assert channels is not None
        scale = ones((channels,), norm.x) if self._scale is None else self._scale
        shift = np.zeros_like(scale) if self._shift is None else self._shift
        stem = match[-1].outputs[0].name
        values = [self.constant(scale, f"{stem}_scale"), self.constant(shift, f"{stem}_shift")]
        attributes = {"epsilon": norm.epsilon.value}
        new = self.node("InstanceNormalization", [norm.x, *values], attributes, for_=match)
        self.replace(match, [new])


def _affine(node: ir.Node, norm: Norm) -> list[tuple[ir.Node, Array]]:
    """The Mul and the Add that follow with one number to each channel; the Add may be alone."""
    channels = size_of(norm.x, 1)
    if channels is None:
        return []
    shape = (channels, *[1] * (norm.rank - 2))
    scale = affine_after(node, "Mul", shape)
    shift = affine_after(node if scale is None else scale[0], "Add", shape)
    return [each for each in (scale, shift) if each is not None]


def _of_layer(node: ir.Node) -> bool:
    """Whether a constant over the normalised axes follows, as in a layer normalisation."""
    after = reader(node.outputs[0], "Mul", "Add")
    constants = [] if after is None else [constant_of(value) for value in after.inputs]
    return any(array is not None and array.ndim and array.shape[-1] != 1 for array in constants)
