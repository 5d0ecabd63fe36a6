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

    def step(self, text: str, done: int, total: int) -> None:
        """Says which of several steps of the stage is under way."""


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
        self._steps = self._bar.add_task("", total=1, detail="", visible=False)

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
        finally:
            self._bar.update(self._steps, visible=False)
        self._bar.advance(self._task)
        self._console.print(f"[green]✓[/] {title} [dim]{time.perf_counter() - start:.1f} s[/]")

    def detail(self, text: str) -> None:
        self._bar.update(self._task, detail=text)

    def step(self, text: str, done: int, total: int) -> None:
        """A bar of its own on a terminal, a line elsewhere."""
        if not self._console.is_terminal:
            self._console.print(f"  {text} ({done + 1} of {total})", markup=False, highlight=False)
        shown = total > 1
        self._bar.update(self._steps, description=f"  {text}", completed=done, total=total)
        self._bar.update(self._steps, visible=shown)
        self._bar.update(self._task, detail="" if shown else text)
