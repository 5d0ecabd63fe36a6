"""Small `.tflite` files for tests, written without TensorFlow and without the library of FlatBuffers."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

FLOAT32, INT32, UINT8, STRING, INT8 = 0, 2, 3, 5, 9
RELU, MEAN = 19, 40
REDUCER_OPTIONS = 27


class Number(NamedTuple):
    """In the words of `struct`."""

    form: str
    value: float


class Numbers(NamedTuple):
    form: str
    values: Sequence[float]


Table: TypeAlias = dict[int, Any]
"""Values by the number of the field: `Number`, `Numbers`, text, bytes, a table, or a list of tables."""


def flat(root: Table, identifier: bytes) -> bytes:
    """The buffer of a table. Whatever a table leads to stands behind it."""
    data = bytearray(struct.pack("<I4s", 0, identifier))
    _lead(data, 0, _table(data, root))
    return bytes(data)


def _table(data: bytearray, table: Table) -> int:
    forms = {key: value.form if isinstance(value, Number) else "<I" for key, value in table.items()}
    places, end = {}, 4
    for key, form in forms.items():
        size = struct.calcsize(form)
        places[key] = end = end + -end % size
        end += size
    count = max(table, default=-1) + 1
    vtable = struct.pack(
        f"<{2 + count}H", 4 + 2 * count, end, *(places.get(key, 0) for key in range(count))
    )
    _align(data, 8)
    head = len(data)
    data += vtable
    _align(data, 8)
    start = len(data)
    data += bytes(end)
    struct.pack_into("<i", data, start, start - head)
    for key, value in table.items():
        place = start + places[key]
        if isinstance(value, Number):
            struct.pack_into(value.form, data, place, value.value)
        else:
            _lead(data, place, _behind(data, value))
    return start


def _behind(data: bytearray, value: Any) -> int:
    if isinstance(value, dict):
        return _table(data, value)
    if isinstance(value, str):
        return _vector(data, value.encode() + b"\0", len(value.encode()), 1)
    if isinstance(value, bytes):
        return _vector(data, value, len(value), 16)
    if isinstance(value, Numbers):
        size = struct.calcsize(value.form)
        packed = b"".join(struct.pack(value.form, each) for each in value.values)
        return _vector(data, packed, len(value.values), size)
    start = _vector(data, bytes(4 * len(value)), len(value), 4)
    for index, each in enumerate(value):
        _lead(data, start + 4 + 4 * index, _behind(data, each))
    return start


def _vector(data: bytearray, content: bytes, count: int, size: int) -> int:
    _align(data, 4)
    while (len(data) + 4) % size:
        data += bytes(4)
    start = len(data)
    data += struct.pack("<I", count) + content
    return start


def _align(data: bytearray, size: int) -> None:
    data += bytes(-len(data) % size)


def _lead(data: bytearray, place: int, target: int) -> None:
    struct.pack_into("<I", data, place, target - place)


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: Sequence[int]
    kind: int = FLOAT32
    scales: Sequence[float] = ()
    points: Sequence[int] = ()
    free: Sequence[int] = ()
    content: bytes | None = None

    def table(self, buffer: int) -> Table:
        made: Table = {
            0: Numbers("<i", self.shape), 1: Number("<b", self.kind), 2: Number("<I", buffer),
            3: self.name,
        }  # fmt: skip
        if self.scales:
            made[4] = {2: Numbers("<f", self.scales), 3: Numbers("<q", self.points)}
        if self.free:
            made[7] = Numbers("<i", self.free)
        return made


@dataclass(frozen=True)
class Net:
    """One operator: the first tensors go in, the last one comes out.

    Attributes:
        inputs: how many of the tensors are inputs of the network; others have content.
    """

    tensors: Sequence[Tensor]
    operator: int
    inputs: int = 1
    options: tuple[int, Table] | None = None
    metadata: bytes | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content())
        return path

    def content(self) -> bytes:
        buffers: list[Table] = [{}]
        tables = []
        for tensor in self.tensors:
            if tensor.content is not None:
                buffers.append({0: tensor.content})
            tables.append(tensor.table(0 if tensor.content is None else len(buffers) - 1))
        last = len(tables) - 1
        operator: Table = {
            0: Number("<I", 0), 1: Numbers("<i", range(last)), 2: Numbers("<i", [last]),
        }  # fmt: skip
        if self.options is not None:
            operator |= {3: Number("<B", self.options[0]), 4: self.options[1]}
        graph = {
            0: tables, 1: Numbers("<i", range(self.inputs)), 2: Numbers("<i", [last]),
            3: [operator], 4: "main",
        }  # fmt: skip
        code = {0: Number("<b", self.operator), 2: Number("<i", 1), 3: Number("<i", self.operator)}
        model: Table = {0: Number("<I", 3), 1: [code], 2: [graph], 3: "a test's", 4: buffers}
        if self.metadata is not None:
            buffers.append({0: self.metadata})
            model[6] = [{0: "TFLITE_METADATA", 1: Number("<I", len(buffers) - 1)}]
        return flat(model, b"TFL3") + (_archive(self.files) if self.files else b"")


def _archive(files: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def relu(kind: int = FLOAT32, **of_tensors: Any) -> Net:
    """What is above zero, of four numbers."""
    return Net([Tensor(name, (1, 4), kind, **of_tensors) for name in ("x", "y")], RELU)


def colours(
    kind: int = FLOAT32,
    *,
    metadata: bytes | None = None,
    files: Mapping[str, str] | None = None,
    free: Sequence[int] = (),
    **of_tensors: Any,
) -> Net:
    """The mean of red, green and blue of a picture of 8 x 8 pixels."""
    axes = struct.pack("<2i", 1, 2)
    return Net(
        [
            Tensor("picture", (1, 8, 8, 3), kind, free=free, **of_tensors),
            Tensor("axes", (2,), INT32, content=axes),
            Tensor("means", (1, 3), kind, free=(*free[:1], 3) if free else (), **of_tensors),
        ],
        MEAN,
        options=(REDUCER_OPTIONS, {0: Number("<?", False)}),
        metadata=metadata,
        files=files or {},
    )


def described(
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    colour: int = 1,
    labels: str | None = None,
    calibrated: bool = False,
) -> bytes:
    """TFLite Model Metadata of a network from one picture to one row of scores."""
    image: Table = {0: Number("<B", 2), 1: {0: Number("<b", colour)}}
    source: Table = {0: "image", 3: image}
    if mean:
        options = {0: Numbers("<f", mean), 1: Numbers("<f", std)}
        source[4] = [{0: Number("<B", 1), 1: options}]
    result: Table = {0: "probability"}
    if labels is not None:
        result[6] = [
            {0: "unused.txt", 2: Number("<b", 1)},
            {0: labels, 2: Number("<b", 2)},
        ]
    if calibrated:
        result[4] = [{0: Number("<B", 2), 1: {}}]
    model = {0: "colours", 2: "v7", 3: [{2: [source], 3: [result]}], 5: "Apache-2.0"}
    return flat(model, b"M001")
