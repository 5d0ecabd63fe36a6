"""Commands that show a graph: `view`, and the nodes of `inspect`."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport.commands.common import Json, out, print_json
from modelport.commands.graph_files import Model, check_output
from modelport.errors import UsageError

if TYPE_CHECKING:
    from modelport.graph.describe import NodeFacts


def view(
    model: Model,
    functions: Annotated[
        bool, typer.Option("--functions", help="One block for each module, which opens.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write the .onnx file that would be shown; needs no Netron.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to serve it on; 0 takes a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Show an ONNX file in Netron, its nodes named by their modules, in the browser of this machine."""
    from modelport.graph import io, provenance
    from modelport.graph.group import group

    if save is not None:
        check_output(save, [model])
    netron: Any = None if save is not None else _netron()
    graph = io.load(model)
    provenance.adopt_torch_metadata(graph)
    provenance.name_nodes(graph)
    left_out: list[str] = []
    if functions:
        graph, left_out = group(graph)
    told = {"path": None if save is None else str(save), "left_out": left_out}
    if left_out and not as_json:
        out.print(f"Left as they are, for their nodes are not together: {', '.join(left_out)}")
    if save is not None:
        save.parent.mkdir(parents=True, exist_ok=True)
        io.save(graph, save)
        print_json(told) if as_json else out.print(f"Graph: {save}", markup=False, highlight=False)
        return
    with tempfile.TemporaryDirectory(prefix="modelport-") as folder:
        file = Path(folder) / model.name
        io.save(graph, file)
        address = netron.start(str(file), address=("localhost", port) if port else None)
        if as_json:
            print_json({**told, "address": f"http://{address[0]}:{address[1]}"})
        netron.wait()


def _netron() -> Any:
    try:
        return importlib.import_module("netron")
    except ModuleNotFoundError as error:
        raise UsageError(
            "Netron is not installed",
            hint='Install it with: pip install "modelport[view]"; or write the file to look at '
            "elsewhere with --save FILE",
        ) from error


def show_nodes(path: Path, selector: str, save_weights: Path | None, as_json: bool) -> None:
    """The nodes that a selector finds, with attributes, inputs and the statistics of weights."""
    from modelport.graph import find, io, provenance, weights
    from modelport.graph.describe import describe

    if path.suffix != ".onnx":
        raise UsageError(f"{path} is no ONNX file", hint="--nodes looks into an .onnx file")
    model = io.load(path)
    provenance.adopt_torch_metadata(model)
    nodes = [describe(node) for node in find.nodes(model, selector)]
    saved = [] if save_weights is None else weights.save(model, save_weights, selector)
    if as_json:
        print_json({"nodes": [node.to_json() for node in nodes], "saved": saved})
        return
    for node in nodes:
        for line in _lines(node):
            out.print(line, markup=False, highlight=False)
    if save_weights is not None:
        out.print(f"{len(saved)} weights: {save_weights}", markup=False, highlight=False)


def _lines(node: NodeFacts) -> list[str]:
    where = [node.class_name.rpartition(".")[2], node.line]
    told = f" ({', '.join(part for part in where if part)})" if any(where) else ""
    lines = [f"{node.module or '(root)'}{told}: {node.operator} {node.name}"]
    if node.merged:
        lines.append(f"  merged: {' '.join(node.merged)}")
    lines += [f"  {name} = {value}" for name, value in node.attributes.items()]
    lines += [
        "  reads nothing here" if value is None else f"  {_word(value.kind)} {value}"
        for value in node.inputs
    ]
    return [*lines, *(f"  gives {value}" for value in node.outputs)]


def _word(kind: str) -> str:
    return {"node": "reads", "input": "reads input", "weight": "weight"}[kind]
