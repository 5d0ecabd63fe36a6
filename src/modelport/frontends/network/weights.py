"""Weights by name: from files, arrays and PyTorch, none of them read before it is asked for.

PyTorch is imported for its own files alone. A safetensors file is mapped into memory.
"""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from modelport.errors import WeightsError
from modelport.frontends.network.mistakes import nearest, user_line
from modelport.types import Array


class Weight(np.ndarray[Any, Any]):
    """An array that remembers the name it has in its file; what is computed from it has none."""

    name: str | None

    def __array_finalize__(self, source: Any) -> None:
        self.name = None


class Weights(Mapping[str, Any]):
    """Arrays by name. A part of a name, up to a dot, gives the group below it.

    `weights["layer1.0"]["conv1.weight"]` is `weights["layer1.0.conv1.weight"]`. Layers take a group where
    they take a weight, and find in it what they need under PyTorch's names.
    """

    def __init__(self, arrays: Mapping[str, Any] | _Store, origin: str, path: str = "") -> None:
        self.origin = origin
        self.path = path
        self._arrays = arrays if isinstance(arrays, _Store) else _Store(arrays)

    def __getitem__(self, key: str | int) -> Any:
        """An array, or a group; raises WeightsError, which offers near names, where there is neither."""
        name = self._full(key)
        if name in self._arrays.content:
            return self._arrays.read(name)
        if self._has_group(name):
            return Weights(self._arrays, self.origin, name)
        line = user_line()
        raise WeightsError(
            f"{self.origin} has no weight {name!r}" + (f" ({line})" if line else ""),
            expected=None if nearest(name, self._arrays.content) else f"one of {self._some()}",
            hint=nearest(name, self._arrays.content),
        )

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  (this is that get)

    def __contains__(self, key: object) -> bool:
        name = self._full(str(key))
        return name in self._arrays.content or self._has_group(name)

    def __iter__(self) -> Iterator[str]:
        start = f"{self.path}." if self.path else ""
        return (name[len(start) :] for name in self._arrays.content if name.startswith(start))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<{len(self)} weights of {self.origin}{f', {self.path}' if self.path else ''}>"

    @property
    def unused(self) -> list[str]:
        """Names that nobody has asked for yet; counters that PyTorch keeps in training are left out."""
        mine = {self._full(key) for key in self}
        return [
            name
            for name in self._arrays.content
            if name in mine - self._arrays.given and not name.endswith("num_batches_tracked")
        ]

    def _full(self, key: str | int) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def _has_group(self, name: str) -> bool:
        return any(other.startswith(f"{name}.") for other in self._arrays.content)

    def _some(self, most: int = 8) -> str:
        names = list(self)
        more = f" and {len(names) - most} more" if len(names) > most else ""
        return ", ".join(names[:most]) + more


