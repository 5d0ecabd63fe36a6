"""What commands share that read graphs and write graphs: options, and how a difference is printed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from modelport.errors import UsageError

if TYPE_CHECKING:
    from modelport.graph.diff import Difference

Model = Annotated[Path, typer.Argument(help="An .onnx file.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")]


def check_output(output: Path, sources: Sequence[Path]) -> None:
    """Raises UsageError where the file cannot be one to write."""
    if output.suffix != ".onnx":
        raise UsageError(f"The output {output} is no ONNX file", expected="a name ending in .onnx")
    if any(output.resolve() == source.resolve() for source in sources):
        raise UsageError(
            f"{output} is the original, which stays as it is", hint="Write to another file"
        )


def show_difference(console: Console, difference: Difference) -> None:
    for line in _lines(difference) or ["The graphs are equal."]:
        console.print(line, markup=False, highlight=False)


def _lines(found: Difference) -> list[str]:
    lines = [*found.signature, *(f"opset {line}" for line in found.opsets)]
    counts = (f"{name} {old} -> {new}" for name, (old, new) in found.operators.items())
    if found.operators:
        lines.append(f"operators: {', '.join(counts)}")
    for sign, modules in (("-", found.removed), ("+", found.added)):
        for module, nodes in modules.items():
            lines += [f"{sign} {module or '(root)'}: {node}" for node in nodes]
    for change in found.changed:
        where = change.module or "(root)"
        lines += [f"~ {where}: {change.operator} {change.name}: {each}" for each in change.what]
    lines += [f"- weight {name}" for name in found.weights_removed]
    lines += [f"+ weight {name}" for name in found.weights_added]
    for weight in found.weights_changed:
        if weight.before != weight.after:
            lines.append(f"~ weight {weight.name}: {weight.before} -> {weight.after}")
        else:
            lines.append(f"~ weight {weight.name}: differs by up to {weight.max_difference}")
    return [*lines, *(f"function {line}" for line in found.functions)]
