"""Where results go: JSON lines, tables, COCO's format, drawings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from modelport.runtime.sinks.base import Sink

__all__ = ["Sink", "opened"]


@contextmanager
def opened(sinks: Sequence[Sink], notes: list[str]) -> Iterator[Sequence[Sink]]:
    """Opens all, and closes them: as whole ones where the block ends, as parts where it is left.

    Args:
        notes: to which they add what the user should know.
    """
    ready: list[Sink] = []
    whole = False
    try:
        for sink in sinks:
            sink.open()
            ready.append(sink)
        yield sinks
        whole = True
    finally:
        _close(ready, whole, notes)


def _close(sinks: Sequence[Sink], whole: bool, notes: list[str]) -> None:
    """All of them, whatever one of them raises."""
    if not sinks:
        return
    try:
        notes += sinks[0].close(whole=whole)
    finally:
        _close(sinks[1:], whole, notes)
