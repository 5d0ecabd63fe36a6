"""From a module to a graph by way of `torch.export`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export import ExportedProgram

from modelport.errors import ExportError, ModelportError, UsageError
from modelport.frontends.explain import explaining, quiet
from modelport.frontends.finish import Job, finished
from modelport.frontends.options import TORCH_EXPORT
from modelport.types import Dim, TensorSpec

DEFAULT_OPSET = 20
DYNAMIC: Any = torch.export.Dim.DYNAMIC
OPSETS = range(18, 26)
"""What torch 2.13 really writes; for others it silently falls back to 18."""


def export(job: Job) -> ir.Model:
    """Exports a module in inference mode; free sizes stay free.

    Returns:
        The graph as the exporter wrote it, every node with the path of its module.

    Raises:
        ExportError: naming the line of the user's code that stops it.
    """
    opset = check_opset(job.opset)
    with job.rewritten(TORCH_EXPORT) as rewrites, explaining(job.adapter), quiet():
        program = capture(job.adapter, job.specs, job.examples)
        model = translate(rewrites.decompose(program), job, opset, rewrites.translations)
        job.note(rewrites.fired)
        return model


def write_program(job: Job, path: Path) -> None:
    """Writes what `torch.export` captures, under rewrites of functions and modules that need no ONNX."""
    with job.rewritten(TORCH_EXPORT, program=True), explaining(job.adapter), quiet():
        torch.export.save(capture(job.adapter, job.specs, job.examples), path)


def check_opset(opset: int | None) -> int:
    if opset is not None and opset not in OPSETS:
        raise UsageError(
            f"The opset {opset} cannot be written by the torch.export-based exporter",
            expected=f"{OPSETS.start} to {OPSETS.stop - 1}",
        )
    return opset or DEFAULT_OPSET


def capture(
    module: nn.Module, specs: Sequence[TensorSpec], examples: tuple[torch.Tensor, ...]
) -> ExportedProgram:
    """The program of a module, first under the bounds the user gave.

    Where the code asks something of a size that its bounds do not promise, further attempts leave it to
    the proof: the graph is run at the smallest, a typical and the largest size anyway.
    """
    sizes = _dynamic_shapes(specs)
    try:
        return torch.export.export(module, examples, dynamic_shapes=sizes, strict=False)
    except torch._dynamo.exc.UserError as error:
        if sizes is None or "onstraint" not in str(error):
            raise
        for further in _lenient(specs, sizes):
            try:
                program = torch.export.export(module, examples, strict=False, **further)
            except ModelportError:
                raise  # the time is up
            except Exception:  # noqa: S112  (the first one is raised in the end)
                continue
            if _leaves_free(program, specs):
                return program
        raise  # the first error knows which sizes would do


def _lenient(specs: Sequence[TensorSpec], sizes: Any) -> list[dict[str, Any]]:
    """Asks at run time what cannot be promised; then lets torch find bounds of its own."""
    free = tuple(
        {axis: DYNAMIC for axis, size in enumerate(spec.shape) if isinstance(size, Dim)}
        for spec in specs
    )
    return [
        {"dynamic_shapes": sizes, "prefer_deferred_runtime_asserts_over_guards": True},
        {"dynamic_shapes": (free,)},
    ]


def _leaves_free(program: ExportedProgram, specs: Sequence[TensorSpec]) -> bool:
    """Whether sizes under different names are still different, and none comes in steps not asked for.

    A proof at a few sizes would not tell.
    """
    names: dict[str, set[str]] = {}
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    for spec, given in zip(specs, program.graph_signature.user_inputs, strict=True):
        for axis, size in enumerate(spec.shape):
            if not isinstance(size, Dim):
                continue
            found = str(values[str(given)].shape[axis])
            if size.step == 1 and not found.isidentifier():
                return False
            names.setdefault(found, set()).add(size.name or f"{spec.name}_{axis}")
    return all(len(known) == 1 for known in names.values())


def translate(
    program: ExportedProgram,
    job: Job,
    opset: int,
    translations: Mapping[Any, Any] | None = None,
) -> ir.Model:
    """The program as a graph with everything that graphs of ours have."""
    inputs = [spec.name for spec in job.specs]
    return finished(written(program, inputs, job.output_names, opset, translations), job)


def written(
    program: ExportedProgram,
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int,
    translations: Mapping[Any, Any] | None,
) -> ir.Model:
    """The program as torch writes it."""
    made = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=opset,
        input_names=list(input_names),
        output_names=list(output_names),
        custom_translation_table=dict(translations or {}) or None,
        optimize=False,
        verbose=False,
    )
    assert made is not None
    actual = made.model.opset_imports.get("")
    if actual != opset:
        raise ExportError(
            f"The exporter wrote opset {actual} where {opset} was asked for",
            hint=f"Choose an opset of {OPSETS.start} to {OPSETS.stop - 1}",
        )
    return made.model


def _dynamic_shapes(specs: Sequence[TensorSpec]) -> tuple[Any, ...] | None:
    """For `forward(*tensors)`: one entry, which holds one for each tensor."""
    if all(spec.is_static for spec in specs):
        return None
    known: dict[str, Any] = {}
    entries = []
    for spec in specs:
        sizes = {}
        for axis, size in enumerate(spec.shape):
            if isinstance(size, Dim):
                name = size.name or _identifier(f"{spec.name}_{axis}")
                if name not in known:
                    known[name] = _torch_dim(name, size)
                sizes[axis] = known[name]
        entries.append(sizes)
    return (tuple(entries),)


def _identifier(name: str) -> str:
    """A name that Python would take for a variable, which torch wants for sizes."""
    plain = re.sub(r"\W", "_", name)
    return plain if plain.isidentifier() else f"size_{plain}"


def _torch_dim(name: str, size: Dim) -> Any:
    if size.step == 1:
        return torch.export.Dim(name, min=size.minimum, max=size.maximum)
    least, most = -(-size.minimum // size.step), size.maximum
    count = torch.export.Dim(f"_{name}", min=least, max=None if most is None else most // size.step)
    return size.step * count
