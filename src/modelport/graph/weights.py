"""Reads and writes the weights of a graph, in the graph and in files: .npy, .bin, .safetensors."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from modelport.errors import DataError, UsageError, WeightsError
from modelport.graph import find
from modelport.graph.query import constant_of
from modelport.types import Array

SUFFIXES = (".npy", ".bin", ".safetensors")

_SAFETENSORS = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16",
    "F32": "float32", "F64": "float64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""Element types by the names in the header of the format."""

_MOST_HEADER_BYTES = 100_000_000


def weights(model: ir.Model, selector: str | None = None) -> dict[str, ir.Value]:
    """The weights that selected nodes read, or that a selector names; all without one. By name."""
    if selector is None:
        found = [v for graph in model.graphs() for v in graph.initializers.values()]
    elif selector.startswith("value:") or any(
        selector in graph.initializers for graph in model.graphs()
    ):
        found = find.values(model, selector)
    else:
        read = (value for node in find.nodes(model, selector) for value in node.inputs)
        found = [value for value in read if value is not None]
    return {value.name or "": value for value in found if constant_of(value) is not None}


def get(model: ir.Model, value: str) -> Array:
    """The array of a weight. It may be mapped from a file: copy it before you change it.

    Raises:
        UsageError: where the value is computed.
    """
    array = constant_of(_weight(model, value))
    assert array is not None
    return array


def put(
    model: ir.Model,
    value: str,
    *,
    data: Any = None,
    file: str | Path | None = None,
    dtype: str | None = None,
    shape: Sequence[int] | None = None,
    resize: bool = False,
) -> None:
    """Gives a weight new contents, for every node that reads it.

    Args:
        data: an array, or numbers; numbers take the element type of the weight.
        file: read in its place; see `read_file`. Of a .safetensors file, the tensor of that name.
        dtype, shape: of a .bin file, which has neither; by default those of the weight.
        resize: whether the shape may change.

    Raises:
        WeightsError: where element type or shape are not those of the weight.
    """
    weight = _weight(model, value)
    old = constant_of(weight)
    assert old is not None
    if (data is None) == (file is None):
        raise UsageError(f"The weight {value!r} wants either data or a file")
    if file is not None:
        path = Path(file)
        raw = path.suffix == ".bin"
        name = str(old.dtype) if dtype is None and raw else dtype
        sizes = old.shape if shape is None and raw else shape
        array = read_file(path, name=weight.name, dtype=name, shape=sizes)
    else:
        array = data if isinstance(data, np.ndarray) else _numbers(data, old, value)
    _replace(weight, _fitting(array, old, weight.name or value, resize))


def load(model: ir.Model, file: str | Path, *, resize: bool = False) -> list[str]:
    """Gives all weights that a .safetensors file names new contents; all of them, or none.

    Returns:
        Their names.

    Raises:
        WeightsError: where the file has a name that is no weight, or one that does not fit.
    """
    tensors = _read_safetensors(Path(file))
    known = weights(model)
    strange = [name for name in tensors if name not in known]
    if strange:
        raise WeightsError(
            f"{file} has {', '.join(map(repr, strange[:5]))}, which the graph has not",
            expected=f"names among its {len(known)} weights",
            hint="`modelport inspect FILE --nodes '*'` lists them",
        )
    fitting = {}
    for name, array in tensors.items():
        old = constant_of(known[name])
        assert old is not None
        fitting[name] = _fitting(array, old, name, resize)
    for name, array in fitting.items():
        _replace(known[name], array)
    return list(fitting)


def save(model: ir.Model, file: str | Path, selector: str | None = None) -> list[str]:
    """Writes weights to a file: one to .npy or .bin (bytes alone), any number to .safetensors.

    Returns:
        Their names.
    """
    path = Path(file)
    chosen = {name: constant_of(value) for name, value in weights(model, selector).items()}
    arrays = {name: array for name, array in chosen.items() if array is not None}
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no file for weights", expected=f"one of {', '.join(SUFFIXES)}")
    if not arrays:
        raise UsageError(f"{selector!r} has no weights")
    if path.suffix != ".safetensors" and len(arrays) > 1:
        raise UsageError(
            f"{selector or 'The graph'} has {len(arrays)} weights: {', '.join(list(arrays)[:5])}",
            expected=f"one for a {path.suffix} file",
            hint="Name one, as value:NAME, or write a .safetensors file",
        )
    _write(path, arrays)
    return list(arrays)


def read_file(
    path: Path,
    *,
    name: str | None = None,
    dtype: str | None = None,
    shape: Sequence[int] | None = None,
) -> Array:
    """An array from a file.

    Args:
        name: of the tensor in a .safetensors file; may be left out where there is one alone.
        dtype, shape: of a .bin file, which holds the bytes alone, in C order and little-endian.
    """
    if path.suffix == ".npy":
        return _read_npy(path)
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
        if name not in tensors and len(tensors) != 1:
            raise WeightsError(
                f"{path} has no tensor {name!r}", expected=f"one of {', '.join(list(tensors)[:8])}"
            )
        return tensors[name] if name in tensors else next(iter(tensors.values()))
    if path.suffix == ".bin":
        return _read_raw(path, dtype, shape)
    raise UsageError(f"{path} is no file of weights", expected=f"one of {', '.join(SUFFIXES)}")


