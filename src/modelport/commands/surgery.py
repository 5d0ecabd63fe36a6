"""Commands that cut graphs apart, join them and compare them: `extract`, `merge` and `diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport.commands.common import Json, out, print_json, split
from modelport.commands.graph_files import Model, Output, check_output, show_difference
from modelport.errors import UsageError

if TYPE_CHECKING:
    import onnx_ir as ir


def extract(
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .onnx file to write; with --split a folder.")
    ],
    module: Annotated[
        str | None, typer.Option(help="Take this module: a path such as backbone, or a selector.")
    ] = None,
    inputs: Annotated[str | None, typer.Option(help="Values that go in, joined by commas.")] = None,
    outputs: Annotated[
        str | None, typer.Option(help="Values that come out, joined by commas.")
    ] = None,
    split_up: Annotated[
        bool, typer.Option("--split", help="Write the parts between marks, 1.onnx and so on.")
    ] = False,
    at: Annotated[
        str | None, typer.Option(help="Split at these marks or values alone, joined by commas.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Cut a module, what lies between values, or the parts between marks out of an ONNX file."""
    chosen = [module is not None, bool(inputs or outputs), split_up or at is not None]
    if sum(chosen) != 1:
        raise UsageError(
            "It is not clear what to extract",
            expected="either --module, or --inputs and --outputs, or --split",
        )
    from modelport.graph import extract as cut
    from modelport.graph import io, provenance

    if not chosen[2]:
        check_output(output, [model])
    elif output.suffix == ".onnx" or output.is_file():
        raise UsageError(f"{output} is no folder", hint="--split writes a file for each part")
    source = io.load(model)
    provenance.adopt_torch_metadata(source)
    if chosen[2]:
        parts = cut.split(source, split(at))
        files = [output / f"{number}.onnx" for number in range(1, len(parts) + 1)]
    else:
        if module is not None:
            parts = [cut.module(source, module)]
        else:
            parts = [cut.between(source, split(inputs), split(outputs))]
        files = [output]
    _write(parts, files, as_json)


def merge(
    models: Annotated[list[Path], typer.Argument(help="Two .onnx files or more.")],
    output: Output,
    beside: Annotated[
        bool, typer.Option("--beside", help="Side by side, not one behind the other.")
    ] = False,
    map: Annotated[
        list[str] | None,
        typer.Option("--map", help="INPUT=OUTPUT: which input takes which output; repeatable."),
    ] = None,
    outputs: Annotated[
        str | None, typer.Option(help="Outputs of the whole, joined by commas.")
    ] = None,
    share: Annotated[
        str | None, typer.Option(help="Inputs that models side by side have in common.")
    ] = None,
    prefixes: Annotated[
        str | None, typer.Option(help="Prefixes of names, one for each model, joined by commas.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Join ONNX files: the outputs of one become the inputs of the next, or side by side."""
    if beside and (map or outputs):
        raise UsageError("--map and --outputs are for models one behind the other")
    if share and not beside:
        raise UsageError("--share is for models side by side", hint="Add --beside")
    check_output(output, models)
    from modelport.graph import io, provenance
    from modelport.graph import merge as join

    sources = [io.load(path) for path in models]
    for source in sources:
        provenance.adopt_torch_metadata(source)
    if beside:
        made = join.beside(sources, share=split(share) or (), prefixes=split(prefixes))
    else:
        made = join.chain(sources, map=_map(map), outputs=split(outputs), prefixes=split(prefixes))
    _write([made], [output], as_json)


def _map(pairs: list[str] | None) -> dict[str, str]:
    found = {}
    for pair in pairs or ():
        name, equals, source = pair.partition("=")
        if not (name and equals and source):
            raise UsageError(f"--map {pair!r} cannot be read", expected="INPUT=OUTPUT")
        found[name] = source
    return found


def _write(models: list[ir.Model], files: list[Path], as_json: bool) -> None:
    from modelport.graph import io
    from modelport.graph.query import operator_counts, signature_of

    told: list[dict[str, Any]] = []
    for model, file in zip(models, files, strict=True):
        signature = signature_of(model)
        file.parent.mkdir(parents=True, exist_ok=True)
        io.save(model, file)
        told.append(
            {
                "path": str(file),
                "inputs": [str(spec) for spec in signature.inputs],
                "outputs": [str(spec) for spec in signature.outputs],
                "nodes": sum(operator_counts(model).values()),
            }
        )
    if as_json:
        print_json(told)
        return
    for each in told:
        for kind in ("inputs", "outputs"):
            for spec in each[kind]:
                out.print(f"  {kind[:-1]} {spec}", markup=False, highlight=False)
        out.print(f"Graph: {each['path']}, {each['nodes']} nodes", markup=False, highlight=False)


def diff(
    before: Annotated[Path, typer.Argument(help="An .onnx file.")],
    after: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Json = False,
) -> None:
    """Compare two ONNX files by module; the exit status is 0 where they are equal, 1 where not."""
    from modelport.graph import io, provenance
    from modelport.graph.diff import diff as run_diff

    models = [io.load(path) for path in (before, after)]
    for model in models:
        provenance.adopt_torch_metadata(model)
    found = run_diff(*models)
    if as_json:
        print_json(found.to_json())
    else:
        show_difference(out, found)
    if not found.is_empty:
        raise typer.Exit(1)
