"""`modelport engines`: what this machine has, and environments for what cannot live beside the rest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelport.commands.common import Json, err, out, print_json, show_list
from modelport.progress import Told

if TYPE_CHECKING:
    from modelport.preparation import Preparation

group = typer.Typer(
    name="engines",
    help="List the engines, and whether this machine can use them; install and remove them.",
    invoke_without_command=True,
)


@group.callback()
def engines(context: typer.Context, as_json: Json = False) -> None:
    """List the engines, and whether this machine can use them."""
    if context.invoked_subcommand is None:
        from modelport.engines import ENGINES

        show_list("engine", [_row(name) for name in ENGINES], as_json)


def _row(name: str) -> dict[str, Any]:
    from modelport.engines import ENGINES
    from modelport.types import Target

    engine = ENGINES.get(name)
    here = [p for p in engine.precisions if engine.refuses(Target(precision=p)) is None]
    ready = "ready" if engine.runs_here() else "ready, in an environment of its own"
    if engine.for_tests:
        ready += " (for tests)"
    elif not engine.deployable:
        ready += " (when asked for)"
    if engine.cannot_run() is not None:
        ready = f"converts; {engine.cannot_run()}"
    return {
        "name": name,
        "version": engine.version(),
        "precisions": ", ".join(here),
        "status": engine.available() or ready,
    }


@group.command()
def install(
    names: Annotated[list[str], typer.Argument(help="Engines, as listed by `modelport engines`.")],
    as_json: Json = False,
) -> None:
    """Make an environment with the engine's own pinned versions, apart from all others."""
    from modelport.engines import ENGINES
    from modelport.engines.environments import environment_of

    rows = []
    with Told(err, len(names)) as progress:
        for name in names:
            engine = ENGINES.get(name)
            environment = environment_of(name, engine.requirements, engine.layered)
            with progress.stage(f"Install {name}"):
                environment.install(progress.detail)
            row = {"name": name, "version": engine.version(), "folder": str(environment.folder)}
            rows.append(row)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        out.print(f"{row['name']} {row['version']} is ready", markup=False, highlight=False)


@group.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Engines, as listed by `modelport engines`.")],
) -> None:
    """Remove the environments of engines."""
    from modelport.engines import ENGINES
    from modelport.engines.environments import environment_of

    for name in names:
        engine = ENGINES.get(name)
        environment = environment_of(name, engine.requirements, engine.layered)
        was = environment.installed
        environment.remove()
        told = "is removed" if was else "had no environment"
        out.print(f"{name} {told}", markup=False, highlight=False)


@group.command()
def prepare(
    name: Annotated[str, typer.Argument(help="An engine whose toolchain is elsewhere.")],
    model: Annotated[Path, typer.Argument(help="An .onnx file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    device: Annotated[
        str | None, typer.Option(help="A chip or architecture, in the engine's own words.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of .npy or .npz feeds, for int8.")
    ] = None,
    optimize: Annotated[bool, typer.Option(help="Run the portable passes first.")] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a folder written before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write what an engine's own toolchain needs to convert a model on another machine."""
    from modelport.preparation import prepare as run_prepare

    made = run_prepare(
        model,
        name,
        output,
        precision=precision,
        device=device,
        calibration=calibration,
        optimize=optimize,
        overwrite=overwrite,
    )
    if as_json:
        print_json(made.to_json())
    else:
        _show_prepared(made)


def _show_prepared(made: Preparation) -> None:
    def say(text: str) -> None:
        out.print(text, markup=False, highlight=False)

    say(f"Wrote {made.path} for {made.engine} at {made.precision}: {made.status}")
    feeds = [name for name in made.prepared.files if name.startswith("calibration/")]
    for name in made.prepared.files:
        if name not in feeds:
            say(f"  {name}")
    if feeds:
        say(f"  {len(feeds)} files in calibration")
    if made.prepared.commands:
        say("Run there, or run convert.sh:")
        for command in made.prepared.commands:
            say(f"  {shlex.join(command)}")
    say(f"The device takes {', '.join(made.prepared.makes.values())}")
    for note in made.prepared.notes:
        say(f"- {note}")
