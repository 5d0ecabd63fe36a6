"""How a preflight looks on a terminal."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from modelport.frontends.preflight import Finding, Preflight
    from modelport.frontends.preflight.finding import Severity

_TITLES: dict[Severity, str] = {
    "error": "[bold red]Errors[/]: they stop an export, or make it wrong",
    "warning": "[bold yellow]Warnings[/]: they may",
    "note": "[bold]Notes[/]",
}


def show_preflight(console: Console, preflight: Preflight) -> None:
    """The findings by severity, each with its line and what to do; the verdict in the last line."""
    for severity, title in _TITLES.items():
        found = [each for each in preflight.findings if each.severity == severity]
        if found:
            console.print(title, highlight=False)
        for each in found:
            _show(console, each)
    console.print(_verdict(preflight), highlight=False)


def _show(console: Console, each: Finding) -> None:
    times = f" [dim]({each.count} times)[/]" if each.count > 1 else ""
    console.print(f"  [bold]{escape(_where(each))}[/]  {escape(each.seen)}{times}", highlight=False)
    console.print(f"    -> {escape(each.suggestion)} [dim]{each.kind}[/]", highlight=False)


def _where(each: Finding) -> str:
    module = f"in {each.module_path}" if each.module_path else ""
    if each.file is None:
        return module or "the model"
    return f"{_short(each.file)}:{each.line} {module}".rstrip()


def _short(file: str) -> str:
    """Relative to where the user stands, where the file is below."""
    relative = os.path.relpath(file) if os.path.isabs(file) else file
    return file if relative.startswith("..") else relative


def _verdict(preflight: Preflight) -> str:
    counts = Counter(each.severity for each in preflight.findings)
    told = ", ".join(
        f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}"
        for severity in _TITLES
        if counts[severity]
    )
    if not preflight.passed:
        return f"[bold red]Not ready to export[/]: {told}."
    return f"[bold green]Ready to export[/]{f': {told}' if told else ': nothing found'}."
