"""Writes a precision into a graph, for engines that compute in the types that the graph has."""

from __future__ import annotations

import onnx_ir as ir

from modelport.frontends.network.half import halve
from modelport.graph.retype import copy_of
from modelport.quantize.float8 import float8
from modelport.quantize.symmetric import symmetric


def typed(model: ir.Model, precision: str) -> ir.Model:
    """The graph itself for fp32; else a copy, in float16 for fp16, in symmetric int8 for int8, in float8
    for fp8; for the last two it must be quantized.

    Inputs and outputs keep their types.

    Raises:
        QuantizationError: where a quantized graph cannot be made symmetric.
    """
    if precision == "fp16":
        made = copy_of(model)
        halve(made)
        return made
    if precision == "fp8":
        return float8(model, model)
    return symmetric(model) if precision == "int8" else model
