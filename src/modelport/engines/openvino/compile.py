"""Converts a graph to OpenVINO's own pair of files, so that loading parses no ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
import openvino as ov

from modelport.engines.libraries import operator_files
from modelport.engines.openvino.session import core, with_extensions
from modelport.graph.io import save_with_weights
from modelport.graph.operators import declared
from modelport.graph.query import signature_of
from modelport.types import Artifact, Blob, Target


def compile_model(model: ir.Model, target: Target, directory: Path) -> Artifact:
    with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
        onnx_file = save_with_weights(model, Path(scratch), name="model")["model"]
        converted = _core_with(declared(model, "openvino")).read_model(onnx_file)
        libraries, _ = operator_files(declared(model, "openvino"), directory)
        # fp16 storage would change the weights of a variant that promises fp32.
        ov.save_model(converted, directory / "model.xml", compress_to_fp16=False)
        del converted
    return Artifact(
        engine="openvino",
        signature=signature_of(model),
        files={
            "model": Blob(directory / "model.xml"),
            "weights": Blob(directory / "model.bin"),
            **libraries,
        },
        options={"inference_precision": _inference_precision(target)},
    )


def _core_with(libraries: Sequence[str]) -> ov.Core:
    """Extensions stay in a core for good, so a model with some has one of its own."""
    return with_extensions(libraries) if libraries else core()


def _inference_precision(target: Target) -> str:
    """Arithmetic of what is not quantized: int8 variants leave the rest to bf16."""
    return "f32" if target.precision == "fp32" else "bf16"
