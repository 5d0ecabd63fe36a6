"""Puts pairs of Quantize and Dequantize behind values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from modelport.graph import provenance
from modelport.graph.new_nodes import free_name
from modelport.graph.scope import all_values
from modelport.passes.matching import is_op, producer
from modelport.types import Array

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
STEPS = 255


@dataclass(frozen=True)
class Grid:
    """The numbers that integers stand for: `(integer - zero) * scale`."""

    scale: ir.Value
    zero: ir.Value


class Pairs:
    """Makes them, in a graph whose names stay unique."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._taken = {value.name for value in all_values(model.graph)}
        self._nodes = {node.name for node in model.graph.all_nodes()}

    def grid(self, low: float, high: float) -> Grid:
        """Of uint8, from the one number to the other; zero is always on it."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / STEPS or 1.0
        zero = np.clip(np.rint(-low / scale), 0, STEPS)
        return Grid(
            self._constant(np.asarray(scale, np.float32), "scale"),
            self._constant(zero.astype(np.uint8), "zero_point"),
        )

    def grid_of(self, value: ir.Value) -> Grid:
        """That of the Dequantize which makes it."""
        node = producer(value, DEQUANTIZE)
        assert node is not None
        scale, zero = node.inputs[1:3]
        assert scale is not None
        assert zero is not None
        return Grid(scale, zero)

    def put(self, value: ir.Value, grid: Grid) -> None:
        """All that reads the value, callers too, gets what the pair makes of it.

        A Quantize that was there goes on with its own grid.
        """
        maker = value.producer()
        assert maker is not None
        quantize = self._node(QUANTIZE, [value, grid.scale, grid.zero], maker)
        quantize.outputs[0].type = ir.TensorType(grid.zero.dtype) if grid.zero.dtype else None
        dequantize = self._node(DEQUANTIZE, [quantize.outputs[0], grid.scale, grid.zero], maker)
        result = dequantize.outputs[0]
        _give(value, result)
        value.replace_all_uses_with(result)
        quantize.replace_input_with(0, value)
        self._graph.insert_after(maker, [quantize, dequantize])

    def _node(self, operator: str, inputs: list[ir.Value], maker: ir.Node) -> ir.Node:
        made = ir.node(operator, inputs)
        stem = f"{inputs[0].name}_{operator.removesuffix('Linear').lower()}"
        made.name = free_name(stem, self._nodes)
        made.outputs[0].name = free_name(stem, self._taken)
        self._nodes.add(made.name)
        self._taken.add(made.outputs[0].name)
        provenance.inherit(made, [maker])
        return made

    def _constant(self, array: Array, stem: str) -> ir.Value:
        name = free_name(stem, self._taken)
        self._taken.add(name)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self._graph.register_initializer(value)
        return value


def reroute(value: ir.Value, pair: ir.Value) -> None:
    """All that reads the value but a Quantize, callers too, reads what its pair makes of it."""
    for use in list(value.uses()):
        if not is_op(use.node, QUANTIZE):
            use.node.replace_input_with(use.idx, pair)
    _give(value, pair)


def _give(value: ir.Value, pair: ir.Value) -> None:
    """Where callers get the value, they get the other, under its name."""
    pair.type, pair.shape = pair.type or value.type, pair.shape or value.shape
    outputs = value.graph.outputs if value.graph is not None else []
    for index in [index for index, each in enumerate(outputs) if each is value]:
        outputs[index] = pair
        name, pair.name = pair.name, None
        pair.name, value.name = value.name, name
