"""A program of `torch.export`, in memory or as a `.pt2` file, as a source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten

from modelport.errors import ExportError, ModelportError, SourceError, UsageError
from modelport.frontends import torch_export
from modelport.frontends.explain import first_sentence, quiet
from modelport.frontends.finish import Job
from modelport.frontends.inputs import Inputs, Leaf
from modelport.frontends.options import TORCH_EXPORT, ExportOptions
from modelport.frontends.source import Source
from modelport.frontends.torch_module import TorchModule
from modelport.types import Dim, TensorSpec


class Program(TorchModule):
    exporters: tuple[str, ...] = (TORCH_EXPORT,)

    def __init__(self, source: Source, options: ExportOptions) -> None:
        _refuse(source, options)
        model = source.model
        self.program = model if isinstance(model, ExportedProgram) else _load(Path(model))
        named = isinstance(model, (str, Path))
        self._begin(source, Path(model).stem if named else "program", options)
        self._set_up(self.program.module(check_guards=False), _inputs(self.program))

    def _export(self, job: Job, exporter: str) -> ir.Model:
        opset = torch_export.check_opset(job.opset)
        try:
            with job.rewritten(exporter) as rewrites, quiet():
                program = rewrites.decompose(self.program)
                model = torch_export.translate(program, job, opset, rewrites.translations)
                job.note(rewrites.fired)
            return model
        except ModelportError:
            raise
        except Exception:
            # Some programs cannot be broken up any more once they have been in a file, those with
            # sizes in steps among them; the same program captured afresh can.
            return torch_export.export(job)


def _refuse(source: Source, options: ExportOptions) -> None:
    """A program is traced already: its inputs and its extent are what they are."""
    fixed = {
        "--input": source.inputs is not None,
        "--module": options.module is not None,
        "--outputs": bool(options.outputs),
        "--branches": options.branches is not None,
        "--state": options.state,
    }
    for option, given in fixed.items():
        if given:
            raise UsageError(
                f"{option} was given for a torch.export program, which is traced already",
                hint="Leave it out, or start from the module",
            )


def _load(path: Path) -> ExportedProgram:
    if not path.is_file():
        raise SourceError(f"There is no file {path}", hint="Check the path")
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:
        raise SourceError(
            f"{path} cannot be read as a torch.export program ({first_sentence(error)})",
            expected="a file written by torch.export.save",
            hint="Check that the file is complete; a package compiled by AOTInductor has no graph "
            "left: save the program itself",
        ) from error


def _inputs(program: ExportedProgram) -> Inputs:
    wanted = set(program.graph_signature.user_inputs)
    nodes = [
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted
    ]
    specs, places = [], iter(range(len(nodes)))
    values: list[Any] = []
    for name in program.graph_signature.user_inputs:
        node = next((node for node in nodes if node.name == name), None)
        value = None if node is None else node.meta.get("val")
        if node is None or not isinstance(value, torch.Tensor):
            values.append(name if value is None and node is None else value)
            continue
        values.append(Leaf(next(places)))
        specs.append(_spec(node.name, value, program))
    spec = program.call_spec.in_spec
    assert spec is not None
    args, kwargs = tree_unflatten(values, spec)
    if not specs:
        raise ExportError("The program takes no tensor", expected="at least one input")
    return Inputs(_without_own_names(specs), None, tuple(args), dict(kwargs))


def _spec(name: str, value: torch.Tensor, program: ExportedProgram) -> TensorSpec:
    dtype = torch.empty((), dtype=value.dtype).numpy().dtype.name
    return TensorSpec(name, dtype, tuple(_size(size, program) for size in value.shape))


def _size(size: Any, program: ExportedProgram) -> int | Dim:
    if isinstance(size, int):
        return size
    expression = size.node.expr
    step, symbol = expression.as_coeff_Mul()
    bounds = program.range_constraints.get(symbol)
    if bounds is None:
        return Dim(name=str(expression))
    low, high = int(bounds.lower), bounds.upper
    unlimited = not high.is_Integer or int(high) > 1 << 30  # else it is torch's own infinity
    least = max(1, low)
    return Dim(
        int(step) * least,
        None if unlimited else int(step) * int(high),
        str(symbol) if int(step) == 1 else None,
        int(step),
    )


def _without_own_names(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Drops torch's own names of sizes, such as s77, where they do not tie two sizes together."""
    sizes = [size for spec in specs for size in spec.shape if isinstance(size, Dim)]
    often = Counter(size.name for size in sizes)

    def plain(size: int | Dim) -> int | Dim:
        if isinstance(size, int) or not re.fullmatch(r"s\d+", size.name or ""):
            return size
        return size if often[size.name] > 1 else replace(size, name=None)

    return [replace(spec, shape=tuple(map(plain, spec.shape))) for spec in specs]
