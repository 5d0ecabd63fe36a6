"""The graph, the list of calibration feeds and the commands for SNPE.

Flags are those of the tools' chapter of SNPE 2's reference guide. Inputs and outputs keep the layout of
the graph (`--preserve_io layout`): without it the converter turns pictures to channels last, and raw files
would have to be turned with them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelport.engines.preparing import (
    Prepared,
    calibration_arrays,
    demand_device,
    demand_names,
    joined,
    write_model,
)
from modelport.errors import EngineError
from modelport.graph.query import signature_of
from modelport.types import Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

FOLDER, LIST = "calibration", "input_list.txt"


def write_inputs(
    model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
) -> Prepared:
    signature = signature_of(model)
    demand_names("snpe", signature, ":=")
    files = write_model(model, directory)
    convert = ["snpe-onnx-to-dlc", "--input_network", "model.onnx"]
    for spec in signature.inputs:
        convert += ["--input_dim", spec.name, joined(spec.smallest(), ",")]
        if spec.dtype != "float32":
            convert += ["--input_dtype", spec.name, spec.dtype]
    for spec in signature.outputs:
        convert += ["--out_node", spec.name]
    convert += ["--preserve_io", "layout", "--output_path", "model.dlc"]
    if target.precision == "fp16":
        convert += ["--float_bitwidth", "16"]
    commands, result = [tuple(convert)], "model.dlc"
    if target.precision == "int8":
        _demand_batch_of_one(signature)
        files += _write_feeds(calibration, signature, directory)
        result = "model_quantized.dlc"
        commands.append(_quantize(result, target.device))
    notes = _notes(target)
    return Prepared(tuple(commands), {"model": result}, tuple(files), notes)


def _quantize(result: str, device: str) -> tuple[str, ...]:
    command = ("snpe-dlc-quantize", "--input_dlc=model.dlc", f"--input_list={LIST}",
               f"--output_dlc={result}")  # fmt: skip
    if device in ("", "cpu"):
        return command
    like = "the identifier of a chip, such as sm8550"
    chip = demand_device("snpe", device, lambda name: re.fullmatch(r"\w+", name) is not None, like)
    return (*command, "--enable_htp", f"--htp_socs={chip}")


def _demand_batch_of_one(signature: Signature) -> None:
    """Its guide of quantized models: they must have the batch 1 when they are quantized."""
    for spec in signature.inputs:
        if len(spec.shape) > 1 and spec.smallest()[0] != 1:
            raise EngineError(
                f"snpe quantizes models with a batch of 1, and {spec} has another",
                hint="Fix it with modelport edit --set-input",
            )


def _write_feeds(calibration: Sequence[Feeds], signature: Signature, directory: Path) -> list[str]:
    """Raw files, and a list that names those of one feed on a line."""
    (directory / FOLDER).mkdir()
    lines, names = [], [LIST]
    for number, arrays in calibration_arrays(calibration, signature):
        parts = []
        for index, (spec, array) in enumerate(zip(signature.inputs, arrays, strict=True)):
            name = f"{FOLDER}/{number}_{index}.raw"
            array.astype(np.float32).tofile(directory / name)
            names.append(name)
            parts.append(f"{spec.name}:={name}")
        lines.append(" ".join(parts))
    (directory / LIST).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return names


def _notes(target: Target) -> tuple[str, ...]:
    notes = [
        "SNPE 2 is needed, with its environment set (envsetup.sh), for --preserve_io",
        "Inputs and outputs keep the layout of the graph, NCHW for pictures from PyTorch",
    ]
    if target.precision == "fp32":
        notes.append("The DSP takes quantized models alone; this one is for CPU and GPU")
    if target.precision == "int8":
        notes.append(
            "Raw files are float32, as snpe-net-run takes them by default; --use_per_channel_quantization "
            "and other options of snpe-dlc-quantize differ between releases and were left alone"
        )
    return tuple(notes)
