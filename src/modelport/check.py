"""Preflight: what would stop an export or make it wrong, found before one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport.errors import UsageError
from modelport.frontends import ExportOptions, described_source, kind_of_model
from modelport.frontends.isolation import deadline
from modelport.frontends.operators import read_operators

if TYPE_CHECKING:
    from modelport.frontends.preflight import Preflight


def check(
    source: Any,
    inputs: Any = None,
    *,
    weights: str | Path | None = None,
    engines: Sequence[str] = (),
    options: ExportOptions | None = None,
    examples: Any = None,
    operators: Any = None,
) -> Preflight:
    """Examines a PyTorch module: runs it watched, reads its lines, tries torch.export.

    Args:
        source, inputs, weights: see `modelport.deploy`; the source is a module, or builds one.
        engines: names of engines whose operators must do.
        options: those of the export to come: opset, trust and time limit count here.
        examples: inputs to run it with where random ones fail; see `Source.examples`.
        operators: libraries of operators; see `Source.operators`. What they have no engine lacks.

    Returns:
        What was found, the worst first; `passed` where nothing of it is an error.

    Raises:
        SourceError: where the source cannot be built.
        UsageError: where it is no module.
    """
    options = options or ExportOptions()
    described = described_source(
        source, inputs, weights, options, examples=examples, operators=operators
    )
    if kind_of_model(described.model) != "module":
        raise UsageError(
            "There is nothing to check before an export: the source is traced, or a graph, already",
            expected="an nn.Module, FILE.py:FUNCTION or CODEBASE:NAME",
        )
    from modelport.frontends.preflight import examine
    from modelport.frontends.torch_module import arguments_for

    with deadline(options.time_limit_s, "The check"):
        module, (example, *others) = arguments_for(described, weights, options)
        return examine(
            module,
            *example,
            other=others,
            engines=engines,
            opset=options.opset or 20,
            rewrites=tuple(described.rewrites),
            libraries=read_operators(described.operators),
        )
