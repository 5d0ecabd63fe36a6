"""How LiteRT names and types the inputs and outputs of what its converter wrote."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelport.errors import EngineError
from modelport.types import Array, Signature

NARROWER = {"int64": np.int32, "float64": np.float32}
"""Its converter makes 64 bits 32, since most devices have no wider arithmetic."""


def input_name(index: int) -> str:
    return f"args_{index}"


def places(interpreter: Any, signature: Signature) -> tuple[list[int], list[int]]:
    """Numbers of the tensors that are the inputs and outputs, in the order of the signature.

    Raises:
        EngineError: where the file has others.
    """
    runner = interpreter.get_signature_runner()
    found = runner.get_input_details(), runner.get_output_details()
    wanted = (
        [input_name(index) for index in range(len(signature.inputs))],
        [f"output_{index}" for index in range(len(signature.outputs))],
    )
    for names, details in zip(wanted, found, strict=True):
        if set(names) != set(details):
            raise EngineError(
                f"litert wrote a model with {sorted(details)}, and the signature asks for {names}"
            )
    inputs, outputs = (
        [int(details[name]["index"]) for name in names]
        for names, details in zip(wanted, found, strict=True)
    )
    return inputs, outputs


def narrowed(array: Array, name: str) -> Array:
    """The feed in at most 32 bits.

    Raises:
        EngineError: where an integer does not fit, which would otherwise become another one.
    """
    kind = NARROWER.get(array.dtype.name)
    if kind is None:
        return array
    made = array.astype(kind)
    if kind is np.int32 and not np.array_equal(made, array):
        raise EngineError(
            f"litert computes with 32 bits, and the input {name!r} has integers beyond that",
            hint="Run this feed on an engine with 64 bits, such as onnxruntime",
        )
    return made
