"""Reads and writes ONNX files. The only room of the graph that sees onnx's proto classes."""

from __future__ import annotations

from pathlib import Path

import onnx  # noqa: TID251  (this is the one room for it)
import onnx_ir as ir
from google.protobuf.message import DecodeError

from modelport.errors import SourceError

INLINE_LIMIT_BYTES = 1_500_000_000
"""Above this, weights go to a file of their own: protobuf ends at 2 GiB."""


def load(path: Path) -> ir.Model:
    """Opens an ONNX file; its weights stay on disk, memory-mapped, where they are external.

    Raises:
        SourceError: where the file is missing, is no ONNX model, or lacks its external data.
    """
    if not path.is_file():
        raise SourceError(f"There is no file {path}", hint="Check the path")
    try:
        model = ir.load(path)
    except (DecodeError, ValueError, UnicodeDecodeError, KeyError) as error:
        raise SourceError(
            f"{path} is not a readable ONNX model ({_brief(error)})",
            expected="a model in ONNX's protobuf format",
            hint="Check that the file is complete, or export it again",
        ) from error
    if not model.graph.num_nodes() and not model.graph.outputs:
        raise SourceError(f"{path} holds an empty graph", expected="a model with outputs")
    _demand_external_data(model, path)
    return model


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__


def _demand_external_data(model: ir.Model, path: Path) -> None:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        location = Path(tensor.path)
        if not location.is_file():
            raise SourceError(
                f"{path} keeps the weight {value.name!r} in {location.name}, which is missing",
                hint="Put the data file beside the model under its original name",
            )
        end = (tensor.offset or 0) + (tensor.length or 0)
        if location.stat().st_size < end:
            raise SourceError(
                f"{location} ends before the weight {value.name!r} does",
                expected=f"at least {end} bytes",
                hint="The file was cut short: copy or export it again",
            )


def save(model: ir.Model, path: Path) -> None:
    """Writes one ONNX file, with `<name>.data` beside it where the weights are too large."""
    save_with_weights(model, path.parent, name=path.stem)


def save_with_weights(model: ir.Model, directory: Path, name: str) -> dict[str, Path]:
    """Writes `<name>.onnx`, and `<name>.onnx.data` where the weights pass the inline limit.

    Returns:
        The files written by role: `model`, and `weights` where there is such a file.
    """
    target = directory / f"{name}.onnx"
    if weights_size_bytes(model) <= INLINE_LIMIT_BYTES:
        onnx.save_model(to_proto(model), str(target))
        return {"model": target}
    data = f"{name}.onnx.data"
    ir.save(model, target, external_data=data)
    return {"model": target, "weights": directory / data}


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


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    model: ir.Model = ir.from_proto(proto)
    return model


def _with_weights_in_memory(model: ir.Model) -> ir.Model:
    if not any(
        isinstance(value.const_value, ir.ExternalTensor)
        for value in model.graph.initializers.values()
    ):
        return model
    inline = model.clone()
    for value in inline.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    return inline
