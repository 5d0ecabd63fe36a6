"""The command `export`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from modelport.commands import source as said
from modelport.commands.common import Json, err, out, print_json
from modelport.frontends.options import ExportOptions


@said.takes_export_options
def export(
    source: said.Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    weights: said.Weights = None,
    input: said.Inputs = None,
    examples: said.Examples = None,
    *,
    export: ExportOptions,
    optimize: Annotated[bool, typer.Option(help="Run the portable passes.")] = True,
    check: Annotated[bool, typer.Option(help="Compare the graph with the source.")] = True,
    weights_in: Annotated[
        str, typer.Option(help="inside the file, outside beside it, nowhere, or auto.")
    ] = "auto",
    initializers_as_inputs: Annotated[
        bool, typer.Option("--initializers-as-inputs", help="List weights among the inputs too.")
    ] = False,
    operators: said.Operators = None,
    explain_rewrites: said.ExplainRewrites = False,
    as_json: Json = False,
) -> None:
    """Export a model to ONNX, prove the graph equal to it, and optimise it."""
    from modelport.export import STAGES
    from modelport.export import export as run_export
    from modelport.frontends.operators import parse_operators
    from modelport.progress import Silent, Told
    from modelport.show import show_exported

    with nullcontext(Silent()) if as_json else Told(err, STAGES) as progress:
        exported = run_export(
            source,
            input,
            output=output,
            weights=weights,
            options=export,
            examples=examples,
            operators=parse_operators(operators),
            optimize=optimize,
            check=check,
            weights_in=weights_in,
            initializers_as_inputs=initializers_as_inputs,
            progress=progress,
        )
    if as_json:
        print_json(exported.to_json())
        return
    show_exported(out, exported)
    if explain_rewrites:
        out.print("\n".join(said.rewrite_lines(exported.rewrites)), markup=False, highlight=False)
