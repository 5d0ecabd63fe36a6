"""Reads the graph or the program, arranges its loops, and links a library."""

from __future__ import annotations

import re
from typing import Any

import onnx  # noqa: TID251 - TVM reads protos
import tvm
from tvm import relax
from tvm.target.codegen import llvm_get_system_cpu

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.routes import PROGRAM
from modelport.engines.tvm.schedule import ArrangeLoops
from modelport.errors import EngineError

LIBRARY = "model.so"

LACKING = re.compile(r"not supported for frontend ONNX: ([\w, ]+)")

DOUBTFUL = ("avx512f", "avx2", "fma", "avx")
"""A virtual machine may hide them, though its processor's name promises them."""


def convert(job: Conversion) -> Converted:
    module = _program(job) if job.route == PROGRAM else _graph(job)
    target = _target(job.settings["processor"])
    try:
        arranged = _compiled(module, target, arranged=True)
        loops = "arranged"
    except Exception:  # a layout or a schedule that TVM cannot do: as TVM itself would
        arranged = _compiled(module, target, arranged=False)
        loops = "plain"
    arranged.export_library(str(job.directory / LIBRARY))
    options = {"processor": job.settings["processor"], "loops": loops}
    return Converted({"model": LIBRARY}, options)


def _graph(job: Conversion) -> Any:
    from tvm.relax.frontend.onnx import from_onnx

    try:
        return from_onnx(onnx.load(job.source), keep_params_in_input=False)
    except tvm.error.OpNotImplemented as error:
        names = LACKING.findall(str(error))
        operators = names[0].split(", ") if names else []
        raise EngineError(
            f"tvm failed while compiling: it lacks {', '.join(operators) or error}",
            hint="Choose another engine with --engines",
            operators=operators,
        ) from error


def _program(job: Conversion) -> Any:
    from tvm.relax.frontend.torch import from_exported_program

    from modelport.engines.torch_programs.programs import read

    return from_exported_program(read(job.source), keep_params_as_input=False)


def _target(processor: str) -> Any:
    here = processor.split()
    hidden = [f"-{name}" for name in DOUBTFUL if name not in here] if "x86_64" in here else []
    told = {"kind": "llvm", "mcpu": llvm_get_system_cpu()}
    return tvm.target.Target({**told, "mattr": hidden} if hidden else told)


def _compiled(module: Any, target: Any, *, arranged: bool) -> Any:
    change = relax.transform
    layout = [change.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]}), change.FoldConstant()]
    passes = [
        change.DecomposeOpsForInference(),
        change.CanonicalizeBindings(),
        *(layout if arranged else []),
        change.LegalizeOps(),
        change.AnnotateTIROpPattern(),
        change.FoldConstant(),
        change.FuseOps(),
        change.FuseTIR(),
        change.DeadCodeElimination(),
        *([ArrangeLoops()] if arranged else []),
    ]
    with target:
        module = tvm.transform.Sequential(passes)(module)
        return tvm.compile(module, target=target, relax_pipeline="default_build")
