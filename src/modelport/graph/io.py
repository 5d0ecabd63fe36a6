"""Reads and writes ONNX files. The only room of the graph that sees onnx's proto classes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx  # noqa: TID251  (this is the one room for it)
import onnx_ir as ir

from modelport.errors import SourceError, UsageError
from modelport.types import Array

INLINE_LIMIT_BYTES = 1_500_000_000
"""Above this, weights go to a file of their own: protobuf ends at 2 GiB."""


SMALL_BYTES = 128
"""Below this, a weight stays in the file: engines infer shapes from sizes and scales before they open
others."""


def load(path: Path) -> ir.Model:
    """Opens an ONNX file; its weights stay on disk, memory-mapped, where they are external.

    Raises:
        SourceError: where the file is missing, is no ONNX model, or lacks its external data.
    """
    if not path.is_file():
        raise SourceError(f"There is no file {path}", hint="Check the path")
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf, onnx's text parser and onnx-ir have kinds of their own
        raise SourceError(
            f"{path} is not a readable ONNX model ({_brief(error)})",
            expected="a model in ONNX's protobuf format",
            hint="Check that the file is complete, or export it again",
        ) from error
    if not model.graph.num_nodes() and not model.graph.outputs:
        raise SourceError(f"{path} holds an empty graph", expected="a model with outputs")
    if not all(isinstance(name, str) for name in _names(model)):
        raise SourceError(
            f"{path} has names that are no text",
            hint="The file is damaged: copy or export it again",
        )
    _demand_external_data(model, path)
    return model


def _names(model: ir.Model) -> Iterator[object]:
    """Damaged UTF-8 comes out of protobuf as bytes."""
    for value in [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]:
        yield value.name or ""
    for node in model.graph.all_nodes():
        yield from (node.op_type, node.domain, node.name or "", *node.attributes)
        yield from (value.name or "" for value in node.outputs)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


def _demand_external_data(model: ir.Model, path: Path) -> None:
    for tensor in _external_tensors(model):
        weight = f"{path} keeps the weight {tensor.name!r} in {_brief_name(str(tensor.location))}"
        location = path.parent / tensor.location
        if not _is_inside(location, path.parent):
            raise SourceError(
                f"{weight}, outside the folder of the model",
                hint="Put the data file beside the model, and save the model again",
            )
        try:
            size = location.stat().st_size if location.is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            size = None
        if size is None:
            raise SourceError(
                f"{weight}, which is missing",
                hint="Put the data file beside the model under its original name",
            )
        offset, needed = tensor.offset or 0, tensor.nbytes
        if offset < 0 or tensor.length not in (None, needed):
            raise SourceError(
                f"{weight} from byte {offset} with {tensor.length} bytes",
                expected=f"{needed} bytes",
                hint="Export the model again",
            )
        if size < offset + needed:
            raise SourceError(
                f"{location} ends before the weight {tensor.name!r} of {path.name} does",
                expected=f"at least {offset + needed} bytes",
                hint="The file was cut short: copy or export it again",
            )


def _is_inside(location: Path, folder: Path) -> bool:
    """Links count with what they lead to, as they do for onnx-ir."""
    try:
        return location.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop, or a name that no file can have
        return False


def _brief_name(location: str) -> str:
    return repr(location if len(location) <= 80 else f"{location[:80]}...")


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Weights outside the file, those of subgraphs, functions and Constant nodes included."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
    functions = [node for function in model.functions.values() for node in function.all_nodes()]
    for node in [*model.graph.all_nodes(), *functions]:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                tensor = attribute.as_tensor()
                if isinstance(tensor, ir.ExternalTensor):
                    yield tensor


AUTO, INSIDE, OUTSIDE, NOWHERE = "auto", "inside", "outside", "nowhere"
PLACES = (AUTO, INSIDE, OUTSIDE, NOWHERE)
"""Where weights go: auto puts them outside above INLINE_LIMIT_BYTES."""


def check_placement(weights_in: str) -> None:
    """Raises UsageError where there is no such place."""
    if weights_in not in PLACES:
        raise UsageError(
            f"Weights cannot go {weights_in!r}", expected=f"one of {', '.join(PLACES)}"
        )


def save(model: ir.Model, path: Path, *, weights_in: str = AUTO, as_inputs: bool = False) -> None:
    """Writes one ONNX file, and `<name>.onnx.data` beside it where the weights go outside.

    Nothing half-written is left under the final name.

    Args:
        weights_in: one of PLACES.
        as_inputs: whether weights are listed among the inputs too.

    Raises:
        SourceError: where nothing can be written there.
        UsageError: where the weights are too large to go inside.
    """
    check_placement(weights_in)
    if as_inputs:
        model = model.clone()
        model.graph.inputs.extend(
            value for value in model.graph.initializers.values() if not value.is_graph_input()
        )
    try:
        with tempfile.TemporaryDirectory(prefix=".modelport-", dir=path.parent) as scratch:
            for file in _written(model, Path(scratch), path.stem, weights_in).values():
                os.replace(file, path.parent / file.name)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be written ({error.strerror})", hint="Choose another place with -o"
        ) from error


def _written(model: ir.Model, directory: Path, name: str, weights_in: str) -> dict[str, Path]:
    if weights_in == AUTO:
        return save_with_weights(model, directory, name)
    if weights_in == INSIDE:
        size = weights_size_bytes(model)
        if size > INLINE_LIMIT_BYTES:
            raise UsageError(
                f"The weights take {size / 1e9:.1f} GB, and a file with them inside at most "
                f"{INLINE_LIMIT_BYTES / 1e9:.1f} GB",
                hint="Put them outside",
            )
        return save_with_weights(model, directory, name)
    files = _save_outside(model, directory, name)
    if weights_in == NOWHERE:
        del files["weights"]
    return files


def _save_outside(model: ir.Model, directory: Path, name: str) -> dict[str, Path]:
    target, data = directory / f"{name}.onnx", f"{name}.onnx.data"
    ir.save(model, target, external_data=data, size_threshold_bytes=SMALL_BYTES)
    return {"model": target, "weights": directory / data}


def save_with_weights(model: ir.Model, directory: Path, name: str) -> dict[str, Path]:
    """Writes `<name>.onnx`, and `<name>.onnx.data` where the weights pass the inline limit.

    Returns:
        The files written by role: `model`, and `weights` where there is such a file.
    """
    target = directory / f"{name}.onnx"
    if weights_size_bytes(model) <= INLINE_LIMIT_BYTES:
        onnx.save_model(to_proto(model), str(target))
        return {"model": target}
    return _save_outside(model, directory, name)


def weights_size_bytes(model: ir.Model) -> int:
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as onnx's own class, weights inside, for libraries that demand it."""
    return ir.to_proto(_with_weights_in_memory(model))


