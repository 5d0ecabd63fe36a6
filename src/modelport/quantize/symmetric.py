"""Takes the zero points out of a quantized graph, for engines that know none, and those that want float8.

Before:
    q = QuantizeLinear (x, scale, zero_point)           # uint8, or int8 with a zero point
    y = DequantizeLinear (q, scale, zero_point)

After:
    q = QuantizeLinear (x, wider, 0)                    # int8
    y = DequantizeLinear (q, wider, 0)

The new grid reaches as far as the old one on its longer side, so no value is cut off that was not
before; steps become up to twice as coarse. Weights are rounded anew, from the numbers they stood for.
Biases in int32 become the floats that they stand for. Exact it is not; see `modelport.verify`.

With `FLOAT8` the numbers are those of E4M3: four bits of exponent, three of mantissa, up to 448, no
infinity. Micikevicius et al., "FP8 Formats for Deep Learning", arXiv:2209.05433.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from modelport.errors import QuantizationError
from modelport.graph import provenance
from modelport.graph.new_nodes import free_name
from modelport.graph.query import constant_of
from modelport.graph.retype import copy_of
from modelport.graph.scope import all_values
from modelport.types import Array

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

_RANGES = {ir.DataType.UINT8: (0, 255), ir.DataType.INT8: (-128, 127)}


@dataclass(frozen=True)
class Numbers:
    """What is stored, around zero.

    Attributes:
        reach: the largest; its negative is the smallest.
        stored: rounds to them what lies within the reach.
    """

    kind: ir.DataType
    reach: float
    stored: Callable[[Array], Array]


INT8 = Numbers(ir.DataType.INT8, 127, lambda steps: np.rint(steps).astype(np.int8))
"""-128 stays unused."""

FLOAT8 = Numbers(ir.DataType.FLOAT8E4M3FN, 448, lambda steps: steps.astype(ml_dtypes.float8_e4m3fn))

Known = Callable[[ir.Node, Array], Array]
"""Takes a Dequantize and what its stored weight stands for; gives the weight before it was quantized."""


def symmetric(
    model: ir.Model, numbers: Numbers = INT8, known: Known = lambda _, weight: weight
) -> ir.Model:
    """A copy of the graph whose quantized numbers are of that kind, around zero.

    Args:
        known: knows weights more exactly than the graph does, for rounding them anew.

    Raises:
        QuantizationError: where integers are of other widths, where scales are computed while the
            model runs, and where something besides Dequantize reads them.
    """
    made = copy_of(model)
    job = _Recentring(made, numbers, known)
    # All grids first: without a zero point, the type of the integers says which grid a node has.
    found = [(node, _grid_of(node)) for node in made.graph.all_nodes() if _is_ours(node)]
    for node, grid in found:
        job.treat(node, grid)
    _drop_unused(made.graph)
    return made


def _drop_unused(graph: ir.Graph) -> None:
    """The constants of the old grids."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]


def _is_ours(node: ir.Node) -> bool:
    return node.op_type in (QUANTIZE, DEQUANTIZE) and node.domain in ("", "ai.onnx")


@dataclass(frozen=True)
class _Grid:
    """The numbers that integers stand for: `(integer - zero) * scale`."""

    scale: Array
    zero: Array
    kind: ir.DataType

    def wider(self, numbers: Numbers) -> Array:
        """The scale of those numbers that reach as far on both sides."""
        low, high = _RANGES[self.kind]
        zero = self.zero.astype(np.float64)
        reach = np.maximum(np.abs(low - zero), np.abs(high - zero)) * self.scale
        return (reach / numbers.reach).astype(self.scale.dtype)


class _Recentring:
    def __init__(self, model: ir.Model, numbers: Numbers, known: Known) -> None:
        self._model, self._numbers, self._known = model, numbers, known
        self._taken = {value.name for value in all_values(model.graph)}
        self._made: dict[tuple[bytes, tuple[int, ...], str], tuple[ir.Value, ir.Value]] = {}

    def treat(self, node: ir.Node, grid: _Grid | None) -> None:
        if grid is None or (grid.kind == self._numbers.kind and not grid.zero.any()):
            return
        stored = constant_of(node.inputs[0]) if node.op_type == DEQUANTIZE else None
        if grid.kind == ir.DataType.INT32:
            self._become_float(node, grid, stored)
            return
        _demand_bytes(node, grid)
        if stored is not None:
            self._round_anew(node, grid, stored)
        else:
            _demand_pairs(node)
            self._shift(node, grid.wider(self._numbers))

    def _become_float(self, node: ir.Node, grid: _Grid, stored: Array | None) -> None:
        if stored is None:
            raise _refusal(node, "reads int32 that is computed while the model runs")
        numbers = _numbers(node, grid, stored)
        value = self._constant(numbers, f"{node.inputs[0].name}_float" if node.inputs[0] else "b")
        node.outputs[0].replace_all_uses_with(value)
        assert isinstance(node.graph, ir.Graph)
        node.graph.remove(node, safe=True)

    def _round_anew(self, node: ir.Node, grid: _Grid, stored: Array) -> None:
        """A weight: its own numbers decide how fine the new grid is, not the reach of the old one."""
        axes = tuple(a for a in range(stored.ndim) if grid.scale.ndim == 0 or a != _axis(node))
        weight, most = self._known(node, _numbers(node, grid, stored)), self._numbers.reach
        reach = np.abs(weight).max(axis=axes, initial=0)
        scale = (np.where(reach > 0, reach, 1) / most).astype(grid.scale.dtype)
        steps = np.clip(weight / _along(scale, _axis(node), weight.ndim), -most, most)
        rounded = self._numbers.stored(steps)
        old = node.inputs[0]
        assert old is not None
        node.replace_input_with(0, self._constant(rounded, f"{old.name}_symmetric"))
        self._shift(node, scale)

    def _shift(self, node: ir.Node, scale: Array) -> None:
        wider, zero = self._parameters(scale)
        for index, value in ((1, wider), (2, zero)):
            if index < len(node.inputs):
                node.replace_input_with(index, value)
            else:
                node.resize_inputs(index + 1)
                node.replace_input_with(index, value)
        if node.op_type == QUANTIZE:
            node.attributes.pop("output_dtype", None)
            node.outputs[0].type = ir.TensorType(self._numbers.kind)

    def _parameters(self, scale: Array) -> tuple[ir.Value, ir.Value]:
        """Equal grids share their two constants."""
        key = (scale.tobytes(), scale.shape, scale.dtype.name)
        if key not in self._made:
            zero = self._numbers.stored(np.zeros(scale.shape))
            self._made[key] = (
                self._constant(scale, "symmetric_scale"),
                self._constant(zero, "symmetric_zero"),
            )
        return self._made[key]

    def _constant(self, array: Array, stem: str) -> ir.Value:
        name = free_name(stem, self._taken)
        self._taken.add(name)
        tensor = ir.tensor(np.asarray(array), name=name)
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self._model.graph.register_initializer(value)
        return value


