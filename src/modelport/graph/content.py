"""What tells one model from another: a digest of its structure and of all its weights."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir

from modelport.graph.io import apart


def digest(model: ir.Model) -> str:
    """Hexadecimal SHA-256 of the model, wherever its weights lie; they are read, and not copied."""
    found = hashlib.sha256(apart(model).proto)
    for name, value in model.graph.initializers.items():
        if value.const_value is not None:
            array = np.ascontiguousarray(value.const_value.numpy())
            found.update(f"\0{name}\0{array.dtype}\0{array.shape}\0".encode())
            found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
