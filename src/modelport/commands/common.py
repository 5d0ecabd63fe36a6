"""What commands share: consoles, options that several of them have, and ways to print."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Threads = Annotated[
    int, typer.Option(min=0, help="Threads of the engine; 0 leaves it to the engine.")
]


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
