"""Commands that look at graphs and change them: `inspect` and `optimize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelport.commands.common import Json, out, print_json, split
from modelport.commands.view import show_nodes
from modelport.errors import UsageError
from modelport.show import show_optimized, show_overview


def inspect(
    path: Annotated[Path, typer.Argument(help="A bundle, or an .onnx file.")],
    nodes: Annotated[
        str | None, typer.Option(help="Show these nodes of an .onnx file: backbone.0, op:Conv.")
    ] = None,
    save_weights: Annotated[
        Path | None, typer.Option(help="Write their weights: .safetensors, one to .npy or .bin.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the signature, size, operators and cost of a bundle or an ONNX file, or some of its nodes."""
    from modelport.inspection import inspect as run_inspect

    if nodes is not None:
        return show_nodes(path, nodes, save_weights, as_json)
    if save_weights is not None:
        raise UsageError("--save-weights wants --nodes", hint="--nodes '*' stands for all")
    overview = run_inspect(path)
    if as_json:
        print_json(overview.to_json())
    else:
        show_overview(out, overview)
    return None


def optimize(
    model: Annotated[Path, typer.Argument(help="An .onnx file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    check: Annotated[bool, typer.Option(help="Compare the results on two random feeds.")] = True,
    upgrade: Annotated[bool, typer.Option(help="Raise an old opset to 20.")] = True,
    engine: Annotated[str | None, typer.Option(help="Run the passes of this engine too.")] = None,
    also: Annotated[
        str | None, typer.Option(help="Names of `modelport passes` to run last, joined by commas.")
    ] = None,
    why_not: Annotated[
        str | None, typer.Option(help="Say what this pass left alone, and why.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Optimise an ONNX file; every pass is checked and rolled back if it changes the results."""
    from modelport.graph import io
    from modelport.optimization import optimize as run_optimize
    from modelport.passes import PASSES

    if output is None and why_not is None:
        raise UsageError(
            "There is nothing to do with the result", hint="Pass -o FILE or --why-not PASS"
        )
    if why_not is not None:
        PASSES.get(why_not)
    if output is not None and output.suffix != ".onnx":
        raise UsageError(f"The output {output} is no ONNX file", expected="a name ending in .onnx")
    optimized = run_optimize(
        model, check=check, upgrade=upgrade, engine=engine, also=split(also) or ()
    )
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        io.save(optimized.model, output)
    if as_json:
        print_json([record.to_json() for record in optimized.records])
    else:
        show_optimized(out, optimized, why_not)
