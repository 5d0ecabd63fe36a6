"""What an ONNX file says about itself: inputs, outputs and metadata, without its weights.

It is read in the wire format of protocol buffers, by the numbers that `onnx.proto` gives the fields.
The file is mapped, and of the graph only its interface is looked at, so large files open at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.damage import reading
from modelport.types import Blob, Dim, Signature, TensorSpec

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
"""Wire types; groups, which are 3 and 4, are of a time before ONNX."""

MOST_FIELDS = 1_000_000
"""Fields looked at: a network of ten thousand nodes has some ten thousand at this depth."""

_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""`TensorProto.DataType`, those that numpy has."""

_EXTERNAL = 1
"""`TensorProto.DataLocation` of weights in files beside the model."""

Number = int
Value = int | memoryview


class _NotProtobufError(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True)
class OnnxFile:
    """Attributes:
    signature: inputs that are no weights, and outputs; an output of unknown rank counts as scalar.
    metadata: the file's own keys and values.
    producer: name and version of what wrote it; empty where it does not say.
    domains: version of each set of operators.
    beside: names of the files that hold its weights.
    unknown: names of the outputs whose shape it does not say.
    """

    signature: Signature
    metadata: dict[str, str] = field(default_factory=dict)
    producer: str = ""
    domains: dict[str, int] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read_onnx(path: Path) -> OnnxFile:
    """Reads the file's own description.

    Raises:
        BundleFormatError: where it is no ONNX model, or has an input or output that is no tensor.
    """
    damage = (_NotProtobufError, UnicodeDecodeError, RecursionError)
    with reading(path, "ONNX model", "a whole .onnx file", damage):
        return _Reader(path).read(Blob(path).view())


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MOST_FIELDS
        self._weights: set[str] = set()
        self._beside: set[str] = set()

    def read(self, data: memoryview) -> OnnxFile:
        metadata: dict[str, str] = {}
        domains: dict[str, int] = {}
        producer = {2: "", 3: ""}
        graph = None
        for number, value in self._fields(data):
            if number == 7:
                graph = _message(value)
            elif number in producer:
                producer[number] = _text(value)
            elif number == 8:
                domains.update([self._operators(_message(value))])
            elif number == 14:
                metadata.update([self._pair(_message(value))])
        if graph is None:
            raise _NotProtobufError("it has no graph")
        signature, unknown = self._signature(graph)
        return OnnxFile(
            signature,
            metadata,
            " ".join(part for part in producer.values() if part),
            domains,
            tuple(sorted(self._beside)),
            unknown,
        )

    def _signature(self, graph: memoryview) -> tuple[Signature, tuple[str, ...]]:
        inputs, outputs = [], []
        for number, value in self._fields(graph):
            if number == 5:
                self._weight(_message(value))
            elif number == 11:
                inputs.append(_message(value))
            elif number == 12:
                outputs.append(_message(value))
        fed = [spec for spec, _ in map(self._tensor, inputs) if spec.name not in self._weights]
        given = [self._tensor(value) for value in outputs]
        if not fed or not given:
            raise _NotProtobufError("it has no inputs or no outputs")
        unknown = tuple(spec.name for spec, known in given if not known)
        return Signature(tuple(fed), tuple(spec for spec, _ in given)), unknown

    def _weight(self, tensor: memoryview) -> None:
        """Notes the name of a weight, and the file that holds it where that is another."""
        outside, location = False, ""
        for number, value in self._fields(tensor):
            if number == 8:
                self._weights.add(_text(value))
            elif number == 13:
                key, text = self._pair(_message(value))
                location = text if key == "location" else location
            elif number == 14:
                outside = value == _EXTERNAL
        if outside:
            self._beside.add(location)

    def _tensor(self, value: memoryview) -> tuple[TensorSpec, bool]:
        """Name, element type and shape; and whether the file says the shape."""
        name, kind = "", None
        for number, inner in self._fields(value):
            if number == 1:
                name = _text(inner)
            elif number == 2:
                kind = _message(inner)
        tensor = None
        for number, inner in self._fields(kind) if kind is not None else ():
            tensor = _message(inner) if number == 1 else tensor
        if tensor is None:
            raise self._no_tensor(name, "no plain tensor")
        dtype, shape = 0, None
        for number, inner in self._fields(tensor):
            if number == 1 and isinstance(inner, int):
                dtype = inner
            elif number == 2:
                shape = tuple(map(self._size, self._sizes(_message(inner))))
        if dtype not in _TYPES:
            raise self._no_tensor(name, f"a tensor of ONNX's element type {dtype}")
        return TensorSpec(name, _TYPES[dtype], shape or ()), shape is not None

    def _no_tensor(self, name: str, found: str) -> BundleFormatError:
        return BundleFormatError(
            f"{self._path}: {name!r} is {found}",
            expected="inputs and outputs that are tensors of numbers which numpy has",
            hint="Export the model without it, or turn the file into a bundle with modelport deploy",
        )

    def _sizes(self, shape: memoryview) -> Iterator[memoryview]:
        return (_message(value) for number, value in self._fields(shape) if number == 1)

    def _size(self, dim: memoryview) -> int | Dim:
        """A number above zero; anything else is free."""
        for number, value in self._fields(dim):
            if number == 1 and isinstance(value, int) and 0 < value < 1 << 62:
                return value
            if number == 2 and re.fullmatch(r"[A-Za-z_]\w*", name := _text(value)):
                return Dim(name=name)
        return Dim()

    def _pair(self, entry: memoryview) -> tuple[str, str]:
        found = {1: "", 2: ""}
        for number, value in self._fields(entry):
            found[number] = _text(value)
        return found[1], found[2]

    def _operators(self, entry: memoryview) -> tuple[str, int]:
        domain, version = "", 0
        for number, value in self._fields(entry):
            if number == 1:
                domain = _text(value)
            elif isinstance(value, int):
                version = value
        return domain, version

    def _fields(self, data: memoryview) -> Iterator[tuple[Number, Value]]:
        """Numbers and values of a message: a number, or bytes that are not looked at."""
        position, end = 0, len(data)
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise _NotProtobufError("it has too many fields")
            tag, position = _varint(data, position)
            kind = tag & 7
            if kind == _VARINT:
                value, position = _varint(data, position)
                yield tag >> 3, value
                continue
            length, position = _length(data, position, kind)
            if position + length > end:
                raise _NotProtobufError("it ends too early")
            yield tag >> 3, data[position : position + length]
            position += length


def _length(data: memoryview, position: int, kind: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(data, position)
    if kind in (_EIGHT, _FOUR):
        return (8 if kind == _EIGHT else 4), position
    raise _NotProtobufError("it is no protocol buffer")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, until a byte below 128."""
    found = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _NotProtobufError("it ends too early")
        byte = data[position]
        position += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, position
    raise _NotProtobufError("it has a number that never ends")


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise _NotProtobufError("it has a number where a message belongs")
    return value


def _text(value: Value) -> str:
    return str(bytes(_message(value)), "utf-8")
