"""The command `check`."""

from __future__ import annotations

from typing import Annotated

import typer

from modelport.commands import source as said
from modelport.commands.common import Json, out, print_json, split
from modelport.frontends.options import TIME_LIMIT_S


def check(
    source: said.Source,
    input: said.Inputs = None,
    examples: said.Examples = None,
    weights: said.Weights = None,
    engines: Annotated[
        str | None, typer.Option(help="Engines whose operators must do, joined by commas.")
    ] = None,
    opset: said.Opset = None,
    operators: said.Operators = None,
    trust: said.Trust = False,
    time_limit: said.TimeLimit = TIME_LIMIT_S,
    as_json: Json = False,
) -> None:
    """Find what would stop an export or make it wrong, each with its line and a suggestion."""
    options = said.options_of(opset=opset, trust=trust, time_limit=time_limit)
    from modelport.check import check as run_check
    from modelport.frontends.operators import parse_operators
    from modelport.show_preflight import show_preflight

    found = run_check(
        source,
        input,
        weights=weights,
        engines=split(engines) or (),
        options=options,
        examples=examples,
        operators=parse_operators(operators),
    )
    if as_json:
        print_json(found.to_json())
    else:
        show_preflight(out, found)
    if not found.passed:
        raise typer.Exit(2)
