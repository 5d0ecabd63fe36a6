"""What commands share: consoles, options that several of them have, and ways to print."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelport.types import Running, parse_bytes

out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Threads = Annotated[
    int, typer.Option(min=0, help="Threads of the engine; 0 leaves it to the engine.")
]

Device = Annotated[
    str | None, typer.Option(help="Where the engine runs, cuda:0 or gpu say; the CPU by default.")
]
Isolated = Annotated[bool, typer.Option("--isolated", help="Give the engine a process of its own.")]
Memory = Annotated[
    str | None, typer.Option(help="Most memory the engine may take, 2G say; isolates it.")
]
WarmUp = Annotated[int, typer.Option(min=0, help="Runs on zeros before the first real one.")]


def running_of(
    threads: int, device: str | None, isolated: bool, memory: str | None, warm_up: int = 0
) -> Running:
    """The options of a session, from those of a command."""
    bound = None if memory is None else parse_bytes(memory)
    return Running(
        threads=threads, device=device, isolated=isolated, memory_bytes=bound, warm_up=warm_up
    )


def split(names: str | None) -> list[str] | None:
    """Names joined by commas, as a list."""
    return [name.strip() for name in names.split(",") if name.strip()] if names else None


def print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, ensure_ascii=False))


def show_list(kind: str, rows: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0]:
        table.add_column(kind if column == "name" else column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row.values()))  # as it is, brackets included
    out.print(table)
