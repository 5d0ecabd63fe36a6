"""Merges convolutions of one value whose results are added into a single convolution.

Before:
    a = Conv <pads = [1, 1, 1, 1]> (x, W3)     # 3x3
    b = Conv (x, W1)                           # 1x1
    c = BatchNormalization (x, scale, shift, mean, var)
    s = Add (a, b)
    y = Add (s, c)

After:
    y = Conv <pads = [1, 1, 1, 1]> (x, W, bias)

Equal up to rounding: every branch is a linear map of x, and linear maps add up; weights are summed in
float64. A branch is a Conv of any kernel, dilation and group, an AveragePool that counts pads (or has
none), arithmetic with constants, a BatchNormalization, x itself, or several of these in a row, where
`kernels.composed` says that they are one. So RepVGG, MobileOne, RepLKNet, ACNet and DBB blocks become
what their authors run, whether or not they were merged before the export.

The conditions: equal strides, and pads that line up; nothing else reads what lies between; all
weights are constants and fit the element type; and the merged convolution multiplies no more often
than the branches did: 3x1 and 1x3 without a 3x3 beside them, or depthwise and pointwise, stay.

Merged weights have a wider range than those of the branches: quantizing them to int8 may cost more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import onnx_ir as ir

from modelport.graph import provenance
from modelport.passes.affine import affine_source
from modelport.passes.base import RewritePass
from modelport.passes.branches import MOST_STEPS, SUMS, Branch, BranchReader
from modelport.passes.kernels import Kernel
from modelport.passes.linear import is_owned, overwrite, storage_problem
from modelport.passes.matching import constant_input, input_of, is_op
from modelport.types import Array


class MergeBranches(RewritePass):
    name: ClassVar[str] = "merge_branches"
    summary: ClassVar[str] = "convolutions of one value that add up become one"
    exact: ClassVar[bool] = False
    from_the_end: ClassVar[bool] = True

    def pattern(self, node: ir.Node) -> Sequence[ir.Node] | None:
        axes = _spatial_axes(node) if is_op(node, "Conv", *SUMS) else None
        if axes is None:
            return None
        found = BranchReader(node.graph, axes).of(node)
        self._found: Branch | str | None = found
        if isinstance(found, Branch):
            several = found.joins and any(is_op(part, "Conv") for part in found.nodes)
            return found.nodes if several else None
        return None if found is None else [node]

    def check(self, match: Sequence[ir.Node]) -> str | None:
        if not isinstance(self._found, Branch):
            return self._found
        kernel = self._found.kernel
        if kernel.size > kernel.work:
            return "the merged convolution would multiply more often than its branches"
        self._weight = kernel.weights()
        return storage_problem(_largest(match), self._weight, kernel.bias)

    def rewrite(self, match: Sequence[ir.Node]) -> None:
        assert isinstance(self._found, Branch)
        largest, kernel = _largest(match), self._found.kernel
        inputs = [self._found.base, self._kept(largest, 1, self._weight, "weight")]
        if kernel.bias.any():
            inputs.append(self._kept(largest, 2, kernel.bias, "bias"))
        others = [node for node in match if node is not largest]
        new = self.node("Conv", inputs, _attributes(kernel), for_=[largest, *others])
        self.replace(match, [new])

    def _kept(self, conv: ir.Node, index: int, array: Array, role: str) -> ir.Value:
        """A constant for the merged convolution: the old one where only this branch had it."""
        old, weight = input_of(conv, index), constant_input(conv, 1)
        assert weight is not None
        stored = array.astype(weight.dtype)
        if old is not None and is_owned(old):
            overwrite(old, stored)
            return old
        return self.constant(stored, f"{provenance.module_of(conv) or conv.outputs[0].name}.{role}")


def _attributes(kernel: Kernel) -> dict[str, Any]:
    return {
        "kernel_shape": list(kernel.taps),
        "strides": [window.stride for window in kernel.windows],
        "dilations": [window.dilation for window in kernel.windows],
        "pads": [window.begin for window in kernel.windows]
        + [window.end for window in kernel.windows],
        "group": kernel.group,
    }


def _largest(nodes: Sequence[ir.Node]) -> ir.Node:
    """The Conv with most weights; the first of several. The merged one takes its names over."""
    return max((node for node in nodes if is_op(node, "Conv")), key=_weight_size)


def _weight_size(conv: ir.Node) -> int:
    weight = constant_input(conv, 1)
    assert weight is not None
    return weight.size


def _spatial_axes(node: ir.Node) -> int | None:
    """How many spatial axes a Conv at or before the node has, None where none is near."""
    waiting = [node]
    for _ in range(MOST_STEPS):
        if not waiting:
            return None
        node = waiting.pop()
        weight = constant_input(node, 1) if is_op(node, "Conv") else None
        if weight is not None:
            return weight.ndim - 2
        if is_op(node, *SUMS, "AveragePool") or affine_source(node) is not None:
            made = [value.producer() for value in node.inputs if value is not None]
            waiting += [each for each in made if each is not None]
    return None
