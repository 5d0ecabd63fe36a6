"""Converts graphs and programs to OpenVINO's own pair of files, so that loading parses nothing else."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import openvino as ov

from modelport.engines.libraries import operator_files
from modelport.engines.openvino import HALVES
from modelport.engines.openvino.session import core, with_extensions
from modelport.graph.io import save_with_weights
from modelport.graph.operators import declared
from modelport.graph.query import signature_of
from modelport.types import Artifact, Blob, Signature, Target


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
        options=_options(target),
    )


def compile_program(
    program: Path, signature: Signature, target: Target, directory: Path
) -> Artifact:
    """Without ONNX between; the operators are those of torch."""
    from modelport.engines.torch_programs.programs import read  # graphs need no torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch and OpenVINO's converter tell their developers
        converted = ov.convert_model(read(program))
    _name(converted, signature)
    ov.save_model(converted, directory / "model.xml", compress_to_fp16=False)
    return Artifact(
        engine="openvino",
        signature=signature,
        files={"model": Blob(directory / "model.xml"), "weights": Blob(directory / "model.bin")},
        options=_options(target),
    )


def _name(model: ov.Model, signature: Signature) -> None:
    """Gives the signature's names, and its shapes: OpenVINO has taken every size for a free one."""
    sizes = {}
    for port, spec in zip(model.inputs, signature.inputs, strict=True):
        port.get_tensor().set_names({spec.name})
        sizes[port] = ov.PartialShape([s if isinstance(s, int) else -1 for s in spec.shape])
    for port, spec in zip(model.outputs, signature.outputs, strict=True):
        port.get_tensor().add_names({spec.name})
    model.reshape(sizes)


def _options(target: Target) -> dict[str, Any]:
    options: dict[str, Any] = {"inference_precision": _inference_precision(target)}
    if target.device != Target.device:
        options["device"] = target.device
    return options


def _core_with(libraries: Sequence[str]) -> ov.Core:
    """Extensions stay in a core for good, so a model with some has one of its own."""
    return with_extensions(libraries) if libraries else core()


def _inference_precision(target: Target) -> str:
    """Arithmetic of what is not quantized: int8 variants leave the rest to the shorter floats."""
    short = "f16" if target.device.lower().startswith(HALVES) else "bf16"
    return {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}.get(target.precision, short)
