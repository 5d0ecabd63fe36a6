"""Makes a graph that was quantized to int8 one of float8, for GPUs that multiply such numbers.

Ranges of activations stay those that calibration found; weights are rounded from the originals.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from modelport.errors import QuantizationError
from modelport.graph.query import constant_of
from modelport.quantize.symmetric import FLOAT8, symmetric
from modelport.types import Array

FIRST_OPSET = 19
"""Of float8 in QuantizeLinear."""


def float8(quantized: ir.Model, original: ir.Model) -> ir.Model:
    """A copy of the quantized graph in float8 (E4M3).

    Args:
        original: the graph that was quantized; nodes of one name are the same node.

    Raises:
        QuantizationError: where the opset is too old for float8, or as `symmetric` does.
    """
    opset = quantized.opset_imports.get("", 0)
    if opset < FIRST_OPSET:
        raise QuantizationError(
            f"The graph is of opset {opset}, which has no float8",
            expected=f"opset {FIRST_OPSET} or newer",
            hint="Export with a newer opset, or let it be upgraded",
        )
    nodes = {node.name: node for node in original.graph.all_nodes()}

    def known(node: ir.Node, weight: Array) -> Array:
        for reader, index in node.outputs[0].uses():
            before = nodes.get(reader.name)
            found = constant_of(before.inputs[index]) if before is not None else None
            if found is not None and _is_same(found, weight):
                return found
        return weight

    return symmetric(quantized, FLOAT8, known)


def _is_same(weight: Array, rounded: Array) -> bool:
    """Whether one is the other but for rounding to int8."""
    if weight.shape != rounded.shape:
        return False
    return bool(np.abs(weight - rounded).max(initial=0) <= np.abs(weight).max(initial=0) / 127)
