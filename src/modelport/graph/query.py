"""Questions to a graph."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from modelport.errors import GraphError
from modelport.types import Array, Dim, Signature, TensorSpec

RANGE = "modelport.range"
"""Metadata of an input: its free dimensions as the user spells them, `0:n[1..8] 2:224..640/32` say."""

_NOT_NUMERIC = (ir.DataType.UNDEFINED, ir.DataType.STRING)


def signature_of(model: ir.Model) -> Signature:
    """The signature of a graph; initializers listed as inputs (IR 3) are not inputs."""
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    return Signature(
        tuple(_spec(value) for value in inputs),
        tuple(_spec(value) for value in model.graph.outputs),
    )


def _spec(value: ir.Value) -> TensorSpec:
    if value.name is None or value.dtype is None or value.shape is None:
        raise GraphError(
            f"The value {value.name!r} has no element type or no rank",
            hint="Run onnx.shape_inference on the model, or export it with typed outputs",
        )
    if not isinstance(value.type, ir.TensorType) or value.dtype in _NOT_NUMERIC:
        raise GraphError(
            f"The value {value.name!r} is a {value.type}", expected="a tensor of numbers"
        )
    bounds = bounds_of(value)
    sizes = tuple(
        size if isinstance(size, int) and size >= 0 else bounds.get(axis, _free(size))
        for axis, size in enumerate(value.shape.dims)
    )
    return TensorSpec(value.name, value.dtype.numpy().name, sizes)


def _free(size: int | ir.SymbolicDim) -> Dim:
    """A size without bounds. Paddle's exporter writes -1 and `?` where ONNX leaves the name out."""
    if isinstance(size, int) or size.value == "?":
        return Dim()
    return Dim(name=size.value)


def bounds_of(value: ir.Value) -> dict[int, Dim]:
    items = (item.partition(":") for item in value.metadata_props.get(RANGE, "").split())
    sizes = {int(axis): Dim.parse(text) for axis, _, text in items}
    return {axis: size for axis, size in sizes.items() if isinstance(size, Dim)}


def set_bounds(value: ir.Value, spec: TensorSpec) -> None:
    """Notes on a graph's input within which bounds its free dimensions may move."""
    items = [
        f"{axis}:{_bounded(size)}" for axis, size in enumerate(spec.shape) if isinstance(size, Dim)
    ]
    if items:
        value.metadata_props[RANGE] = " ".join(items)


def _bounded(size: Dim) -> str:
    """Spelled with its bounds, also where it has none but the least."""
    return f"{size}[{size.minimum}..]" if str(size) == size.name else str(size)


def operator_counts(model: ir.Model) -> dict[str, int]:
    """How many nodes of each operator, most frequent first, subgraphs included."""
    counts = Counter(operator_of(node) for node in model.graph.all_nodes())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def operator_of(node: ir.Node) -> str:
    """Its operator, with the domain where that is not ONNX's own: `com.microsoft::Gelu`."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def constant_of(value: ir.Value | None) -> Array | None:
    """The array behind a value that is an initializer or a Constant node's output, else None.

    An initializer that is also an input can be overridden by the caller, so it is no constant.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_quantized(model: ir.Model) -> bool:
    """Whether there are pairs of Quantize and Dequantize, or weights that a Dequantize reads."""
    return any(
        node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.domain in ("", "ai.onnx")
        for node in model.graph.all_nodes()
    )


def is_depthwise(node: ir.Node) -> bool:
    """Whether the node is a convolution with one input channel to a group, and several groups."""
    if node.op_type != "Conv":
        return False
    group = node.attributes.get_int("group", 1) or 1
    weight = node.inputs[1]
    shape = None if weight is None else weight.shape
    return group > 1 and shape is not None and shape[1] == 1
