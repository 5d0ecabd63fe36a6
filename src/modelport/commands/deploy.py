"""The command `deploy`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from modelport.commands import source as said
from modelport.commands.common import Json, Threads, err, out, print_json, split
from modelport.commands.tune import Latency, MemoryLimit, Size, StartUp, limits_of
from modelport.frontends.options import ExportOptions
from modelport.show import show_bundle


@said.takes_export_options
def deploy(
    source: said.Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder, or file ending in .zip.")],
    weights: said.Weights = None,
    input: said.Inputs = None,
    examples: said.Examples = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of pictures, .npy or .npz for int8 and fidelity.")
    ] = None,
    verification: Annotated[
        Path | None, typer.Option(help="Such a folder for measuring fidelity on other data.")
    ] = None,
    budget: Annotated[str, typer.Option(help="Largest accepted loss of fidelity, 1% say.")] = "1%",
    latency: Latency = None,
    memory: MemoryLimit = None,
    size: Size = None,
    start_up: StartUp = None,
    target: Annotated[
        str | None,
        typer.Option(help="auto searches what is fastest here, as `modelport tune` does."),
    ] = None,
    trials: Annotated[
        Path | None, typer.Option(help="Folder of `modelport tune`, for --target auto.")
    ] = None,
    engines: Annotated[str | None, typer.Option(help="Names joined by commas.")] = None,
    precisions: Annotated[
        str | None, typer.Option(help="fp32,fp16,bf16,int8: those to try.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one to a line.")] = None,
    task: Annotated[str | None, typer.Option(help="A name of `modelport tasks`.")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    *,
    export: ExportOptions,
    operators: said.Operators = None,
    explain_rewrites: said.ExplainRewrites = False,
    edits: Annotated[
        str | None, typer.Option(help="Names of `modelport edits` joined by commas.")
    ] = None,
    threads: Threads = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle.")] = False,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    as_json: Json = False,
) -> None:
    """Take a trained model to a verified bundle whose fastest good variant runs by default."""
    limits = limits_of(latency, memory, size, start_up)
    from modelport.deploy import STAGES
    from modelport.deploy import deploy as run_deploy
    from modelport.frontends.operators import parse_operators
    from modelport.progress import Silent, Told

    with nullcontext(Silent()) if as_json else Told(err, STAGES) as progress:
        bundle = run_deploy(
            source,
            input,
            output=output,
            weights=weights,
            calibration=calibration,
            verification=verification,
            budget=budget,
            limits=limits,
            target=target,
            trials=trials,
            engines=split(engines),
            precisions=split(precisions),
            task=task,
            labels=labels,
            licence=licence,
            name=name,
            export=export,
            examples=examples,
            operators=parse_operators(operators),
            edits=split(edits) or (),
            threads=threads,
            overwrite=overwrite,
            report=report,
            progress=progress,
        )
    if as_json:
        print_json(bundle.manifest.model_dump(mode="json"))
    else:
        show_bundle(out, bundle)
        if explain_rewrites:
            lines = said.rewrite_lines(bundle.manifest.provenance.rewrites)
            out.print("\n".join(lines), markup=False, highlight=False)
