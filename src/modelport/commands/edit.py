"""The command `edit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from modelport.commands.common import Json, out, print_json
from modelport.commands.graph_files import Model, Output, check_output, show_difference
from modelport.errors import UsageError

if TYPE_CHECKING:
    from modelport.graph.recipe import Edit

_GIVEN = "modelport.given"


def _option(help: str) -> Any:
    return typer.Option(help=f"{help}; repeatable.", metavar="TEXT")


Many = list[str] | None


class InOrder(TyperCommand):
    """Remembers the command line as it was typed: edits happen in the order in which they stand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)


def edit(
    context: typer.Context,
    model: Model,
    output: Output,
    insert_after: Annotated[
        Many, _option('Put a node behind a value: "logits Softmax axis=-1"')
    ] = None,
    insert_before: Annotated[Many, _option('Put a node before nodes: "module:head Relu"')] = None,
    replace: Annotated[Many, _option('Put one node in their place: "op:Relu Sigmoid"')] = None,
    bypass: Annotated[Many, _option('Lead what nodes read past them: "op:Dropout"')] = None,
    remove: Annotated[Many, _option('Remove nodes that nothing reads: "module:aux"')] = None,
    rename: Annotated[Many, _option('Rename a value: "x image"')] = None,
    rename_node: Annotated[Many, _option('Rename a node: "Conv_3 stem"')] = None,
    set_attribute: Annotated[
        Many, _option('Set an attribute of nodes: "op:LeakyRelu alpha 0.2"')
    ] = None,
    remove_attribute: Annotated[
        Many, _option('Let an attribute have its default: "op:Gemm alpha"')
    ] = None,
    set_weight: Annotated[
        Many, _option('Give a weight new contents: "head.bias bias.npy", "head.bias data=0"')
    ] = None,
    load_weights: Annotated[Many, _option("Take the weights of a .safetensors file")] = None,
    add_output: Annotated[
        Many, _option('Make a value an output: "module:backbone features"')
    ] = None,
    remove_output: Annotated[Many, _option("Take an output away")] = None,
    remove_input: Annotated[Many, _option("Take an input away that nothing reads")] = None,
    set_input: Annotated[
        Many, _option('Change what an input takes: "x=1..16x3x224x224", "x:uint8"')
    ] = None,
    set_output: Annotated[Many, _option('Change what an output gives: "y:float16"')] = None,
    attach_nms: Annotated[
        Many, _option('Put non-maximum suppression behind: "boxes scores iou=0.5"')
    ] = None,
    cut_nms: Annotated[Many, _option('End before it: "op:NonMaxSuppression"')] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Do the edits of this .yaml file first.")
    ] = None,
    save_recipe: Annotated[
        Path | None, typer.Option(help="Write all edits to this .yaml file.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Run the result on random feeds.")] = True,
    weights_in: Annotated[
        str, typer.Option(help="inside the file, outside beside it, nowhere, or auto.")
    ] = "auto",
    as_json: Json = False,
) -> None:
    """Edit an ONNX file: all edits in the order given, or none. Nodes are found by module, name, operator."""
    from modelport.graph import io
    from modelport.graph.recipe import OPERATIONS, dump, load, parse
    from modelport.surgery import edit as run_edit

    given = {name: context.params.get(name) or [] for name in OPERATIONS}
    edits: list[Edit] = [] if recipe is None else load(recipe)
    edits += [parse(name, text) for name, text in _in_order(context.meta[_GIVEN], given)]
    if not edits:
        raise UsageError("There is no edit", hint="Pass one, --bypass op:Dropout say, or --recipe")
    check_output(output, [model])
    io.check_placement(weights_in)
    edited = run_edit(model, edits, check=check)
    output.parent.mkdir(parents=True, exist_ok=True)
    io.save(edited.model, output, weights_in=weights_in)
    if save_recipe is not None:
        save_recipe.parent.mkdir(parents=True, exist_ok=True)
        save_recipe.write_text(dump(edits, save_recipe.parent), encoding="utf-8")
    if as_json:
        print_json({"path": str(output), **edited.to_json()})
        return
    show_difference(out, edited.difference)
    ran = f"Run at {edited.sizes} size{'s' if edited.sizes > 1 else ''}."
    out.print(f"{f'Note: {edited.note}.' if edited.note else ran}", markup=False, highlight=False)
    out.print(f"Graph: {output}", markup=False, highlight=False)


def _in_order(words: Sequence[str], given: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The edits as they were typed; the parser keeps the order within an option alone."""
    left = {f"--{name.replace('_', '-')}": (name, iter(texts)) for name, texts in given.items()}
    found, is_value = [], False
    for word in words:
        option, equals, _ = word.partition("=")
        if is_value or option not in left:
            is_value = False
            continue
        name, texts = left[option]
        found.append((name, next(texts)))
        is_value = not equals
    return found
