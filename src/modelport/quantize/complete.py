"""Quantizes more values of a quantized graph, for engines that compute in integers only between integers.

Before:
    y = Conv (DequantizeLinear (q, ...), weights)
    s = Sigmoid (y)
    z = Mul (y, s)
    p = QuantizeLinear (z, ...)

After, y and s having a Quantize and a Dequantize behind them:
    y = Conv (DequantizeLinear (q, ...), weights)
    y' = DequantizeLinear (QuantizeLinear (y, ...), ...)
    s' = DequantizeLinear (QuantizeLinear (Sigmoid (y'), ...), ...)
    p = QuantizeLinear (Mul (y', s'), ...)

A quantizer places the pairs where weights are multiplied, and sums of products may stay wide there. ONNX
Runtime has no convolution of integers with floats for a result: it would dequantize such a layer's weights
whenever the model runs, and multiply floats. Ranges are the smallest and largest value on the calibration
feeds. What only moves numbers keeps their grid, and is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from modelport.graph.query import constant_of
from modelport.graph.retype import copy_of
from modelport.passes.matching import is_op, producer
from modelport.quantize.pairs import DEQUANTIZE, QUANTIZE, Pairs, reroute
from modelport.quantize.ranges import extremes
from modelport.types import Feeds

PRODUCTS = ("Conv",)
"""Multiply weights; in integers only where the results are."""

ELEMENTWISE = ("Add", "Mul", "Sigmoid", "LeakyRelu", "Concat", "AveragePool", "GlobalAveragePool")
"""Have kernels for integers that ask for a grid of their own for the result."""

MOVERS = (
    "MaxPool", "Reshape", "Transpose", "Split", "Slice", "Squeeze", "Unsqueeze", "Flatten",
    "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
"""Their results are numbers of their first input."""

CLIPS = ("Relu", "Clip")
"""Part of the product before them: a grid may end where they cut off."""


def complete(model: ir.Model, feeds: Sequence[Feeds]) -> ir.Model:
    """A copy of the graph with those pairs.

    Args:
        feeds: calibration feeds; ranges come from them.
    """
    made = copy_of(model)
    choice = _Choice(made)
    measured = [value for value, like in choice.grids.items() if like is value]
    ranges = extremes(made, [value.name or "" for value in measured], feeds)
    pairs = Pairs(made)
    found = {value: pairs.grid(*ranges[value.name or ""]) for value in measured}
    for value, pair in choice.shared.items():
        reroute(value, pair)
    for value, like in choice.grids.items():
        pairs.put(value, found.get(like) or pairs.grid_of(like))
    made.graph.sort()  # what reads a pair that was there may have stood before it
    return made


class _Choice:
    """Which values become integers.

    Attributes:
        grids: those that get a pair, with the value whose grid it has: the value itself where it needs its
            own, or one that a Dequantize makes.
        shared: those behind which a pair is, for one of their readers, with what it makes: the others are
            to read that too.
    """

    def __init__(self, model: ir.Model) -> None:
        self.grids: dict[ir.Value, ir.Value] = {}
        self.shared: dict[ir.Value, ir.Value] = {}
        pairs = [pair for pair in map(_pair, model.graph) if pair is not None]
        self._made = {made for _, made in pairs}
        self._pairs = dict(reversed(pairs))  # of several behind one value, the first
        for node in model.graph:
            if is_op(node, *PRODUCTS):
                self._product(node)
            elif is_op(node, *ELEMENTWISE):
                self._elementwise(node)
            elif _moves(node):
                self._mover(node)

    def _product(self, node: ir.Node) -> None:
        if self._is_integer(node.inputs[0]) and _has_integer_weights(node):
            end = _behind_clip(node)
            self._take(end, end)

    def _elementwise(self, node: ir.Node) -> None:
        end = _behind_clip(node)
        if all(map(self._is_integer, node.inputs)) and self._wanted(end):
            same = is_op(node, "Concat") and self._have_one_grid(node.inputs)
            self._take(end, self._grid_of(node.inputs[0]) if same else end)
            self._share(node.inputs)

    def _mover(self, node: ir.Node) -> None:
        source = node.inputs[0]
        if source is None or not self._is_integer(source):
            return
        for out in filter(self._wanted, node.outputs):
            self._take(out, self._grid_of(source))
            self._share([source])

    def _is_integer(self, value: ir.Value | None) -> bool:
        return value in self._made or value in self.grids or value in self._pairs

    def _grid_of(self, value: ir.Value | None) -> ir.Value:
        """The value whose grid it has."""
        assert value is not None
        return self.grids.get(value) or self._pairs.get(value) or value

    def _have_one_grid(self, values: Sequence[ir.Value | None]) -> bool:
        """Whether integers of all of them stand for the same numbers."""
        first, *others = map(self._grid_of, values)
        return all(other is first or _equal_grids(first, other) for other in others)

    def _take(self, value: ir.Value, like: ir.Value) -> None:
        if value in self._pairs:
            self._share([value])
        else:
            self.grids[value] = like

    def _share(self, values: Iterable[ir.Value | None]) -> None:
        self.shared.update(
            {v: self._pairs[v] for v in values if v is not None and v in self._pairs}
        )

    def _wanted(self, value: ir.Value) -> bool:
        """Whether it is an integer for a reader already, or a reader could compute in integers then."""
        return value in self._pairs or any(self._profits(use.node, use.idx) for use in value.uses())

    def _profits(self, node: ir.Node, index: int) -> bool:
        if is_op(node, *PRODUCTS, "MatMul", "Gemm"):
            return index == 0 and _has_integer_weights(node)
        if is_op(node, *ELEMENTWISE) or _moves(node):
            return any(map(self._wanted, node.outputs))
        return False


def _pair(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """What a Quantize reads, and what a Dequantize makes of it."""
    quantize = producer(node.inputs[0], QUANTIZE) if is_op(node, DEQUANTIZE) else None
    if quantize is None or quantize.inputs[0] is None:
        return None
    return quantize.inputs[0], node.outputs[0]


def _equal_grids(one: ir.Value, other: ir.Value) -> bool:
    """Whether both are made by a Dequantize, with the same constants."""
    makers = [producer(value, DEQUANTIZE) for value in (one, other)]
    pairs = [[constant_of(each) for each in maker.inputs[1:]] for maker in makers if maker]
    return len(pairs) == 2 and all(
        a is not None and b is not None and np.array_equal(a, b)
        for a, b in zip(*pairs, strict=True)
    )


def _has_integer_weights(node: ir.Node) -> bool:
    return producer(node.inputs[1], DEQUANTIZE) is not None


def _moves(node: ir.Node) -> bool:
    nearest = is_op(node, "Resize") and node.attributes.get_string("mode", "nearest") == "nearest"
    return nearest or is_op(node, *MOVERS)


def _behind_clip(node: ir.Node) -> ir.Value:
    """The result, behind the clip that belongs to it."""
    (out,) = node.outputs
    readers = list(out.uses())
    alone = len(readers) == 1 and not out.is_graph_output()
    return readers[0].node.outputs[0] if alone and is_op(readers[0].node, *CLIPS) else out