def _grid_of(node: ir.Node) -> _Grid | None:
    """None where the integers are of a kind that is symmetric anyway: float8, int4."""
    scale = constant_of(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    zero = constant_of(given)
    if scale is None or (given is not None and zero is None):
        raise _refusal(node, "has a scale or zero point that is computed while the model runs")
    kind = _kind(node, given)
    if kind not in (*_RANGES, *_OTHERS):
        return None
    return _Grid(scale, np.zeros_like(scale, np.int32) if zero is None else zero, kind)


_OTHERS = {
    ir.DataType.INT32: "int32",
    ir.DataType.INT16: "int16",
    ir.DataType.UINT16: "uint16",
    ir.DataType.UINT4: "uint4",
}


def _kind(node: ir.Node, zero: ir.Value | None) -> ir.DataType | None:
    if zero is not None:
        return zero.dtype
    if node.op_type == DEQUANTIZE:
        return _kind_read(node)
    chosen = node.attributes.get_int("output_dtype", 0)
    return ir.DataType(chosen) if chosen else ir.DataType.UINT8


def _kind_read(node: ir.Node) -> ir.DataType | None:
    """Type of the integers that a Dequantize reads; files need not say it between nodes."""
    source = node.inputs[0]
    feeder = source.producer() if source is not None else None
    if feeder is not None and feeder.op_type == QUANTIZE and _is_ours(feeder):
        return _kind(feeder, feeder.inputs[2] if len(feeder.inputs) > 2 else None)
    return None if source is None else source.dtype


def _demand_bytes(node: ir.Node, grid: _Grid) -> None:
    if grid.kind not in _RANGES:
        raise _refusal(node, f"works on {_OTHERS[grid.kind]}")
    if node.attributes.get_int("block_size", 0):
        raise _refusal(node, "has a scale for each block, with zero points")


def _demand_pairs(node: ir.Node) -> None:
    """Both ends of the integers are ours to change: a Quantize, and only Dequantize after it."""
    if node.op_type == DEQUANTIZE:
        feeder = node.inputs[0].producer() if node.inputs[0] is not None else None
        if feeder is None or feeder.op_type != QUANTIZE:
            raise _refusal(node, "reads integers that no QuantizeLinear made")
        return
    readers = {reader.op_type for reader in node.outputs[0].consumers()} - {DEQUANTIZE}
    if readers or node.outputs[0].is_graph_output():
        raise _refusal(node, f"gives integers to {', '.join(sorted(readers)) or 'the caller'}")


def _refusal(node: ir.Node, does: str) -> QuantizationError:
    return QuantizationError(
        f"The quantized graph cannot be made symmetric: {node.op_type} {node.name!r} {does}",
        expected="pairs of QuantizeLinear and DequantizeLinear in int8 or uint8, with constant scales",
        hint="Let modelport quantize the float model, or choose another engine with --engines",
        module_path=provenance.module_of(node) or None,
    )


def _numbers(node: ir.Node, grid: _Grid, stored: Array) -> Array:
    """What stored integers stand for."""
    scale, zero = (_along(each, _axis(node), stored.ndim) for each in (grid.scale, grid.zero))
    wide = stored.astype(np.float64) - zero
    return np.asarray(wide * scale, grid.scale.dtype)


def _along(array: Array, axis: int, rank: int) -> Array:
    """One number to each place of an axis, shaped so that it spreads over the others."""
    if array.ndim == 0 or array.size == 1:
        return array.reshape(())
    shape = [1] * rank
    shape[axis] = -1
    return array.reshape(shape)


def _axis(node: ir.Node) -> int:
    axis = node.attributes.get_int("axis", 1)
    rank = len(node.inputs[0].shape) if node.inputs[0] is not None and node.inputs[0].shape else 0
    axis = 1 if axis is None else axis
    return axis + rank if axis < 0 else axis
