"""What an OpenVINO network (`.xml`) says of its inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from modelport.runtime.foreign.damage import reading
from modelport.types import Dim, Signature, TensorSpec

LIMIT_BYTES = 64 * 1024 * 1024
"""Of the description alone; the weights are in another file."""

_TYPES = {
    "fp32": "float32", "fp16": "float16", "fp64": "float64", "i8": "int8", "i16": "int16",
    "i32": "int32", "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32",
    "u64": "uint64", "bool": "bool", "boolean": "bool",
}  # fmt: skip
"""The words for element types in the `precision` of a port."""


class _UnreadableError(ValueError):
    """The file is not what OpenVINO writes."""


def read_openvino(path: Path) -> Signature:
    """Inputs and outputs, in the order OpenVINO gives them.

    Raises:
        BundleFormatError: where the file is no OpenVINO network.
    """
    reader = _Reader()
    damage = (_UnreadableError, expat.ExpatError, ValueError)
    with reading(
        path, "OpenVINO network", "the .xml file that OpenVINO writes beside its .bin", damage
    ):
        if path.stat().st_size > LIMIT_BYTES:
            raise _UnreadableError("it is too large for a description")
        return reader.read(path.read_bytes())


class _Layer:
    def __init__(self, attributes: dict[str, str]) -> None:
        self.number, self.kind = attributes.get("id", ""), attributes.get("type", "")
        self.name = attributes.get("name", "")
        self.ports: dict[str, _Port] = {}


class _Port:
    def __init__(self, attributes: dict[str, str]) -> None:
        self.precision = attributes.get("precision", "").lower()
        self.names = attributes.get("names", "")
        self.sizes: list[int | Dim] = []


class _Reader:
    """Keeps the inputs, the outputs and the ports that lead to these, of the outermost network."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text = ""
        self._layer: _Layer | None = None
        self._port: _Port | None = None
        self._layers: dict[str, _Layer] = {}
        self._edges: dict[str, tuple[str, str]] = {}

    def read(self, data: bytes) -> Signature:
        parser: Any = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = _no_entities
        parser.Parse(data, True)
        inputs = tuple(self._spec(each, each) for each in self._of("Parameter"))
        outputs = tuple(self._spec(each, self._source(each)) for each in self._of("Result"))
        if not inputs or not outputs:
            raise _UnreadableError("it has no inputs or no outputs")
        return Signature(inputs, outputs)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        if self._path == ["net", "layers", "layer"]:
            self._layer = _Layer(attributes)
            self._layers[self._layer.number] = self._layer
        elif self._path[:3] == ["net", "layers", "layer"] and self._path[3:] in PORTS:
            assert self._layer is not None
            self._port = self._layer.ports[attributes.get("id", "")] = _Port(attributes)
        elif self._path == ["net", "edges", "edge"]:
            source = attributes.get("from-layer", ""), attributes.get("from-port", "")
            self._edges[attributes.get("to-layer", "")] = source
        self._text = ""

    def _end(self, tag: str) -> None:
        if tag == "dim" and self._port is not None and self._path[3:-1] in PORTS:
            size = int(self._text)
            self._port.sizes.append(size if size >= 0 else Dim())
        self._path.pop()

    def _characters(self, text: str) -> None:
        if len(self._text) < 32:
            self._text += text

    def _of(self, kind: str) -> Iterator[_Layer]:
        return (layer for layer in self._layers.values() if layer.kind == kind)

    def _source(self, result: _Layer) -> _Layer:
        number, port = self._edges.get(result.number, ("", ""))
        layer = self._layers.get(number)
        if layer is None or port not in layer.ports:
            raise _UnreadableError(f"nothing leads to its output {result.name!r}")
        found = _Layer({"name": layer.name})
        found.ports = {port: layer.ports[port]}
        return found

    def _spec(self, named: _Layer, source: _Layer) -> TensorSpec:
        port = next(iter(source.ports.values()), None)
        if port is None or port.precision not in _TYPES:
            raise _UnreadableError(f"{named.name!r} has no element type that numpy knows")
        # Names of one tensor stand behind each other; a comma inside of a name has a backslash.
        name = re.split(r"(?<!\\),", port.names)[0].replace("\\,", ",") or source.name
        return TensorSpec(name, _TYPES[port.precision], tuple(port.sizes))


PORTS = (["input", "port"], ["output", "port"])
"""Below a layer."""


def _no_entities(*_: object) -> None:
    raise _UnreadableError("it declares a document type, which OpenVINO never does")
