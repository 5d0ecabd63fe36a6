"""From an `nn.Module` to a graph by way of `torch.export`."""

from __future__ import annotations

import logging
import re
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
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
    output_names: Sequence[str],
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
        with _quiet():
            program = torch.export.export(
                module, examples, dynamic_shapes=_dynamic_shapes(specs), strict=False
            )
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in specs],
                output_names=list(output_names),
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
    _name_free_dimensions(model)
    provenance.adopt_torch_metadata(model)
    provenance.name_nodes(model)
    invariants.check(model)
    return model


def _name_free_dimensions(model: ir.Model) -> None:
    """Calls the exporter's symbols (`s23`) by the input and the axis where they begin."""
    names = {
        size.value: f"{value.name}_{axis}"
        for value in reversed(model.graph.inputs)
        for axis, size in enumerate(value.shape.dims if value.shape else ())
        if not isinstance(size, int) and size.value
    }
    results = [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in [*model.graph.inputs, *results]:
        for axis, size in enumerate(value.shape.dims if value.shape else ()):
            if value.shape is not None and not isinstance(size, int) and size.value in names:
                value.shape[axis] = names[size.value]


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's remarks, and its dumps of half-traced graphs, off the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


_HINTS = (
    (
        ("numpy", "__array__"),
        "Use torch operations where this line goes through numpy",
    ),
    (
        ("data-dependent", "GuardOnDataDependent", "Could not guard"),
        "A branch or a size here depends on the values of a tensor: use torch.where for a choice "
        "of values, torch.cond for a choice of computations",
    ),
    (
        ("Constraints violated", "specialized", "not in range"),
        "The code fixes a size that the inputs leave free: make it a plain number in --input, or "
        "compute it from x.shape",
    ),
    (
        ("ONNX decomposition", "No ONNX function", "No decompositions", "ONNX function"),
        "This operator has no translation to ONNX: compose it of standard operators",
    ),
)
_LAST_HINT = "Rewrite that line with tensor operations whose sizes do not depend on values"


def run_eagerly(module: nn.Module, examples: tuple[torch.Tensor, ...]) -> list[str]:
    """Runs the module as it is, so that its own mistakes are not taken for those of an export.

    Returns:
        Names for its outputs: the keys where it returns a dictionary, else `output` or `output_0` on.

    Raises:
        ExportError: where it fails on the example inputs, or gives other outputs the second time.
    """
    try:
        with torch.inference_mode(), _quiet():
            results = [module(*(tensor.clone() for tensor in examples)) for _ in range(2)]
    except Exception as error:
        sizes = ", ".join("x".join(map(str, tensor.shape)) for tensor in examples)
        place, path = _place(error, module)
        raise ExportError(
            f"The model itself fails on an input of {sizes}{f' at {place}' if place else ''}: "
            f"{type(error).__name__}: {_first_sentence(error)}",
            hint="Check the sizes and element types given with --input",
            module_path=path,
        ) from error
    first, second = (_leaves(result) for result in results)
    if not all(_alike(one, other) for one, other in zip(first, second, strict=True)):
        raise ExportError(
            "The model gives other outputs each time it runs on the same input",
            hint="Take the random operation out of forward, or make it a layer that rests in "
            "inference mode, as Dropout does",
        )
    return _output_names(results[0], len(first))


def _output_names(result: Any, count: int) -> list[str]:
    if isinstance(result, Mapping) and len(result) == count:
        return [str(key) for key in result]
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal but for the order in which threads add; a random operation differs by far more."""
    wide = torch.complex128 if one.is_complex() else torch.float64
    return torch.allclose(one.to(wide), other.to(wide), rtol=1e-2, atol=1e-3, equal_nan=True)


def _leaves(result: Any) -> list[torch.Tensor]:
    return [
        leaf for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)
    ]


def _explained(error: Exception, module: nn.Module) -> ExportError:
    place, path = _place(error, module)
    chain = " ".join(repr(link) for link in _chain(error))
    hint = next(
        (advice for words, advice in _HINTS if any(word in chain for word in words)), _LAST_HINT
    )
    where = f"stops at {place}" if place else "fails"
    return ExportError(
        f"The export {where}: {type(error).__name__}: {_first_sentence(error)}",
        hint=hint,
        module_path=path,
    )


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return re.split(r"(?<=[a-z)])[.!] | \(unhinted", text, maxsplit=1)[0][:240]


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
    """The last frame that is neither ours nor a library's, and the innermost module it runs in."""
    paths = {id(part): path for path, part in module.named_modules()}
    line, path = None, None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(_FOREIGN) and "site-packages" not in code.co_filename:
            line = f"{Path(code.co_filename).name}:{traceback.tb_lineno}"
            path = paths.get(id(traceback.tb_frame.f_locals.get("self")), path)
        traceback = traceback.tb_next
    return line, path or None


_FOREIGN = ("<", str(Path(__file__).parents[1]), sysconfig.get_paths()["stdlib"])
"""Beginnings of file names that are not the user's: generated code, modelport, Python itself."""
