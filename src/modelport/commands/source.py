"""Options of every command that opens a source."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport.commands.common import split
from modelport.frontends.options import AUTO, TIME_LIMIT_S, ExportOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

Source = Annotated[
    str,
    typer.Argument(
        help="FILE.py:FUNCTION, CODEBASE:NAME such as timm:resnet18, or a model file: .onnx, .pt2, .pt."
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Input such as image=1x3x224x224, x=1..16x3x224..640/32x224..640/32 or "
        "ids:int64=n[1..8]x128; repeatable.",
    ),
]
Examples = Annotated[
    list[Path] | None,
    typer.Option(
        "--examples",
        help="File or folder of .npz inputs to prove the export with, where the model does not accept "
        "random ones; repeatable.",
    ),
]
Weights = Annotated[Path | None, typer.Option(help="State dict: .pth or .safetensors.")]
Opset = Annotated[int | None, typer.Option(help="Opset to export.")]
InputNames = Annotated[str | None, typer.Option(help="Names of the inputs, joined by commas.")]
OutputNames = Annotated[str | None, typer.Option(help="Names of the outputs, joined by commas.")]
Module = Annotated[str | None, typer.Option(help="Export this part: a path such as backbone.")]
Outputs = Annotated[
    str | None,
    typer.Option(help="Give what these modules return, such as head.cls_convs,neck."),
]
Exporter = Annotated[str, typer.Option(help="auto, torch.export or torchscript.")]
CrossCheck = Annotated[
    bool, typer.Option("--cross-check", help="Run both exporters; keep the better correct graph.")
]
Branches = Annotated[
    str | None,
    typer.Option(help="join: export every way through data-dependent ifs, joined with If."),
]
State = Annotated[
    bool, typer.Option("--state", help="Make buffers that change inputs and outputs.")
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Unpickle files, which can run any code in them.")
]
Operators = Annotated[
    list[str] | None,
    typer.Option(
        "--operators",
        help="Library of operators: a .so file, a package such as onnxruntime_extensions, or "
        "ENGINE=FILE; repeatable.",
    ),
]
TimeLimit = Annotated[
    float, typer.Option(help="Seconds that opening and exporting may take, each.")
]
ExplainRewrites = Annotated[
    bool, typer.Option("--explain-rewrites", help="Say which rewrites took part, and where.")
]


def takes_export_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of every export, in the place of its parameter `export`, which is what
    they come to."""
    shared = inspect.signature(options_of, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @wraps(command)
    def run(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in shared}
        command(**given, export=options_of(**chosen))

    listed = [
        each
        for parameter in own.parameters.values()
        for each in (shared.values() if parameter.name == "export" else [parameter])
    ]
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in listed]
    run.__signature__ = own.replace(parameters=keywords)  # type: ignore[attr-defined]
    return run


def options_of(
    *,
    input_names: InputNames = None,
    output_names: OutputNames = None,
    module: Module = None,
    outputs: Outputs = None,
    opset: Opset = None,
    exporter: Exporter = AUTO,
    cross_check: CrossCheck = False,
    branches: Branches = None,
    state: State = False,
    trust: Trust = False,
    time_limit: TimeLimit = TIME_LIMIT_S,
) -> ExportOptions:
    return ExportOptions(
        opset=opset,
        exporter=exporter,
        cross_check=cross_check,
        module=module,
        outputs=tuple(split(outputs) or ()),
        input_names=split(input_names),
        output_names=split(output_names),
        branches=branches,  # type: ignore[arg-type]  # ExportOptions says what it may be
        state=state,
        trust=trust,
        time_limit_s=time_limit,
    )


def rewrite_lines(fired: Sequence[Any]) -> list[str]:
    """One line for each rewrite and place, or one that says there were none."""
    if not fired:
        return ["No rewrite took part."]
    return [
        f"{each.rewrite} at {each.where or 'a place unknown'}"
        + (f" in {each.module_path}" if each.module_path else "")
        + (f", {each.count} times" if each.count > 1 else "")
        for each in fired
    ]
