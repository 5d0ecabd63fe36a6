"""Tells the user what a long job is doing: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Silent:
    """Says nothing; what Python callers get unless they ask for more."""

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        yield

    def detail(self, text: str) -> None:
        """Says what is happening within the stage."""


class Told(Silent):
    """Speaks on a console."""

    def __init__(self, console: Console, stages: int) -> None:
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=stages, detail="")

    def __enter__(self) -> Told:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        start = time.perf_counter()
        self._bar.update(self._task, description=title, detail="")
        try:
            yield
        except Exception:
            self._console.print(f"[red]✗[/] {title}")
            raise
        self._bar.advance(self._task)
        self._console.print(f"[green]✓[/] {title} [dim]{time.perf_counter() - start:.1f} s[/]")

    def detail(self, text: str) -> None:
        self._bar.update(self._task, detail=text)
