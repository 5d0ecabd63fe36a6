"""The command `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelport.commands.common import (
    Device,
    Isolated,
    Json,
    Memory,
    Threads,
    out,
    print_json,
    running_of,
)
from modelport.commands.run import Trust
from modelport.show import show_check


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    threads: Threads = 0,
    device: Device = None,
    isolated: Isolated = False,
    memory: Memory = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Prove a bundle again on this machine, from its own golden cases."""
    from modelport.verify.bundle import verify as run_verify

    check = run_verify(bundle, trust=trust, **running_of(threads, device, isolated, memory))
    if as_json:
        print_json(check.to_json())
    else:
        show_check(out, check)
    if not check.passed:
        raise typer.Exit(2)
