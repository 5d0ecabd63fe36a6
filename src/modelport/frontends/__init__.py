"""Every way in: one file for each kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelport.errors import SourceError, UsageError
from modelport.frontends.source import LoadedSource, Source

__all__ = ["LoadedSource", "Source", "open_source"]


def open_source(
    source: Any, *, inputs: Any = None, weights: str | Path | None = None, **settings: Any
) -> LoadedSource:
    """Opens whatever a user may call their model.

    Args:
        source: an `nn.Module`, a `Source`, a reference `file.py:function` to something that returns
            either, or the path of an ONNX file.
        inputs: specifications or example tensors; overrides those of a `Source`.
        weights: file of a state dict to load into the module first.
        settings: fields of `Source` to override, where not None.

    Raises:
        SourceError: where the source cannot be found, read or built.
    """
    chosen: Mapping[str, Any] = {"inputs": inputs, **settings}
    if isinstance(source, (str, Path)) and not _is_onnx(source):
        source = _call_reference(str(source))
    if not isinstance(source, Source):
        source = Source(source)
    source = source.with_settings(chosen)
    if _is_onnx(source.model):
        return _open_onnx(source, weights)
    return _open_module(source, weights)


def _is_onnx(model: Any) -> bool:
    return isinstance(model, (str, Path)) and str(model).endswith(".onnx")


def _open_onnx(source: Source, weights: str | Path | None) -> LoadedSource:
    from modelport.frontends.onnx_file import OnnxFile

    if weights is not None:
        raise UsageError(
            f"Weights were given for {source.model}",
            hint="An ONNX file has its weights; leave --weights out",
        )
    if source.inputs is not None:
        raise UsageError(
            f"Inputs were given for {source.model}",
            hint="An ONNX file has its own; leave --input out, or export it with other sizes",
        )
    return OnnxFile(Path(source.model), source)


def _call_reference(text: str) -> Any:
    from modelport.frontends.reference import call_reference

    return call_reference(text)


def _open_module(source: Source, weights: str | Path | None) -> LoadedSource:
    try:
        from modelport.frontends.torch_module import TorchModule
    except ModuleNotFoundError as error:
        raise SourceError(
            f"The source needs the package {error.name}, which is not installed",
            hint='Install it with: pip install "modelport[torch]"',
        ) from error
    return TorchModule(source, weights)
