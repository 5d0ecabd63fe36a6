"""ONNX Runtime reads ONNX; compiling is saving, with large weights in a file of their own."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from modelport.graph.io import save_with_weights
from modelport.graph.query import signature_of
from modelport.types import Artifact, Blob


def compile_model(model: ir.Model, directory: Path) -> Artifact:
    files = save_with_weights(model, directory, name="model")
    return Artifact(
        engine="onnxruntime",
        signature=signature_of(model),
        files={role: Blob(path) for role, path in files.items()},
    )
