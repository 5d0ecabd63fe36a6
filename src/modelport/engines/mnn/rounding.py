"""Rounds weights to what sixteen bits hold: MNN's own converter cuts the rest of a number off.

On a MobileNetV3 that was 15 dB worse than rounding. What is round already, cutting leaves alone.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

COMPUTES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose weights MNN keeps in sixteen bits."""

LARGEST = float(np.finfo(np.float16).max)


def rounded(model: ir.Model) -> ir.Model:
    """A copy with such weights; those that sixteen bits cannot hold stay as they are."""
    made = model.clone()
    for node in made.graph.all_nodes():
        if node.op_type in COMPUTES:
            for value in node.inputs:
                if value is not None and value.is_initializer():
                    _round(value)
    return made


def _round(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return
    array = tensor.numpy()
    if np.abs(array).max(initial=0) <= LARGEST:
        value.const_value = ir.tensor(array.astype(np.float16).astype(np.float32), name=value.name)
