"""The command `export-end-to-end`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelport.commands.common import Json, out, print_json


def export_end_to_end(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    variant: Annotated[str | None, typer.Option(help="Take this variant.")] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Pictures to compare on, beside the bundle's own.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Compare with the predictor.")] = True,
    as_json: Json = False,
) -> None:
    """Write one ONNX file with transforms and decode step inside: pixels in, results out."""
    from modelport.endtoend.export import export_end_to_end as run_export

    whole = run_export(bundle, output, variant=variant, pictures=pictures, check=check)
    if as_json:
        print_json(whole.to_json())
        return
    out.print(f"{whole.path}: {whole.variant}")
    for spec in whole.signature.inputs:
        out.print(f"  in   {spec}", highlight=False, markup=False)
    for spec in whole.signature.outputs:
        out.print(f"  out  {spec}", highlight=False, markup=False)
    if whole.proof is None:
        out.print("  not compared with the predictor")
    else:
        out.print(f"  answers as the predictor does, on {whole.proof.pictures} pictures")
