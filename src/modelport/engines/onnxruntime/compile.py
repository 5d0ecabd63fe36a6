"""ONNX Runtime reads ONNX; compiling is saving, with large weights in a file of their own.

Libraries of operators that the model needs are copied beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

from modelport.engines.base import Session
from modelport.engines.libraries import OPERATOR_PACKAGES, operator_files
from modelport.engines.onnxruntime.kept import CONTENT, content_of
from modelport.engines.onnxruntime.session import IS_QUANTIZED, MemorySession
from modelport.graph.io import apart, save_with_weights
from modelport.graph.operators import declared
from modelport.graph.query import operator_counts, signature_of
from modelport.types import QUANTIZED, Artifact, Blob, Target


def compile_model(model: ir.Model, target: Target, directory: Path) -> Artifact:
    files = save_with_weights(model, directory, name="model")
    libraries, packages = operator_files(declared(model, "onnxruntime"), directory)
    options: dict[str, Any] = {CONTENT: content_of(files["model"])}
    if packages:
        options[OPERATOR_PACKAGES] = packages
    if operator_counts(model).get("QuantizeLinear"):
        options[IS_QUANTIZED] = True
    if target.layout:
        options["layout"] = target.layout
    if target.device != Target.device:
        options["device"] = target.device
    return Artifact(
        engine="onnxruntime",
        signature=signature_of(model),
        files={**{role: Blob(path) for role, path in files.items()}, **libraries},
        options=options,
    )


def memory_session(model: ir.Model, target: Target) -> Session | None:
    """A session on the model's own weights, without files; None where it needs libraries beside it.

    For a float precision, quantized layers are computed as the standard says: on floats, between the pairs.
    """
    if declared(model, "onnxruntime"):
        return None
    parts = apart(model)
    return MemorySession(
        signature_of(model), parts.proto, parts.weights, parts.folder, target.threads,
        integers=target.precision in QUANTIZED,
    )  # fmt: skip
