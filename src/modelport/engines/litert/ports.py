"""Between feeds and the tensors of LiteRT's interpreter: which tensor is which, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelport.engines.litert.interface import narrowed, places
from modelport.errors import EngineError
from modelport.types import Array, Artifact, Signature, TensorSpec

TENSORS = "tensors"
"""The option of artifacts that our converter did not write: `inputs` and `outputs` in the order of the file,
each with `scale` and `zero_point` where its numbers are quantized."""


@dataclass(frozen=True)
class Port:
    """One input or output that takes and gives arrays as they are.

    Attributes:
        spec: as callers see it.
        place: number of the tensor in the interpreter.
        dtype: that the tensor has there.
    """

    spec: TensorSpec
    place: int
    dtype: np.dtype[Any]

    def taken(self, array: Array) -> Array:
        """What the tensor is set to."""
        return array

    def given(self, array: Array) -> Array:
        """What a caller gets of it."""
        return array.astype(self.spec.dtype, copy=False)


@dataclass(frozen=True)
class NarrowPort(Port):
    """Of our own converter, which makes 64 bits 32."""

    def taken(self, array: Array) -> Array:
        return narrowed(array, self.spec.name)


@dataclass(frozen=True)
class QuantizedPort(Port):
    """Real numbers outside, `(stored - zero_point) * scale` inside."""

    scale: float = 1.0
    zero_point: int = 0

    def taken(self, array: Array) -> Array:
        limits = np.iinfo(self.dtype)
        stored = np.rint(array / np.float32(self.scale)) + self.zero_point
        return np.asarray(stored.clip(limits.min, limits.max).astype(self.dtype))

    def given(self, array: Array) -> Array:
        shifted = array.astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(shifted * np.float32(self.scale))


def ports_of(interpreter: Any, artifact: Artifact) -> tuple[list[Port], list[Port]]:
    """Inputs and outputs, in the order of the signature.

    Raises:
        EngineError: where the file has others.
    """
    signature = artifact.signature
    given = artifact.options.get(TENSORS)
    if given is not None:
        return (
            _of_file(signature.inputs, interpreter.get_input_details(), given["inputs"]),
            _of_file(signature.outputs, interpreter.get_output_details(), given["outputs"]),
        )
    return _of_converter(interpreter, signature)


def _of_converter(interpreter: Any, signature: Signature) -> tuple[list[Port], list[Port]]:
    inputs, outputs = places(interpreter, signature)
    return (
        [
            NarrowPort(spec, place, np.dtype(spec.dtype))
            for spec, place in zip(signature.inputs, inputs, strict=True)
        ],
        [
            Port(spec, place, np.dtype(spec.dtype))
            for spec, place in zip(signature.outputs, outputs, strict=True)
        ],
    )


def _of_file(
    specs: Sequence[TensorSpec],
    details: Sequence[Mapping[str, Any]],
    options: Sequence[Mapping[str, Any]],
) -> list[Port]:
    """The interpreter lists tensors in the order of the file."""
    if not len(specs) == len(details) == len(options):
        raise EngineError(
            f"litert finds {len(details)} tensors where the signature has {len(specs)}",
            hint="The file was changed after it was opened: open it again",
        )
    ports: list[Port] = []
    for spec, detail, how in zip(specs, details, options, strict=True):
        place, dtype = int(detail["index"]), np.dtype(detail["dtype"])
        if how:
            ports.append(QuantizedPort(spec, place, dtype, how["scale"], how["zero_point"]))
        else:
            ports.append(Port(spec, place, dtype))
    return ports
