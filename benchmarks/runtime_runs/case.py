"""What a benchmark of one model consists of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Contender(ABC):
    """Answers for files, in a process of its own. Made there without arguments.

    A contender that cannot be had on this machine raises `Missing` with the reason.
    """

    @classmethod  # noqa: B027  (most need nothing)
    def ready(cls) -> None:
        """Makes the files that it needs where they are not there yet, before any process starts."""

    @abstractmethod
    def __call__(self, path: Path) -> Any:
        """The result for one file, as its user would have it. This is what is timed."""

    def many(self, paths: Sequence[Path]) -> list[Any]:
        """The results for several files, in the fastest way that its user is offered."""
        return [self(path) for path in paths]

    @abstractmethod
    def plain(self, result: Any) -> Any:
        """The result as numbers and text, to compare; not timed."""


class Missing(Exception):
    """Why a contender cannot run here."""


@dataclass(frozen=True)
class Case:
    """One model with those who run it.

    Attributes:
        files: what they answer for.
        contenders: by name; the first is ours, the second is the script that the targets speak of.
        differ: how far the plain results of two contenders for one file are apart, in a few words; None
            where they are equal as far as people care.
        notes: what a reader of the table must know.
    """

    name: str
    title: str
    files: Callable[[], list[Path]]
    contenders: dict[str, type[Contender]]
    differ: Callable[[Any, Any], str | None]
    notes: tuple[str, ...] = field(default=())
