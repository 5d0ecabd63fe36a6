"""`modelport engines`: what this machine has, and environments for what cannot live beside the rest."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modelport.commands.common import Json, err, out, print_json, show_list
from modelport.progress import Told

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
