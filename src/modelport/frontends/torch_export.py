"""From an `nn.Module` to a graph by way of `torch.export`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from modelport.errors import ExportError, UsageError
from modelport.graph import invariants, provenance
from modelport.graph.query import set_bounds
from modelport.types import Dim, TensorSpec

DEFAULT_OPSET = 20
OPSETS = range(18, 26)
"""What torch 2.13 really writes; for others it silently falls back to 18."""


def export(
    module: nn.Module,
    specs: Sequence[TensorSpec],
    examples: tuple[torch.Tensor, ...],
    *,
    opset: int,
    output_names: Sequence[str] | None = None,
) -> ir.Model:
    """Exports a module in inference mode.

    Args:
        specs: names and sizes of the inputs of `forward`, by position; free sizes stay free.
        examples: tensors of those sizes to trace with; free sizes must be 2 or more.
        opset: version of the standard operators to write.

    Returns:
        The graph as the exporter wrote it, every node with the path of its module.

    Raises:
        ExportError: naming the line of the user's code that stops it.
    """
    if opset not in OPSETS:
        raise UsageError(
            f"The opset {opset} cannot be written by the torch.export-based exporter",
            expected=f"{OPSETS.start} to {OPSETS.stop - 1}",
        )
    try:
        with warnings.catch_warnings(), _QuietExporter():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                module, examples, dynamic_shapes=_dynamic_shapes(specs), strict=False
            )
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in specs],
                output_names=None if output_names is None else list(output_names),
                optimize=False,
                verbose=False,
            )
    except Exception as error:
        raise _explained(error, module) from error
    assert written is not None
    return _finished(written.model, specs, opset)


def _finished(model: ir.Model, specs: Sequence[TensorSpec], opset: int) -> ir.Model:
    actual = model.opset_imports.get("")
    if actual != opset:
        raise ExportError(
            f"The exporter wrote opset {actual} where {opset} was asked for",
            hint=f"Choose an opset of {OPSETS.start} to {OPSETS.stop - 1}",
        )
    for value, spec in zip(model.graph.inputs, specs, strict=True):
        set_bounds(value, spec)
    provenance.adopt_torch_metadata(model)
    provenance.name_nodes(model)
    invariants.check(model)
    return model


def _dynamic_shapes(specs: Sequence[TensorSpec]) -> tuple[Any, ...] | None:
    if all(spec.is_static for spec in specs):
        return None
    return tuple(
        {
            axis: torch.export.Dim(
                size.name or f"{spec.name}_{axis}", min=size.minimum, max=size.maximum
            )
            for axis, size in enumerate(spec.shape)
            if isinstance(size, Dim)
        }
        for spec in specs
    )


class _QuietExporter:
    """Keeps the exporter's remarks on packages that are not needed off the user's screen."""

    def __enter__(self) -> None:
        self._logger = logging.getLogger("torch.onnx")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._logger.setLevel(self._level)


_HINTS = (
    (
        (
            "data-dependent",
            "GuardOnDataDependent",
            "Could not guard",
            "Could not extract specialized",
        ),
        "A branch or a size here depends on the values of a tensor: use torch.where for a choice "
        "of values, torch.cond for a choice of computations",
    ),
    (
        ("Constraints violated", "specialized", "not in range", "Dim"),
        "The code fixes a size that the inputs leave free: make it a plain number in --input, or "
        "compute it from x.shape",
    ),
    (
        ("ONNX decomposition", "No ONNX function", "not supported", "No decompositions"),
        "This operator has no translation to ONNX: compose it of standard operators",
    ),
    (
        ("numpy", "__array__"),
        "Use torch operations where this line goes through numpy",
    ),
)


def _explained(error: Exception, module: nn.Module) -> ExportError:
    place, path = _place(error, module)
    text = " ".join(str(error).split())
    chain = " ".join(repr(link) for link in _chain(error))
    hint = next(
        (advice for words, advice in _HINTS if any(word in chain for word in words)),
        "Rewrite that line with tensor operations that do not depend on the values of tensors",
    )
    where = f"stops at {place}" if place else "fails"
    return ExportError(
        f"The export {where}: {type(error).__name__}: {text[:240]}", hint=hint, module_path=path
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    links: list[BaseException] = []
    while error is not None and error not in links:
        links.append(error)
        error = error.__cause__ or error.__context__
    return links


def _place(error: Exception, module: nn.Module) -> tuple[str | None, str | None]:
    """The innermost line of the user's own code, with the path of the module that it is in."""
    for link in _chain(error):
        line, path = _own_frame(link.__traceback__, module)
        if line:
            return line, path
        told = provenance.user_line(str(link))
        if told:
            return told, None
    return None, None


def _own_frame(traceback: TracebackType | None, module: nn.Module) -> tuple[str | None, str | None]:
    paths = {id(part): path for path, part in module.named_modules()}
    own = str(Path(__file__).parents[1])
    line, path = None, None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        instance = traceback.tb_frame.f_locals.get("self")
        if not file.startswith((own, "<")) and "site-packages" not in file:
            if id(instance) in paths:
                line, path = f"{Path(file).name}:{traceback.tb_lineno}", paths[id(instance)]
            elif path is not None or line is not None:
                line = f"{Path(file).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line, path or None
