"""Writes a precision into a graph, for engines that compute in the types that the graph has."""

from __future__ import annotations

import onnx_ir as ir

from modelport.errors import QuantizationError
from modelport.frontends.network.half import halve
from modelport.graph.query import is_quantized
from modelport.graph.retype import copy_of
from modelport.quantize.float8 import float8
from modelport.quantize.symmetric import symmetric
from modelport.types import QUANTIZED


def typed(model: ir.Model, precision: str) -> ir.Model:
    """The graph itself for fp32; else a copy, in float16 for fp16, in symmetric int8 for int8, in float8
    for fp8; for the last two it must be quantized.

    Inputs and outputs keep their types.

    Raises:
        QuantizationError: where it is not quantized, or cannot be made symmetric.
    """
    if precision in QUANTIZED and not is_quantized(model):
        raise QuantizationError(
            f"The graph is to be {precision}, and nothing in it is quantized",
            hint="Deploy with calibration data, or quantize the graph before",
        )
    if precision == "fp16":
        made = copy_of(model)
        halve(made)
        return made
    if precision == "fp8":
        return float8(model, model)
    return symmetric(model) if precision == "int8" else model
