"""What a model costs before any engine sees it: parameters, multiply-adds, bytes of weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from modelport.graph.io import weights_size_bytes


@dataclass(frozen=True)
class Cost:
    """Attributes:
    parameters: numbers in weights of floating type.
    weights_bytes: bytes of all weights.
    multiply_adds: of convolutions and matrix products, free dimensions at their least.
    unknown: how many such nodes have unknown shapes and are not counted.
    """

    parameters: int
    weights_bytes: int
    multiply_adds: int
    unknown: int


def cost_of(model: ir.Model) -> Cost:
    """Counts over the main graph; run shape inference first."""
    counts = [_multiply_adds(node) for node in model.graph]
    values = model.graph.initializers.values()
    return Cost(
        parameters=sum(
            value.const_value.size
            for value in values
            if value.const_value is not None and value.const_value.dtype.is_floating_point()
        ),
        weights_bytes=weights_size_bytes(model),
        multiply_adds=sum(count for count in counts if count is not None),
        unknown=sum(count is None for count in counts),
    )


def _multiply_adds(node: ir.Node) -> int | None:
    """Multiply-adds of a node; 0 for operators that are none of the heavy ones, None if unknown."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, second, result = (_sizes(v) for v in (node.inputs[0], node.inputs[1], node.outputs[0]))
    if first is None or second is None or result is None:
        return None
    if node.op_type == "Conv":
        return math.prod(result) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    inner = first[0] if node.attributes.get_int("transA", 0) else first[-1]
    return math.prod(result) * inner


def _sizes(value: ir.Value | None) -> list[int] | None:
    if value is None or value.shape is None:
        return None
    return [size if isinstance(size, int) else 1 for size in value.shape.dims]