def _weight(model: ir.Model, name: str) -> ir.Value:
    value = find.value(model, name)
    if constant_of(value) is None:
        made = value.producer()
        what = "an input" if made is None else f"computed by {made.op_type}"
        raise UsageError(f"{value.name!r} is no weight but {what}")
    return value


def _numbers(data: Any, old: Array, name: str) -> Array:
    """Numbers as an array of the weight's element type; one number fills the whole weight."""
    try:
        array = np.asarray(data)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"The weight {name!r} cannot be {data!r}", expected="numbers")
    return np.full(old.shape, array, old.dtype) if array.ndim == 0 else array.astype(old.dtype)


def _fitting(array: Array, old: Array, name: str, resize: bool) -> Array:
    if array.dtype != old.dtype:
        raise WeightsError(
            f"The new contents of {name!r} are {array.dtype}",
            expected=f"{old.dtype}",
            hint=f"Convert them with array.astype({str(old.dtype)!r})",
        )
    if array.shape != old.shape and not resize:
        raise WeightsError(
            f"The new contents of {name!r} have shape {list(array.shape)}",
            expected=f"{list(old.shape)}",
            hint="Pass resize where the shape is meant to change",
        )
    return array


def _replace(value: ir.Value, array: Array) -> None:
    tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=value.name)
    node = value.producer()
    if node is not None:  # a Constant
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", tensor)
    else:
        value.const_value = tensor
    value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(array.shape)


def _read_npy(path: Path) -> Array:
    _demand_file(path)
    try:
        with open(path, "rb") as file:  # np.load would also take archives, and pickles
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except (ValueError, EOFError, MemoryError, OverflowError) as error:
        raise DataError(
            f"{path} cannot be read as an array ({_brief(error)})",
            expected="a file written by numpy.save, without Python objects",
        ) from error


def _read_raw(path: Path, dtype: str | None, shape: Sequence[int] | None) -> Array:
    _demand_file(path)
    if dtype is None or shape is None:
        raise UsageError(f"{path} holds bytes alone", hint="Say its dtype and shape")
    kind, wanted = _numpy_type(dtype), int(np.prod(shape, dtype=np.int64))
    if path.stat().st_size != wanted * kind.itemsize:
        raise WeightsError(
            f"{path} has {path.stat().st_size} bytes",
            expected=f"{wanted * kind.itemsize} for {kind} of shape {list(shape)}",
        )
    return np.fromfile(path, kind).reshape(tuple(shape))


def _numpy_type(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(ir.DataType[name.upper()].numpy()) if name == "bfloat16" else np.dtype(name)
    except TypeError:
        pass
    by_name = {str(kind.numpy()): kind.numpy() for kind in ir.DataType if _has_numpy(kind)}
    if name not in by_name:
        raise UsageError(f"There is no element type {name!r}", expected="float32 or int8, say")
    return np.dtype(by_name[name])


def _has_numpy(kind: ir.DataType) -> bool:
    return kind not in (ir.DataType.UNDEFINED, ir.DataType.STRING)


def _read_safetensors(path: Path) -> dict[str, Array]:
    """Reads the format itself: eight bytes of length, a header of JSON, then the bytes, mapped."""
    _demand_file(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(path.stat().st_size - 8, _MOST_HEADER_BYTES):
                raise ValueError("its header ends outside the file")
            header = json.loads(file.read(length))
        content = np.memmap(path, np.uint8, mode="r")[8 + length :]
        return {
            name: _tensor(content, entry)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} cannot be read as .safetensors ({_brief(error)})",
            hint="Check that the file is complete",
        ) from error


def _tensor(content: Array, entry: Mapping[str, Any]) -> Array:
    start, end = entry["data_offsets"]
    kind = _numpy_type(_SAFETENSORS[entry["dtype"]])
    shape = tuple(int(size) for size in entry["shape"])
    if not isinstance(entry["shape"], list):
        raise ValueError("a shape is no list")
    if not 0 <= start <= end <= content.size:
        raise ValueError("a tensor lies outside the file")
    if (
        end - start != kind.itemsize * int(np.prod(shape, dtype=np.int64))
        or min(shape, default=0) < 0
    ):
        raise ValueError("a tensor has another size than its shape says")
    return np.asarray(content[start:end]).view(kind).reshape(shape)


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Written beside its place and moved there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".modelport-", dir=path.parent) as folder:
        made = Path(folder) / path.name
        if path.suffix == ".npy":
            np.save(made, next(iter(arrays.values())), allow_pickle=False)
        elif path.suffix == ".bin":
            made.write_bytes(np.ascontiguousarray(next(iter(arrays.values()))).tobytes())
        else:
            _write_safetensors(made, arrays)
        os.replace(made, path)


def _write_safetensors(path: Path, arrays: Mapping[str, Array]) -> None:
    names = {name: code for code, name in _SAFETENSORS.items()}
    header, offset = {}, 0
    for name, array in arrays.items():
        if str(array.dtype) not in names:
            raise UsageError(f"The weight {name!r} is {array.dtype}, which .safetensors has not")
        ends = [offset, offset + array.nbytes]
        header[name] = {
            "dtype": names[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": ends,
        }
        offset = ends[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors then begin at a multiple of eight
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).tobytes())


def _demand_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"There is no file {path}", hint="Check the path")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
