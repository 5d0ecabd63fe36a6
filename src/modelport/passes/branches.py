"""Reads what leads to a node as one linear map of one value, as far back as that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.passes.affine import Affine, affine_of, affine_source, norm_channels
from modelport.passes.kernels import Kernel, Window, added, average, composed, identity, scaled
from modelport.passes.linear import (
    dilations_of,
    group_of,
    inputs_of,
    linear_problem,
    outputs_of,
    parameters_of,
    spatial_pads,
    strides_of,
)
from modelport.passes.matching import constant_input, is_op, is_private, producer, size_of
from modelport.types import Array

SUMS = ("Add", "Sum", "Sub")
MOST_STEPS = 64
"""How far back it looks."""


@dataclass(frozen=True)
class Branch:
    """A linear map of a value.

    Attributes:
        nodes: what it stands for, in their order.
        joins: how many sums and compositions of convolutions are among them.
    """

    base: ir.Value
    kernel: Kernel
    nodes: tuple[ir.Node, ...] = ()
    joins: int = 0


class BranchReader:
    """Reads the nodes of one graph whose values have so many spatial axes."""

    def __init__(self, graph: ir.Graph | None, axes: int) -> None:
        self._graph, self._axes = graph, axes
        self._steps = MOST_STEPS

    def of(self, node: ir.Node) -> Branch | str | None:
        """The map that the node ends, None where it ends none, or why branches of it do not add up."""
        if is_op(node, "Conv"):
            return self._conv(node)
        if is_op(node, "AveragePool"):
            return self._pool(node)
        if affine_source(node) is not None:
            return self._affine(node)
        return self._sum(node) if is_op(node, *SUMS) else None

    def _value(self, value: ir.Value | None) -> Branch | None:
        """The map that makes a value; the value itself where nothing better is known."""
        if value is None:
            return None
        node = value.producer()
        if node is not None and node.graph is self._graph and self._steps and is_private(value):
            self._steps -= 1
            found = self.of(node)
            if isinstance(found, Branch):
                return found
        channels = _channels_of(value)
        return None if channels is None else Branch(value, identity(channels, self._axes))

    def _conv(self, node: ir.Node) -> Branch | None:
        kernel = None if linear_problem(node) else _kernel_of(node)
        return None if kernel is None else self._behind(node, kernel)

    def _pool(self, node: ir.Node) -> Branch | None:
        inner = self._value(node.inputs[0])
        windows = _pool_windows(node, self._axes)
        if inner is None or windows is None:
            return None
        return self._continued(node, inner, average(inner.kernel.outputs, windows))

    def _behind(self, node: ir.Node, kernel: Kernel) -> Branch | None:
        inner = self._value(node.inputs[0])
        if inner is None or inner.kernel.outputs != kernel.inputs:
            return None
        return self._continued(node, inner, kernel)

    def _continued(self, node: ir.Node, inner: Branch, kernel: Kernel) -> Branch:
        both = composed(inner.kernel, kernel) if inner.nodes else kernel
        source = node.inputs[0]
        assert source is not None
        if isinstance(both, str):
            return Branch(source, kernel, (node,))
        joins = inner.joins + any(is_op(part, "Conv") for part in inner.nodes)
        return Branch(inner.base, both, (*inner.nodes, node), joins)

    def _affine(self, node: ir.Node) -> Branch | None:
        inner = self._value(affine_source(node))
        if inner is None:
            return None
        affine = affine_of(node, self._axes + 2, 1, inner.kernel.outputs)
        if isinstance(affine, str):
            return None
        return Branch(inner.base, scaled(inner.kernel, affine), (*inner.nodes, node), inner.joins)

    def _sum(self, node: ir.Node) -> Branch | str | None:
        branches = [self._value(value) for value in node.inputs]
        found = [branch for branch in branches if branch is not None]
        if len(found) < max(2, len(branches)) or len({id(b.base) for b in found}) > 1:
            return None
        kernels = [branch.kernel for branch in found]
        if node.op_type == "Sub":
            kernels[1] = scaled(kernels[1], Affine(-np.ones(1), np.zeros(1)))
        total = _total(kernels)
        if isinstance(total, str):
            return total
        nodes = [part for branch in found for part in branch.nodes]
        joins = 1 + sum(branch.joins for branch in found)
        return Branch(found[0].base, total, (*nodes, node), joins)


def _total(kernels: Sequence[Kernel]) -> Kernel | str:
    total = kernels[0]
    for kernel in kernels[1:]:
        both = added(total, kernel)
        if isinstance(both, str):
            return both
        total = both
    return total


def _kernel_of(conv: ir.Node) -> Kernel | None:
    """A Conv with constant weights as a kernel; its weights are read when they are needed."""
    weight = constant_input(conv, 1)
    assert weight is not None
    taps = weight.shape[2:]
    windows = _windows(conv, taps)
    if windows is None:
        return None
    bias = constant_input(conv, 2)
    channels = np.zeros(outputs_of(conv))

    def weights() -> Array:
        return parameters_of(conv).weight

    return Kernel(
        windows,
        group_of(conv),
        inputs_of(conv),
        outputs_of(conv),
        weights,
        channels if bias is None else channels + np.asarray(bias, np.float64),
        work=weight.size,
    )


def _windows(node: ir.Node, taps: Sequence[int]) -> tuple[Window, ...] | None:
    strides, dilations = strides_of(node, len(taps)), dilations_of(node, len(taps))
    reach = [(count - 1) * step + 1 for count, step in zip(taps, dilations, strict=True)]
    pads = spatial_pads(node, tuple(reach))
    if pads is None:
        return None
    return tuple(Window(*numbers) for numbers in zip(taps, strides, dilations, *pads, strict=True))


def _pool_windows(node: ir.Node, axes: int) -> tuple[Window, ...] | None:
    """The windows of a pool that divides every sum by the same number, else None."""
    taps = list(node.attributes.get_ints("kernel_shape") or [])
    windows = _windows(node, taps) if len(taps) == axes else None
    if windows is None or node.attributes.get_int("ceil_mode", 0) == 1:
        return None
    padded = any(window.begin or window.end for window in windows)
    counted = bool(node.attributes.get_int("count_include_pad", 0))
    return windows if counted or not padded else None


def _channels_of(value: ir.Value) -> int | None:
    """How many channels a value has: by its shape, or by what makes or reads it."""
    size = size_of(value, 1)
    if size is not None:
        return size
    made = producer(value, "Conv")
    if made is not None and constant_input(made, 1) is not None:
        return outputs_of(made)
    for use in value.uses():
        if use.idx == 0 and constant_input(use.node, 1) is not None:
            if is_op(use.node, "Conv"):
                return inputs_of(use.node)
            if is_op(use.node, "BatchNormalization"):
                return norm_channels(use.node)
    return None
