"""The graph and the command for pplnn, and for int8 the ranges of tensors.

PPLNN loads ONNX itself; what its tool adds is the proof that a device takes the graph and, on a GPU, the
fastest kernels for its shapes, which the runtime imports. Flags are those of `tools/pplnn.cc`; the file of
ranges is read by `src/ppl/nn/engines/cuda/optimizer/opt_graph.cc`, and laid out like
`tests/testdata/quant_test.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.engines.preparing import Prepared, demand_device, demand_names, joined, write_model
from modelport.errors import EngineUnavailableError
from modelport.graph.query import constant_of, signature_of
from modelport.types import Array, Feeds, Signature, Target

if TYPE_CHECKING:
    import onnx_ir as ir

OFFERS = {"x86": ("fp32",), "arm": ("fp32", "fp16"), "cuda": ("fp16", "int8")}
"""Precisions of each engine of PPLNN, as its lists of supported operators state them."""

ALGORITHMS, RANGES = "algorithms.json", "quant.json"

QUANTIZED = ("Conv", "Gemm")

LEVELS = 255


def write_inputs(
    model: ir.Model, target: Target, directory: Path, calibration: Sequence[Feeds]
) -> Prepared:
    kind, number = _device(target)
    signature = signature_of(model)
    demand_names("pplnn", signature, ",")
    files = write_model(model, directory)
    command = ["pplnn", f"--use-{kind}", "--onnx-model", "model.onnx", "--in-shapes"]
    command.append(",".join(joined(spec.smallest(), "_") for spec in signature.inputs))
    makes = {"model": "model.onnx", **({"weights": files[1]} if len(files) > 1 else {})}
    if kind == "cuda":
        command += ["--device-id", str(number), "--export-algo-file", ALGORITHMS]
        makes["algorithms"] = ALGORITHMS
    if target.precision == "int8":
        (directory / RANGES).write_text(json.dumps(_ranges(model, calibration)), encoding="utf-8")
        files.append(RANGES)
        makes["quantization"] = RANGES
        command += ["--quant-file", RANGES]
    elif kind == "arm" and target.precision == "fp16":
        command.append("--use-fp16")
    command.append("--no-run")
    notes = _notes(kind, signature, target.precision)
    return Prepared((tuple(command),), makes, tuple(files), notes)


def _device(target: Target) -> tuple[str, int]:
    like = "x86, arm, cuda, or a GPU by its number, such as cuda:1"
    device = "x86" if target.device in ("", "cpu") else target.device
    demand_device("pplnn", device, lambda name: _DEVICE.fullmatch(name) is not None, like)
    match = _DEVICE.fullmatch(device)
    assert match is not None
    kind = match["kind"]
    if target.precision not in OFFERS[kind]:
        raise EngineUnavailableError(
            f"pplnn has no {target.precision} on {kind}; it has {', '.join(OFFERS[kind])}",
            hint="Name another device with --device: " + ", ".join(OFFERS),
        )
    return kind, int(match["number"] or 0)


_DEVICE = re.compile(r"(?P<kind>x86|arm|cuda)(?::(?P<number>\d+))?")


def _notes(kind: str, signature: Signature, precision: str) -> tuple[str, ...]:
    notes = [
        f"Build PPLNN with its {kind} engine; the runtime loads model.onnx itself",
        "Its manual asks for opset 11, and lists the operators of each device in docs/en/"
        f"{kind}-doc/supported-ops-and-platforms.md",
        "A build with -DPPLNN_ENABLE_PMX_MODEL=ON can also write --export-pmx-model, a format that "
        "its makers do not advise for production",
    ]
    if any(not spec.is_static for spec in signature.inputs):
        notes.append("Free sizes stay free; --in-shapes names those that are tried")
    if precision == "int8":
        notes.append(
            "quant.json has the largest magnitudes over the calibration feeds, of convolutions and "
            "Gemm; its layout is that of PPLNN's own example, and no GPU was there to try it"
        )
    return tuple(notes)


# --- ranges ---------------------------------------------------------------------------------------


def _ranges(model: ir.Model, calibration: Sequence[Feeds]) -> dict[str, Any]:
    nodes = [node for node in model.graph if node.op_type in QUANTIZED]
    tensors = {value.name: value for node in nodes for value in (node.inputs[0], node.outputs[0])
               if value is not None}  # fmt: skip
    seen = _magnitudes(model, [name for name in tensors if name], calibration)
    quant = {name: _entry(magnitude) for name, magnitude in seen.items()}
    for node in nodes:
        weight = node.inputs[1]
        array = constant_of(weight)
        if weight is not None and weight.name and array is not None:
            quant[weight.name] = _entry(_by_channel(node, array))
    return {
        "quant_info": quant,
        "op_info": {node.name: {"data_type": "INT8"} for node in nodes if node.name},
    }


def _magnitudes(
    model: ir.Model, names: Sequence[str], calibration: Sequence[Feeds]
) -> dict[str, float]:
    """The largest magnitude of each tensor over the feeds, in the arithmetic of ONNX Runtime."""
    from modelport.engines import ENGINES
    from modelport.passes import PASSES

    watched = model.clone()
    PASSES.get("infer_shapes")(watched)
    known = {value.name: value for node in watched.graph for value in node.outputs}
    outputs = {value.name for value in watched.graph.outputs}
    watched.graph.outputs.extend(
        known[name] for name in names if name in known and name not in outputs
    )
    found = dict.fromkeys(names, 0.0)
    session = ENGINES.get("onnxruntime").open_in_memory(watched, Target())
    assert session is not None
    with session:
        for feeds in calibration:
            tensors = {**feeds, **session.run(feeds)}
            for name in names:
                found[name] = max(found[name], float(np.abs(tensors[name]).max(initial=0)))
    return found


def _by_channel(node: ir.Node, array: Array) -> Array:
    """Largest magnitudes of the weights of each output."""
    first = node.op_type == "Conv" or bool(node.attributes.get_int("transB", 0))
    rows = array if first else array.T
    magnitudes: Array = np.abs(rows.reshape(len(rows), -1)).max(axis=1)
    return magnitudes


def _entry(magnitude: float | Array) -> dict[str, Any]:
    """Numbers are written with a point: the reader takes whole ones for another type."""
    most = np.maximum(np.asarray(magnitude, np.float64), 1e-8)
    return {
        "bit_width": 8,
        "per_channel": most.ndim > 0,
        "sym": False,
        "algorithm": "MinMax",
        "quant_flag": True,
        "scale": (2 * most / LEVELS).tolist(),
        "zero_point": (np.zeros_like(most) + 128).tolist(),
        "tensor_max": most.tolist(),
        "tensor_min": (-most).tolist(),
        "q_max": LEVELS,
        "q_min": 0,
    }