NATIVE = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
"""numpy's own element types, which libraries take as they are."""


@dataclass(frozen=True)
class Apart:
    """A model and its weights apart, for libraries that take them so.

    Attributes:
        proto: the model without its larger weights.
        weights: those that are in memory, by name, uncopied where they can be.
        folder: where the files lie that hold the others; None where there are none.
    """

    proto: bytes
    weights: dict[str, Array]
    folder: Path | None


def apart(model: ir.Model) -> Apart:
    """Takes model and weights apart. Weights in files stay there, if these are in one folder.

    Weights of subgraphs and of element types that numpy lacks stay inside.
    """
    filed = {t.name: Path(t.base_dir) for t in _external_tensors(model) if t.name is not None}
    folders = set(filed.values())
    in_files = len(folders) == 1 and set(filed) <= set(model.graph.initializers)
    moved = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or tensor.nbytes <= SMALL_BYTES:
            continue
        if in_files and isinstance(tensor, ir.ExternalTensor):
            continue
        array = tensor.numpy()
        if array.dtype.str[1:] in NATIVE and isinstance(array, np.ndarray):
            moved[name] = np.ascontiguousarray(array)
    if not in_files and any(tensor.name not in moved for tensor in _external_tensors(model)):
        return Apart(to_proto(model).SerializeToString(), {}, None)
    with _elsewhere(model, moved):
        proto = ir.to_proto(model).SerializeToString()
    return Apart(proto, moved, folders.pop() if in_files else None)


@contextmanager
def _elsewhere(model: ir.Model, weights: Mapping[str, Array]) -> Iterator[None]:
    """Within it those weights are mere references to a file."""
    values = {name: model.graph.initializers[name] for name in weights}
    tensors = {name: value.const_value for name, value in values.items()}
    try:
        for name, value in values.items():
            tensor = tensors[name]
            assert tensor is not None
            value.const_value = ir.ExternalTensor(
                "memory",
                0,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.numpy().shape),
                name=name,
            )
        yield
    finally:
        for name, value in values.items():
            value.const_value = tensors[name]


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    model: ir.Model = ir.from_proto(proto)
    return model


def _with_weights_in_memory(model: ir.Model) -> ir.Model:
    if not any(True for _ in _external_tensors(model)):
        return model
    inline = model.clone()
    bring_weights_to_memory(inline)
    return inline


def bring_weights_to_memory(model: ir.Model) -> None:
    """Reads weights that lie in other files, so that these may be deleted."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.Tensor(value.const_value.numpy().copy(), name=value.name)