class _Store:
    """The content that groups of one origin share."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self.given: set[str] = set()
        self._read: dict[str, Weight] = {}

    def read(self, name: str) -> Weight:
        """One object for each name, so that a weight used twice is stored once."""
        if name not in self._read:
            weight = array_of(self.content[name]).view(Weight)
            weight.name = name
            self._read[name] = weight
        self.given.add(name)
        return self._read[name]


def open_weights(source: Any) -> Weights:
    """Weights by name.

    Args:
        source: a `.safetensors`, `.npz`, `.onnx`, `.pth` or `.pt` file, a folder of `.npy` files, a mapping
            of arrays or PyTorch tensors, or something with a `state_dict()`.

    Raises:
        WeightsError: where it cannot be read.
    """
    if isinstance(source, Weights):
        return source
    if hasattr(source, "state_dict"):
        return Weights(source.state_dict(), type(source).__name__)
    if isinstance(source, Mapping):
        return Weights(source, "the mapping")
    path = Path(source)
    if path.is_dir():
        files = sorted(path.rglob("*.npy"))
        names = {".".join(file.relative_to(path).with_suffix("").parts): file for file in files}
        return Weights(names, str(path))
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}", hint="Check the path")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise WeightsError(
            f"{path} is no file of weights by name",
            expected=f"one ending in {', '.join(_READERS)}, or a folder of .npy files",
            hint="Read one array with numpy.load, or with weights_from_bin",
        )
    return Weights(reader(path), str(path))


def array_of(source: Any) -> Array:
    """An array of what holds one: itself, a `.npy` file, a PyTorch tensor, a tensor of onnx-ir.

    Raises:
        WeightsError: where it cannot be read.
    """
    if isinstance(source, np.ndarray):
        return source
    if is_npy(source):
        return _read_npy(Path(source))
    if hasattr(source, "detach"):
        return _from_torch(source)
    if hasattr(source, "numpy"):
        return np.asarray(source.numpy())
    return np.asarray(source)


def is_npy(source: Any) -> bool:
    return isinstance(source, (str, Path)) and Path(source).suffix == ".npy"


def weights_from_bin(
    path: str | Path, shape: tuple[int, ...], dtype: Any = "float32", *, offset: int = 0
) -> Array:
    """Numbers as they lie in a file, little-endian, mapped into memory.

    Args:
        offset: the byte they begin at.

    Raises:
        WeightsError: where the file does not hold exactly that from the offset on.
    """
    path, kind = Path(path), np.dtype(dtype).newbyteorder("<")
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}", hint="Check the path")
    found, wanted = path.stat().st_size - offset, math.prod(shape) * kind.itemsize
    if found != wanted or offset < 0:
        place = f" from byte {offset} on" if offset else ""
        raise WeightsError(
            f"{path} holds {max(found, 0)} bytes{place}",
            expected=f"{wanted} bytes, for {kind.name} of shape {list(shape)}",
            hint="Check the shape and the element type",
        )
    if not wanted:
        return np.zeros(shape, kind)
    return np.memmap(path, kind, "r", offset, tuple(shape))


def _from_torch(tensor: Any) -> Array:
    """Without a copy where it lies in the memory of this machine."""
    plain = tensor.detach().cpu()
    if str(plain.dtype) == "torch.bfloat16":
        torch = sys.modules["torch"]
        return np.asarray(plain.view(torch.int16).numpy()).view(ml_dtypes.bfloat16)
    return np.asarray(plain.numpy())


def _read_npy(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error, "a file written by numpy.save") from error


def _read_npz(path: Path) -> Mapping[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise _unreadable(path, error, "a file written by numpy.savez") from error


def _read_torch(path: Path) -> Mapping[str, Any]:
    from modelport.frontends.weights import read_state_dict

    return read_state_dict(path)


def _read_onnx(path: Path) -> Mapping[str, Any]:
    from modelport.graph import io

    return {
        name: value.const_value for name, value in io.load(path).graph.initializers.items() if name
    }


_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16",
    "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""The format's words for element types."""

_MOST_HEADER = 100_000_000


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    """The format: eight bytes with the length of a JSON header, the header, the numbers."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _MOST_HEADER):
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        data = np.memmap(path, np.uint8, "r", 8 + length) if size > 8 + length else _NOTHING
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        return {key: _slice(key, entry, data) for key, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise _unreadable(path, error, "a whole safetensors file") from error


_NOTHING: Array = np.zeros(0, np.uint8)


def _slice(key: str, entry: Mapping[str, Any], data: Array) -> Array:
    kind = np.dtype(getattr(ml_dtypes, _DTYPES[entry["dtype"]], _DTYPES[entry["dtype"]]))
    (start, end), shape = entry["data_offsets"], tuple(entry["shape"])
    fits = 0 <= start <= end <= data.size and end - start == math.prod(shape) * kind.itemsize
    if not fits or any(not isinstance(dim, int) or dim < 0 for dim in shape):
        raise ValueError(f"{key} of shape {list(shape)} lies at bytes {start} to {end}")
    return data[start:end].view(kind).reshape(shape)


_READERS = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".onnx": _read_onnx,
    ".pth": _read_torch,
    ".pt": _read_torch,
}


def _unreadable(path: Path, error: Exception, expected: str) -> WeightsError:
    return WeightsError(
        f"{path} cannot be read as weights ({' '.join(str(error).split())[:160]})",
        expected=expected,
        hint="Check that the file is complete",
    )
