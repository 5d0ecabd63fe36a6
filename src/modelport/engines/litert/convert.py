"""Converts what torch.export captured with litert-torch, and then makes it smaller where asked to."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter
from torch.export import ExportedProgram

from modelport.engines.conversion import Conversion, Converted
from modelport.engines.litert.interface import places
from modelport.engines.litert.quantize import halved, quantized
from modelport.engines.torch_programs.programs import changes_inputs, read

MODEL = "model.tflite"


def convert(job: Conversion) -> Converted:
    _hush()
    program = read(job.source)
    changes_inputs(program)  # of its own state is refused; of inputs, it works on copies
    model, options = _flatbuffer(program), {}
    if job.target.precision == "fp16":
        model = halved(model)
    elif job.target.precision == "int8":
        model, options["quantization"] = quantized(model, job)
    _try_out(model, job)
    (job.directory / MODEL).write_bytes(model)
    return Converted({"model": MODEL}, options)


def _hush() -> None:
    """This process is ours, and its last words are for errors."""
    litert_torch.config.show_progress = False
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def _flatbuffer(program: ExportedProgram) -> bytes:
    examples, _ = program.example_inputs or ((), {})
    made: Any = litert_torch.convert(_Positional(program.module()), tuple(examples))
    content: bytes = made.model_content()
    return content


class _Positional(torch.nn.Module):
    """With a flag that says it evaluates: the module of a program cannot be told so."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.module(*tensors)


def _try_out(model: bytes, job: Conversion) -> None:
    """A kernel that is missing for some element type shows when memory is planned, not before."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    places(interpreter, job.signature)
