"""Imports ONNX into MLIR and compiles that."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import onnx  # noqa: TID251 - IREE reads protos
from iree.compiler.extras import onnx_importer
from iree.compiler.ir import Context
from iree.compiler.tools import CompilerToolError, compile_str

from modelport.engines.conversion import Conversion, Converted
from modelport.errors import EngineError

MODEL = "model.vmfb"
FUNCTION = "main"

FLAGS = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
)
PRODUCTS = "--iree-global-opt-use-im2col-for-convs"
"""Twice as fast; some convolutions cannot be compiled so."""

ERROR = re.compile(r"error: (.+)")
OPERATOR = re.compile(r'"torch\.operator".*?name = "onnx\.(\w+)"')
"""Of the line that quotes what could not be translated."""


def convert(job: Conversion) -> Converted:
    module = _imported(_read(job.source))
    place, flags = job.directory / MODEL, [*FLAGS, PRODUCTS]
    try:
        _compile(module, flags, place)
    except CompilerToolError as error:
        _demand_operators(str(error))
        flags = [*FLAGS]
        _compile_or_tell(module, flags, place)
    return Converted({"model": MODEL}, {"processor": job.settings["processor"], "flags": flags})


def _read(source: Path) -> onnx.ModelProto:
    model = onnx.load(source)
    model.graph.name = FUNCTION
    with suppress(ValueError):  # too large for it; the file has the shapes that we know
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return model


def _imported(model: onnx.ModelProto) -> bytes:
    """As bytecode, which is much smaller than text, and keeps weights as they are."""
    context = Context()
    info = onnx_importer.ModelInfo(model)
    module = info.create_module(context=context).operation
    importer = onnx_importer.NodeImporter.define_function(info.main_graph, module)
    importer.import_all()
    module.verify()
    written = io.BytesIO()
    module.write_bytecode(written)
    return written.getvalue()


def _compile(module: bytes, flags: Sequence[str], place: Path) -> None:
    compile_str(module, input_type="auto", extra_args=list(flags), output_file=str(place))


def _compile_or_tell(module: bytes, flags: Sequence[str], place: Path) -> None:
    try:
        _compile(module, flags, place)
    except CompilerToolError as error:
        log = str(error)
        raise _refusal((ERROR.findall(log) or log.strip().splitlines() or [""])[0]) from error


def _demand_operators(log: str) -> None:
    """Other loops are no help where operators of ONNX are left over."""
    if operators := dict.fromkeys(OPERATOR.findall(log)):
        words = f"it cannot translate {', '.join(operators)}, at least in this form"
        raise _refusal(words, list(operators))


def _refusal(reason: str, operators: Sequence[str] = ()) -> EngineError:
    return EngineError(
        f"iree failed while compiling: {reason}",
        hint="Choose another engine with --engines",
        operators=operators,
    )
