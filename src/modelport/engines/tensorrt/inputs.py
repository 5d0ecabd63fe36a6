"""The graph and the command for trtexec.

Flags are those of `samples/common/sampleOptions.cpp` in TensorRT's repository, 10.12 to 11.1. Networks are
strongly typed: the graph itself says in which precision each operator computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.engines.gpu import GpuTarget, profiles
from modelport.engines.libraries import operator_files
from modelport.engines.preparing import Prepared, demand_names, joined, write_model
from modelport.engines.tensorrt.calibration import write_cache
from modelport.errors import EngineError
from modelport.graph.operators import declared
from modelport.graph.query import is_quantized, signature_of
from modelport.quantize.nncf import quantize
from modelport.quantize.schemes import FP8
from modelport.quantize.typed import typed
from modelport.types import Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

NAME = "tensorrt"
ENGINE, TIMING, RANGES = "model.engine", "timing.cache", "calibration.cache"

OLD_FLAG = "{flag} is of TensorRT 10: version 11 has taken the precision out of the command"


def write_inputs(
    model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
) -> Prepared:
    gpu = _gpu(target.device)
    signature = signature_of(model)
    demand_names(NAME, signature, ",:'\"")
    graph, flags, notes = _in_precision(model, target.precision, directory, calibration)
    files = write_model(graph, directory)
    libraries, _ = operator_files(_files_of(model), directory)
    plugins = {role: blob.path.name for role, blob in libraries.items()}
    command = (
        "trtexec",
        "--onnx=model.onnx",
        f"--saveEngine={ENGINE}",
        "--skipInference",
        f"--timingCacheFile={TIMING}",
        *flags,
        *_shapes(signature),
        *([] if gpu.index is None else [f"--device={gpu.index}"]),
        *([] if gpu.workspace_mib is None else [f"--memPoolSize=workspace:{gpu.workspace_mib}M"]),
        *(f"--dynamicPlugins={file}" for file in plugins.values()),
    )
    written = [*files, *plugins.values(), *([RANGES] if RANGES in " ".join(flags) else [])]
    notes = [
        "Run it on the kind of GPU that will run the model, with the version of TensorRT that will",
        *notes,
    ]
    return Prepared((command,), {"model": ENGINE, **plugins}, tuple(written), tuple(notes))


def _gpu(device: str) -> GpuTarget:
    found = GpuTarget.parse(device)
    if found.capabilities:
        raise EngineError(
            f"trtexec builds for the GPU it runs on, and {device!r} names another",
            hint="Run it on such a GPU, and name that one as cuda:0; or choose tensorrt-rtx, which builds "
            "for GPUs elsewhere",
        )
    return found


def _in_precision(
    model: ir.Model, precision: str, directory: Path, calibration: Sequence[Feeds]
) -> tuple[ir.Model, list[str], list[str]]:
    """The graph, the flags that go with it, and what its user must see to."""
    if precision == "fp32":
        return model, ["--noTF32"], []  # whose ten bits of mantissa are not what fp32 promises
    if precision == "bf16":
        return model, ["--bf16"], [OLD_FLAG.format(flag="--bf16")]
    if precision == "fp16" or is_quantized(model):
        return typed(model, precision), ["--stronglyTyped"], []
    if not calibration:
        raise EngineError(
            f"{NAME} wants {precision} as a quantized graph, or as a float graph with calibration feeds",
            hint="Give a folder of .npy or .npz feeds with --calibration",
        )
    if precision == "fp8":
        return quantize(model, FP8, calibration), ["--stronglyTyped"], []
    write_cache(model, calibration, directory / RANGES)
    return model, ["--int8", f"--calib={RANGES}"], [OLD_FLAG.format(flag="--calib")]


def _files_of(model: ir.Model) -> list[str]:
    """Libraries of plugins as files; a package by name is nothing that trtexec could load."""
    names = declared(model, NAME)
    for name in names:
        if not Path(name).is_absolute():
            raise EngineError(
                f"trtexec loads plugins from files, and {name!r} is the name of a package",
                hint=f'Give the path of its library: operators={{"{NAME}": ["libplugins.so"]}}',
            )
    return list(names)


def _shapes(signature: Signature) -> list[str]:
    found, by = profiles(signature, NAME), "x"
    if not found:
        return []
    kinds = {
        "minShapes": {each.name: each.smallest for each in found},
        "optShapes": {each.name: each.typical for each in found},
        "maxShapes": {each.name: each.largest for each in found},
    }
    return [
        f"--{flag}={','.join(f'{name}:{joined(shape, by)}' for name, shape in shapes.items())}"
        for flag, shapes in kinds.items()
    ]
