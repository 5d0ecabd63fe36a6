"""What `modelport run` shows: results as they come, how far it is, and where the time goes."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from modelport.runtime.failed import Failed
from modelport.runtime.sources import Item
from modelport.runtime.tasks.base import Result

PLAIN_S = 10.0
"""Between two lines that tell how far it is, where no terminal shows a bar."""


class Account:
    """Counts results, and adds up the time of each stage."""

    def __init__(self) -> None:
        self.done = self.failed = 0
        self.stages_ms: dict[str, float] = {}
        self._start = time.perf_counter()

    def add(self, result: Result) -> None:
        self.done += 1
        self.failed += isinstance(result, Failed)
        for stage, ms in result.timing_ms.items():
            self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + ms

    @property
    def answered(self) -> int:
        return self.done - self.failed

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @property
    def rate(self) -> float:
        """Inputs a second."""
        return self.done / max(self.seconds, 1e-9)

    def each_ms(self) -> dict[str, float]:
        return {stage: ms / max(1, self.answered) for stage, ms in self.stages_ms.items()}


class Teller:
    """Speaks on the terminal while results come. A context manager.

    Args:
        lines: whether each result is a line on `out`; failures are lines on `err` in any case.
        total: how many inputs there are, where that is known.
    """

    def __init__(
        self, out: Console, err: Console, answers: Any, *, lines: bool, total: int | None
    ) -> None:
        self._out, self._err, self._answers = out, err, answers
        self._lines, self._total = lines, total
        self.account = Account()
        self._told_s = 0.0
        self._held: tuple[Item, Failed] | None = None
        self._bar = _bar(out if lines and out.is_terminal else err)
        self._task = self._bar.add_task("", total=total, rate="", stages="")

    def __enter__(self) -> Teller:
        if self._total != 1:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def tell(self, item: Item, result: Result) -> None:
        """Shows one result."""
        if self._held is not None:
            self._tell_failed(*self._held)
            self._held = None
        self.account.add(result)
        if isinstance(result, Failed):
            if self.account.done == 1:  # if it stays the only one, it is the error of the command
                self._held = item, result
            else:
                self._tell_failed(item, result)
        elif self._lines:
            self._tell_result(item, result)
        self._tell_progress()

    @property
    def only_error(self) -> Exception | None:
        """That of the only input, where it could not be answered."""
        return None if self._held is None else self._held[1].error

    def finish(self) -> None:
        """Shows the sums."""
        self._bar.stop()
        if not self._lines or not self.account.answered:
            return
        if self.account.done > 1:
            self._out.print()
            self._out.print(_stages(self.account))
            self._out.print(_sentence(self.account), highlight=False)
        for line in _variants(self._answers):
            self._out.print(f"[dim]{escape(line)}[/]", highlight=False)

    def _tell_result(self, item: Item, result: Result) -> None:
        stages = "  ".join(f"{stage} {ms:.2f}" for stage, ms in result.timing_ms.items())
        total = sum(result.timing_ms.values())
        words = self._answers.task.describe(result)
        self._out.print(
            f"{escape(item.title)}: [bold]{escape(words)}[/]  [dim]{stages}  total {total:.2f} ms[/]",
            highlight=False,
        )

    def _tell_failed(self, item: Item, failed: Failed) -> None:
        named = failed.reason if item.name in failed.reason else f"{item.title}: {failed.reason}"
        self._err.print(Text.assemble(("Failed:", "red"), f" {named}"))

    def _tell_progress(self) -> None:
        account = self.account
        stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in account.each_ms().items())
        rate = f"{account.rate:.1f}/s"
        self._bar.update(self._task, completed=account.done, rate=rate, stages=stages)
        if self._bar.disable and not self._lines and account.seconds - self._told_s > PLAIN_S:
            self._told_s = account.seconds
            of = f" of {self._total}" if self._total is not None else ""
            self._err.print(f"{account.done}{of} inputs, {rate}", highlight=False)


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[stages]}", style="dim"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _stages(account: Account) -> Table:
    """Milliseconds of each stage for an input, and its share of the work."""
    whole = max(sum(account.stages_ms.values()), 1e-9)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage", no_wrap=True)
    for title in ("ms each", "share"):
        table.add_column(title, justify="right", no_wrap=True)
    for stage, ms in account.each_ms().items():
        table.add_row(stage, f"{ms:.2f}", f"{account.stages_ms[stage] / whole:.0%}")
    return table


def _sentence(account: Account) -> str:
    failed = f", {account.failed} failed" if account.failed else ""
    return (
        f"{account.answered} answered{failed} in {account.seconds:.2f} s, {account.rate:.1f} a second; "
        "stages of different inputs overlap."
    )


def _variants(answers: Any) -> list[str]:
    """What ran: the variant of a predictor, or of each stage of a pipeline."""
    if hasattr(answers, "variant"):
        return [f"variant {answers.variant.name}"]
    steps = getattr(answers, "steps", ())
    return [f"{step.name}: variant {step.predictor.variant.name}" for step in steps]
