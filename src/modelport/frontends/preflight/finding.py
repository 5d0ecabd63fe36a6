"""What a preflight finds, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

Severity: TypeAlias = Literal["error", "warning", "note"]

_ORDER: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Place:
    """A line of the user's code, and the innermost module that runs there; None where unknown."""

    file: str | None = None
    line: int | None = None
    module_path: str | None = None

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}" if self.file else ""


@dataclass(frozen=True)
class Finding:
    """Attributes:
    kind: stable name: `branch`, `item`, `python-number`, `numpy`, `shape-edit`, `size-loop`,
        `untranslated`, `engine-lacks`, `train-mode`, `nondeterministic`, `state`,
        `constant-output`, `baked` or `fails`.
    severity: an `error` stops an export or makes it wrong, a `warning` may, a `note` does not.
    file: path of the user's source file, where a line is known.
    module_path: dotted path of the module that runs there; empty for the root, None if unknown.
    seen: what was found, a clause without a full stop.
    suggestion: what to do, a sentence in the imperative without a full stop.
    count: how often it was met.
    """

    kind: str
    severity: Severity
    seen: str
    suggestion: str
    file: str | None = None
    line: int | None = None
    module_path: str | None = None
    count: int = 1

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.module_path)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def finding(kind: str, severity: Severity, seen: str, suggestion: str, place: Place) -> Finding:
    return Finding(kind, severity, seen, suggestion, place.file, place.line, place.module_path)


@dataclass(frozen=True)
class Preflight:
    """The findings, errors first, then by file and line."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Preflight:
        """Sorts them, and counts those that are alike."""
        counts: Counter[Finding] = Counter()
        for each in findings:
            counts[replace(each, count=1)] += each.count
        return cls(tuple(sorted((replace(f, count=n) for f, n in counts.items()), key=_rank)))

    @property
    def passed(self) -> bool:
        """Whether nothing was found that stops an export or makes it wrong."""
        return all(each.severity != "error" for each in self.findings)

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "findings": [each.to_json() for each in self.findings]}


def _rank(each: Finding) -> tuple[int, str, int, str, str, str]:
    return (
        _ORDER.index(each.severity),
        each.file or "",
        each.line or 0,
        each.kind,
        each.module_path or "",
        each.seen,
    )
