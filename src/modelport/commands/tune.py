"""The command `tune`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelport.commands import source as said
from modelport.commands.common import Json, err, out, print_json, split
from modelport.errors import UsageError
from modelport.frontends.options import ExportOptions
from modelport.show import show_tuning
from modelport.types import parse_bytes

if TYPE_CHECKING:
    from modelport.tune.limits import Limits

Latency = Annotated[str | None, typer.Option(help="Longest median latency of a call, 20ms say.")]
MemoryLimit = Annotated[
    str | None,
    typer.Option("--memory", help="Most memory of a process that runs the variant, 500M say."),
]
Size = Annotated[str | None, typer.Option(help="Largest size of a variant's files, 50M say.")]
StartUp = Annotated[
    str | None,
    typer.Option(help="Longest time from a process's start to its first answer, 2s say."),
]


def limits_of(
    latency: str | None, memory: str | None, size: str | None, start_up: str | None
) -> Limits:
    """The limits, from the options of a command."""
    from modelport.tune.limits import Limits, parse_duration_ms

    return Limits(
        latency_ms=None if latency is None else parse_duration_ms(latency),
        memory_bytes=None if memory is None else parse_bytes(memory),
        size_bytes=None if size is None else parse_bytes(size),
        start_up_ms=None if start_up is None else parse_duration_ms(start_up),
    )


@said.takes_export_options
def tune(
    source: said.Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the search, which goes on there.")
    ],
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
    engines: Annotated[
        str | None, typer.Option(help="Names joined by commas; by default all of this machine.")
    ] = None,
    precisions: Annotated[
        str | None, typer.Option(help="fp32,fp16,bf16,int8: those to try.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads to try, 1,2,4 say.")
    ] = None,
    layouts: Annotated[bool, typer.Option(help="Try other layouts of tensors.")] = True,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Try everything to the end.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="A name of `modelport tasks`.")] = None,
    *,
    export: ExportOptions,
    operators: said.Operators = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin the search anew.")] = False,
    as_json: Json = False,
) -> None:
    """Search what is fastest on this machine: engine, precision, route, layout, threads."""
    limits = limits_of(latency, memory, size, start_up)
    counts = thread_counts_of(threads)
    from modelport.frontends.operators import parse_operators
    from modelport.progress import Silent, Told
    from modelport.tuning import STAGES
    from modelport.tuning import tune as run_tune

    with nullcontext(Silent()) if as_json else Told(err, STAGES) as progress:
        made = run_tune(
            source,
            input,
            output=output,
            weights=weights,
            calibration=calibration,
            verification=verification,
            budget=budget,
            limits=limits,
            engines=split(engines),
            precisions=split(precisions),
            threads=counts,
            layouts=layouts,
            exhaustive=exhaustive,
            task=task,
            export=export,
            examples=examples,
            operators=parse_operators(operators),
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(made.to_json())
    else:
        show_tuning(out, made)


def thread_counts_of(text: str | None) -> list[int] | None:
    """Numbers joined by commas; None where nothing was said."""
    names = split(text)
    if names is None:
        return None
    if not all(name.isdecimal() and int(name) > 0 for name in names):
        raise UsageError(
            f"The numbers of threads {text!r} cannot be read",
            expected="positive numbers joined by commas, such as 1,2,4",
        )
    return [int(name) for name in names]
