"""The graph and the commands for TNN: its converter, and its quantizer behind it.

Flags are those of `tools/convert2tnn/utils/args_parser.py` and `tools/quantization/quantize.cc`. The
converter is the script `converter.py`, which is no executable: its user gives it a name on PATH.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelport.engines.preparing import Prepared, calibration_arrays, demand_names, write_model
from modelport.errors import EngineError
from modelport.graph import provenance
from modelport.graph.query import signature_of
from modelport.types import Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

FOLDER = "calibration"

ON_PATH = (
    "convert2tnn is tools/convert2tnn/converter.py of TNN's source, which has no name on PATH of its "
    'own: write a script convert2tnn there with the line exec python3 .../converter.py "$@"'
)


def write_inputs(
    model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
) -> Prepared:
    signature = signature_of(model)
    demand_names("tnn", signature, ":,")
    _demand_even_pads(model)
    files = write_model(model, directory, ir_version=6)
    _demand_one_file(files)
    convert = ["convert2tnn", "onnx2tnn", "model.onnx", "-optimize", "-v=v1.0", "-o", ".", "-debug"]
    if target.precision == "fp16":
        convert.append("-half")
    commands, stem = [tuple(convert)], "model.opt"
    if target.precision == "int8":
        files += _write_feeds(calibration, signature, directory)
        commands.append(_quantize(stem))
        stem = "model.quantized"
    makes = {"model": f"{stem}.tnnproto", "weights": f"{stem}.tnnmodel"}
    return Prepared(tuple(commands), makes, tuple(files), _notes(target.precision))


def _quantize(stem: str) -> tuple[str, ...]:
    return (
        *("quantization_cmd", "-p", f"{stem}.tnnproto", "-m", f"{stem}.tnnmodel"),
        *("-i", FOLDER, "-b", "0", "-w", "0", "-t", "0", "-o", "model"),
    )


def _write_feeds(calibration: Sequence[Feeds], signature: Signature, directory: Path) -> list[str]:
    """One number to a line, in the order of the array, as the quantizer reads `.txt`."""
    if len(signature.inputs) != 1:
        raise EngineError(
            f"tnn quantizes networks with one input, and this one has {len(signature.inputs)}",
            hint="Choose fp32 or fp16",
        )
    (directory / FOLDER).mkdir()
    names = []
    for number, (array,) in calibration_arrays(calibration, signature):
        names.append(f"{FOLDER}/{number}.txt")
        np.savetxt(directory / names[-1], array.astype(np.float32).reshape(-1), fmt="%.9g")
    return names


def _demand_even_pads(model: ir.Model) -> None:
    """The guide of onnx2tnn: asymmetric padding is not supported."""
    uneven = []
    for node in model.graph:
        pads = node.attributes.get_ints("pads", []) or []
        half = len(pads) // 2
        if list(pads[:half]) != list(pads[half:]):
            uneven.append(f"{provenance.describe(node)} ({node.op_type}, pads {list(pads)})")
    if uneven:
        raise EngineError(
            f"tnn pads both sides alike, and these do not: {'; '.join(uneven)}",
            hint="Pad alike, or choose another engine",
        )


def _demand_one_file(files: Sequence[str]) -> None:
    if len(files) > 1:
        raise EngineError(
            "tnn reads models of one file, and the weights of this one are too large for that",
            hint="Choose another engine",
        )


def _notes(precision: str) -> tuple[str, ...]:
    notes = [
        ON_PATH,
        "Run it in a folder without spaces in its path: the converter refuses others",
        "-optimize runs onnx-simplifier, which its guide wants installed with onnx 1.6",
    ]
    if precision == "fp16":
        notes.append("-half stores float16; what computes in it is the device's choice")
    if precision == "int8":
        notes.append(
            "quantization_cmd is built with platforms/linux/build_quanttool.sh; -b 0 -w 0 takes "
            "ranges as they are, -b 2 by KL divergence; its guide wants 50 feeds or more"
        )
        notes.append(
            "The guide calls its results model_quantized.*, the source of the tool model.quantized.*, "
            "which is what is looked for"
        )
    return tuple(notes)
