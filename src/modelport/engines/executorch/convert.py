"""Lowers a program to XNNPACK and ExecuTorch's own kernels, and writes it as a `.pte` file."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower
from torch.export import ExportedProgram

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.executorch.halving import halved
from modelport.engines.executorch.quantize import quantized
from modelport.engines.executorch.runtime import runtime
from modelport.engines.torch_programs.programs import GRAPH_INSTEAD, changes_inputs, read
from modelport.errors import EngineError

MODEL = "model.pte"

ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


def convert(job: Conversion) -> Converted:
    warnings.simplefilter("ignore")  # this process is ours, and its last words are for errors
    logging.getLogger("torch").setLevel(logging.ERROR)
    program = read(job.source)
    options: dict[str, Any] = {"changes_inputs": True} if changes_inputs(program) else {}
    if job.target.precision == "fp16":
        program = halved(program, job.signature)
    elif job.target.precision == "int8":
        program, options["quantization"] = quantized(program, job)
    (job.directory / MODEL).write_bytes(lowered(program))
    return Converted({"model": MODEL}, options)


def lowered(program: ExportedProgram) -> bytes:
    """Operators beyond the core of ATen are let through: whether kernels exist is what counts."""
    _forget_origins(program)
    edge = to_edge_transform_and_lower(
        program,
        partitioner=[XnnpackPartitioner()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    made = edge.to_executorch()
    _demand_kernels(made.executorch_program)
    found: bytes = made.buffer
    return found


def _forget_origins(program: ExportedProgram) -> None:
    """Carrying through all passes where each node came from takes a quarter of the time."""
    for node in program.graph.nodes:
        for key in ORIGINS:
            node.meta.pop(key, None)


def _demand_kernels(program: Any) -> None:
    """Raises EngineError: the runtime itself would only give a number when it loads."""
    known = set(runtime()._get_operator_names())
    asked = {
        f"{each.name}.{each.overload}" if each.overload else each.name
        for plan in program.execution_plan
        for each in plan.operators
    }
    if missing := sorted(asked - known):
        raise EngineError(
            f"executorch failed while converting: it has no kernels for {', '.join(missing)}",
            hint=GRAPH_INSTEAD,
        )
