"""Converts a program of torch.export to an ML program, and packs the folder that Core ML wants of it."""

from __future__ import annotations

import logging
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.coreml.targets import deployment_target
from modelport.engines.torch_programs.programs import (
    GRAPH_INSTEAD,
    changes_inputs,
    read,
    refuse_branches,
)
from modelport.errors import EngineError
from modelport.types import Dim, Signature, TensorSpec

NAME = "coreml"
PACKAGE = "model.mlpackage"

TYPES: dict[str, Any] = {
    "float32": np.float32, "float16": np.float16, "int32": np.int32, "int64": np.int32,
}  # fmt: skip
"""What Core ML takes and gives for element types of a signature; sessions turn int64 back."""


def convert(job: Conversion) -> Converted:
    warnings.simplefilter("ignore")  # this process is ours, and its last words are for errors
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    program = read(job.source)
    refuse_branches(program, NAME)
    if changes_inputs(program):
        raise EngineError(
            f"{NAME} cannot take a program that writes into its inputs",
            hint="Let the module work on copies, with x.clone()",
        )
    system = deployment_target(job.target.device)
    floats = ct.precision.FLOAT16 if job.target.precision == "fp16" else ct.precision.FLOAT32
    inputs, outputs = _types(job.signature)
    made = ct.convert(
        program.run_decompositions({}),
        source="pytorch",
        convert_to="mlprogram",
        inputs=inputs,
        outputs=outputs,
        compute_precision=floats,
        minimum_deployment_target=getattr(ct.target, system),
        skip_model_load=True,
    )
    description = made.get_spec().description
    _demand_kept(job.signature, description)
    with tempfile.TemporaryDirectory(prefix="modelport-") as scratch:
        folder = Path(scratch) / PACKAGE
        made.save(str(folder))
        _pack(folder, job.directory / f"{PACKAGE}.zip")
    return Converted(
        {"model": f"{PACKAGE}.zip"},
        {
            "system": system,
            "device": "all",
            "inputs": [feature.name for feature in description.input],
            "outputs": [feature.name for feature in description.output],
        },
    )


def _types(signature: Signature) -> tuple[list[Any], list[Any]]:
    """Names, shapes and element types of both ends; sizes of one name are one size."""
    ranges: dict[str, Any] = {}

    def size_of(size: int | Dim) -> Any:
        if isinstance(size, int):
            return size
        made = ct.RangeDim(size.nearest(0), size.nearest(size.maximum or 1), size.nearest(0))
        return made if size.name is None else ranges.setdefault(size.name, made)

    inputs = [
        ct.TensorType(spec.name, ct.Shape([size_of(s) for s in spec.shape]), dtype=_type(spec))
        for spec in signature.inputs
    ]
    return inputs, [ct.TensorType(spec.name, dtype=_type(spec)) for spec in signature.outputs]


def _type(spec: TensorSpec) -> Any:
    found = TYPES.get(spec.dtype)
    if found is None:
        raise EngineError(
            f"{NAME} has no {spec.dtype} for inputs and outputs, and {spec.name} is of it",
            expected=f"one of {', '.join(TYPES)}",
            hint=f"Convert it within the module. {GRAPH_INSTEAD}",
        )
    return found


def _demand_kept(signature: Signature, description: Any) -> None:
    """Counts and fixed shapes are as promised; nothing can be run here that would show it."""
    for specs, features in (
        (signature.inputs, description.input),
        (signature.outputs, description.output),
    ):
        for spec, feature in zip(specs, features, strict=True):
            found = tuple(feature.type.multiArrayType.shape)
            if spec.is_static and found and found != (spec.smallest() or (1,)):
                raise EngineError(
                    f"{NAME} failed while compiling: {spec.name} has become {list(found)}",
                    expected=f"{list(spec.smallest())}",
                )


def _pack(folder: Path, place: Path) -> None:
    """One stored archive, with the folder as its root: unpacked, it is what Xcode opens."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{PACKAGE}/{path.relative_to(folder).as_posix()}"
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
