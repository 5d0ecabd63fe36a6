"""Every way in: one file for each kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelport.errors import SourceError, UsageError
from modelport.frontends.isolation import deadline
from modelport.frontends.operators import read_operators
from modelport.frontends.options import ExportOptions
from modelport.frontends.source import LoadedSource, Source

__all__ = ["ExportOptions", "LoadedSource", "Source", "open_source"]


def open_source(
    source: Any,
    *,
    inputs: Any = None,
    weights: str | Path | None = None,
    options: ExportOptions | None = None,
    **settings: Any,
) -> LoadedSource:
    """Opens whatever a user may call their model.

    Args:
        source: an `nn.Module`, a `torch.export` program, an `onnx_ir.Model`, a `Network`, a `Source`; or
            as text a reference `file.py:function` to something that returns one of these, a name of a
            codebase (`timm:resnet18`), or the path of a model file: `.onnx`, `.pt2`, TorchScript `.pt`.
        inputs: specifications or example tensors; overrides those of a `Source`.
        weights: file of a state dict to load into the module first.
        options: how it is exported.
        settings: fields of `Source` to override, where not None.

    Raises:
        SourceError: where the source cannot be found, read or built, or takes too long to.
    """
    options = options or ExportOptions()
    described = described_source(source, inputs, weights, options, **settings)
    with deadline(options.time_limit_s, "Opening the source"):
        return _opened(described, weights, options)


def described_source(
    source: Any,
    inputs: Any,
    weights: str | Path | None,
    options: ExportOptions,
    **settings: Any,
) -> Source:
    """Builds what a source stands for; the arguments are those of `open_source`."""
    with deadline(options.time_limit_s, "Building the model"):
        built = _built(source, pretrained=weights is None)
    described = built if isinstance(built, Source) else Source(built)
    return described.with_settings({"inputs": inputs, **settings})


def _built(source: Any, *, pretrained: bool) -> Any:
    """What a reference or the name of a codebase stands for; anything else as it is."""
    if not isinstance(source, (str, Path)):
        return source
    text = str(source)
    if _file_kind(text) is not None:
        return Path(text)
    if ":" in text and ".py" not in text:
        from modelport.codebases import is_codebase, open_codebase

        if is_codebase(text):
            with _needing_torch():
                return open_codebase(text, pretrained=pretrained)
    from modelport.frontends.reference import call_reference

    return call_reference(text)


_KINDS: Mapping[str, str] = {
    ".onnx": "onnx",
    ".pt2": "program",
    ".pt": "script",
    ".pth": "script",
    ".torchscript": "script",
    ".ts": "script",
}


def _file_kind(text: str) -> str | None:
    return _KINDS.get(Path(text).suffix.lower())


class _needing_torch:  # noqa: N801  (reads as a statement)
    """Says how to install what a source needs, where it is missing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
            raise SourceError(
                f"The source needs the package {error.name}, which is not installed",
                hint=f'Install it with: pip install "modelport[{_EXTRAS[error.name]}]"',
            ) from error


_EXTRAS = {"torch": "torch", "onnxscript": "torch", "onnx_ir": "onnx", "onnx": "onnx"}


def _opened(source: Source, weights: str | Path | None, options: ExportOptions) -> LoadedSource:
    read_operators(source.operators)  # a mistake in them is told before anything takes long
    with _needing_torch():
        kind = kind_of_model(source.model)
        if kind != "module" and weights is not None:
            raise UsageError(
                f"Weights were given for {source.model if kind == 'onnx' else 'a ' + kind}",
                hint="It has its weights; leave --weights out",
            )
        if kind == "onnx":
            return _open_onnx(source, options)
        if kind == "program":
            from modelport.frontends.exported_program import Program

            return Program(source, options)
        if kind == "script":
            from modelport.frontends.script import Script

            return Script(source, options)
        from modelport.frontends.torch_module import TorchModule

        return TorchModule(source, weights, options)


def kind_of_model(model: Any) -> str:
    """`onnx`, `program`, `script`, or `module`, which stands for anything else too."""
    if isinstance(model, (str, Path)):
        return _file_kind(str(model)) or "module"
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__}
    if names & {
        "onnx_ir._core.Model",
        "onnx_ir.Model",
        "modelport.frontends.network.network.Network",
    }:
        return "onnx"
    if "torch.export.exported_program.ExportedProgram" in names:
        return "program"
    return "script" if "torch.jit._script.ScriptModule" in names else "module"


def _open_onnx(source: Source, options: ExportOptions) -> LoadedSource:
    from modelport.frontends.onnx_file import OnnxFile

    if source.inputs is not None:
        raise UsageError(
            f"Inputs were given for {source.model}",
            hint="An ONNX file has its own; leave --input out, or export it with other sizes",
        )
    return OnnxFile(source, options)
