"""The graph and the command for atc.

Flags are those of the ATC guide of CANN 8.0: `--input_shape` with -1 for free sizes, and their values in
`--dynamic_batch_size` or `--dynamic_dims`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.engines.preparing import (
    Prepared,
    demand_device,
    demand_names,
    joined,
    write_model,
)
from modelport.errors import EngineError
from modelport.graph.query import signature_of
from modelport.types import Dim, Signature, Target, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

DEFAULT_CHIP = "Ascend310P3"

MODES = {"fp32": "must_keep_origin_dtype", "fp16": "force_fp16"}

MOST_PROFILES = 100
"""The ATC guide of `--dynamic_dims`: 2 to 100 profiles."""

ENOUGH = 4
"""Sizes of one free dimension: each is compiled, and the guide recommends three or four."""


def write_inputs(model: ir.Model, target: Target, directory: Path) -> Prepared:
    signature = signature_of(model)
    demand_names("ascend", signature, ":;,~")
    chip, notes = _chip(target.device)
    files = write_model(model, directory)
    command = (
        "atc",
        "--framework=5",
        "--model=model.onnx",
        "--output=model",
        f"--input_shape={';'.join(_shape(spec) for spec in signature.inputs)}",
        *_profiles(signature),
        f"--soc_version={chip}",
        f"--precision_mode={MODES[target.precision]}",
        "--log=error",
    )
    notes += _notes(signature, target.precision)
    return Prepared((command,), {"model": "model.om"}, tuple(files), tuple(notes))


def _chip(device: str) -> tuple[str, list[str]]:
    if device in ("", "cpu"):
        told = (
            f"No chip was named, so {DEFAULT_CHIP} is assumed; `npu-smi info` on the device names "
            "it, --device takes it"
        )
        return DEFAULT_CHIP, [told]
    like = "the name of a chip, such as Ascend310P3 or Ascend910B4"
    return demand_device("ascend", device, _is_chip, like), []


def _is_chip(name: str) -> bool:
    return re.fullmatch(r"Ascend\d\w*", name) is not None


def _shape(spec: TensorSpec) -> str:
    sizes = [size if isinstance(size, int) else -1 for size in spec.shape]
    return f"{spec.name}:{joined(sizes, ',')}"


def _profiles(signature: Signature) -> list[str]:
    """The sizes that free dimensions may have; the compiled model takes no others."""
    places = [size for spec in signature.inputs for size in spec.shape if isinstance(size, Dim)]
    if not places:
        return []
    groups = _groups(signature)
    chosen = list(product(*(_sizes(dim) for dim, _ in groups)))
    if len(chosen) > MOST_PROFILES:
        raise EngineError(
            f"ascend takes at most {MOST_PROFILES} combinations of free sizes, and "
            f"{len(groups)} of them have {len(chosen)}",
            hint="Fix some sizes with modelport edit --set-input, or give them one name",
        )
    if len(chosen) < 2:
        raise EngineError(
            "ascend takes a free size in two sizes at least, and here there is one",
            hint="Fix it with modelport edit --set-input",
        )
    if len(groups) == 1 and _is_batch(signature):
        return [f"--dynamic_batch_size={joined([sizes[0] for sizes in chosen], ',')}"]
    order = [index for place in places for index, (dim, _) in enumerate(groups) if dim == place]
    profiles = [joined([sizes[index] for index in order], ",") for sizes in chosen]
    return ["--input_format=ND", f"--dynamic_dims={';'.join(profiles)}"]


def _groups(signature: Signature) -> list[tuple[Dim, int]]:
    """Free dimensions that move together, with how often they occur; those without a name move alone."""
    found: dict[Dim, int] = {}
    for spec in signature.inputs:
        for size in spec.shape:
            if isinstance(size, Dim):
                if size.name is None and size in found:
                    raise EngineError(
                        f"ascend cannot tell two free sizes apart that are both {size}",
                        hint="Name them with modelport edit --set-input, as in x=n[1..4]x3x8x8",
                    )
                found[size] = found.get(size, 0) + 1
    return list(found.items())


def _is_batch(signature: Signature) -> bool:
    return all(
        isinstance(spec.shape[0], Dim) and all(isinstance(size, int) for size in spec.shape[1:])
        for spec in signature.inputs
        if spec.shape and not spec.is_static
    )


def _sizes(dim: Dim) -> Sequence[int]:
    """Both ends, and sizes between that double."""
    if dim.maximum is None:
        raise EngineError(
            f"ascend compiles free sizes one by one, and {dim} has no largest",
            hint="Give it one with modelport edit --set-input, as in x=1..8x3x224x224",
        )
    least, most = dim.nearest(0), dim.nearest(dim.maximum)
    found, size = {least, most}, most
    while len(found) < ENOUGH and size // 2 > least:
        size = dim.nearest(size // 2)
        found.add(size)
    return sorted(found)


def _notes(signature: Signature, precision: str) -> list[str]:
    notes = [
        "Opsets up to 18 are what CANN 8 is known to read; older releases read less, and say E19010"
    ]
    if precision == "fp32":
        notes.append(
            "must_keep_origin_dtype keeps float32; where a chip's matrix unit has float16 alone, as "
            "on Ascend310P, atc refuses or uses its AI CPU, and fp16 is what runs fast"
        )
    else:
        notes.append(
            "force_fp16 computes all it can in float16; --precision_mode=allow_mix_precision keeps "
            "what is sensitive in float32, if that loses too much"
        )
    if any(not spec.is_static for spec in signature.inputs):
        notes.append("The compiled model takes the listed sizes alone")
    notes.append("int8 takes AMCT, which modelport does not drive")
    return notes
