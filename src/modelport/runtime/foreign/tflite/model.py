"""What a `.tflite` file says of its inputs and outputs, without its weights and without its engine.

Fields are those of `schema.fbs` of TensorFlow Lite, version 3; the first of a file's subgraphs is the
network, others are the bodies of its loops and branches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.damage import reading
from modelport.runtime.foreign.tflite.flatbuffer import Flatbuffer, NotFlatError, Table
from modelport.types import Blob, Dim, Signature, TensorSpec

IDENTIFIER = b"TFL3"
METADATA = "TFLITE_METADATA"
"""Name of the buffer with the TFLite Model Metadata."""

MOST_AXES = 32

_TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16",
    9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
"""`TensorType`, those that numpy has and whose values are real numbers."""

_OTHERS = {
    5: "texts", 8: "complex numbers", 11: "complex numbers", 13: "resources", 14: "variants",
    17: "int4", 18: "bfloat16", 19: "int2", 20: "uint4", 21: "float8", 22: "float8",
}  # fmt: skip

_QUANTIZED = ("uint8", "int8", "int16")
"""Types that stand for real numbers where a tensor has a scale."""

_FLOAT, _INT, _LONG, _UINT, _BYTE, _ULONG = "<f", "<i", "<q", "<I", "<b", "<Q"


@dataclass(frozen=True)
class Quantization:
    """Real numbers are `(stored - zero_point) * scale`."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class TfliteTensor:
    """An input or output.

    Attributes:
        stored: name, shape, and the element type as the file has it.
        quantization: None where the numbers stand for themselves.
    """

    stored: TensorSpec
    quantization: Quantization | None = None

    @property
    def spec(self) -> TensorSpec:
        """As a caller sees it: real numbers where the file has quantized ones."""
        if self.quantization is None:
            return self.stored
        return TensorSpec(self.stored.name, "float32", self.stored.shape)


@dataclass(frozen=True, eq=False)
class TfliteFile:
    """Attributes:
    metadata: the bytes of its TFLite Model Metadata; None where it has none.
    description: what its writer says of it.
    """

    inputs: tuple[TfliteTensor, ...]
    outputs: tuple[TfliteTensor, ...]
    metadata: memoryview | None = None
    description: str = ""

    @property
    def signature(self) -> Signature:
        return Signature(
            tuple(each.spec for each in self.inputs), tuple(each.spec for each in self.outputs)
        )


def read_tflite(path: Path) -> TfliteFile:
    """Reads the file's own description.

    Raises:
        BundleFormatError: where it is no TFLite model, or an input or output is no tensor of numbers.
    """
    damage = (NotFlatError, UnicodeDecodeError)
    with reading(path, "TFLite model", "a whole .tflite file", damage):
        return _Reader(path, Blob(path).view()).read()


class _Reader:
    def __init__(self, path: Path, data: memoryview) -> None:
        self._path, self._buffer = path, Flatbuffer(data)

    def read(self) -> TfliteFile:
        model = self._buffer.root(IDENTIFIER)
        graph = model.one_of(2, 0, "subgraph")
        inputs = self._tensors(graph, graph.wholes(1, _INT), "input")
        outputs = self._tensors(graph, graph.wholes(2, _INT), "output")
        if not inputs or not outputs:
            raise NotFlatError("it has no inputs or no outputs")
        return TfliteFile(inputs, outputs, self._metadata(model), model.text(3))

    def _tensors(self, graph: Table, numbers: Sequence[int], what: str) -> tuple[TfliteTensor, ...]:
        """Those of the numbers, in the order the engine has them; each with a name of its own."""
        found: dict[str, TfliteTensor] = {}
        for place, number in enumerate(numbers):
            tensor = graph.one_of(0, number, "tensor")
            name = tensor.text(3)
            if not name or name in found:
                name = f"{what} {place}"
            found[name] = self._tensor(tensor, name)
        return tuple(found.values())

    def _tensor(self, tensor: Table, name: str) -> TfliteTensor:
        number = tensor.whole(1, _BYTE)
        if number not in _TYPES:
            raise BundleFormatError(
                f"{self._path}: {name!r} holds {_OTHERS.get(number, f'the unknown type {number}')}",
                expected="inputs and outputs that are tensors of numbers which numpy has",
                hint="Convert the model without it",
            )
        spec = TensorSpec(name, _TYPES[number], _shape(tensor, name))
        return TfliteTensor(spec, _quantization(tensor.table(4), spec))

    def _metadata(self, model: Table) -> memoryview | None:
        for entry in model.tables(6):
            if entry.text(0) == METADATA:
                return self._content(model.one_of(4, entry.whole(1, _UINT), "buffer"))
        return None

    def _content(self, buffer: Table) -> memoryview:
        """The bytes of a buffer: inside, or behind the rest in files beyond 2 GB."""
        offset = buffer.whole(1, _ULONG)
        if offset > 1:
            return self._buffer.part(offset, buffer.whole(2, _ULONG))
        return buffer.bytes(0)


def _shape(tensor: Table, name: str) -> tuple[int | Dim, ...]:
    """The signature of the shape where there is one: in it, free sizes are -1."""
    sizes, free = tensor.wholes(0, _INT), tensor.wholes(7, _INT)
    if free and len(free) != len(sizes):
        raise NotFlatError(
            f"{name!r} has {len(sizes)} axes in one place and {len(free)} in another"
        )
    if len(sizes) > MOST_AXES:
        raise NotFlatError(f"{name!r} has {len(sizes)} axes")
    return tuple(size if size > 0 else Dim() for size in free or sizes)


def _quantization(found: Table | None, spec: TensorSpec) -> Quantization | None:
    """One scale for the whole tensor; several are of weights alone, and left out of account."""
    if found is None or spec.dtype not in _QUANTIZED:
        return None
    scales, points = found.numbers(2, _FLOAT), found.wholes(3, _LONG)
    if len(scales) != 1 or scales[0] == 0:
        return None
    scale, point = float(scales[0]), points[0] if points else 0
    limits = np.iinfo(spec.dtype)
    if not (math.isfinite(scale) and scale > 0 and limits.min <= point <= limits.max):
        raise NotFlatError(
            f"{spec.name!r} of {spec.dtype} has the scale {scale:g} and the zero point {point}"
        )
    return Quantization(scale, point)
