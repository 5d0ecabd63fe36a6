"""JSON lines: an object to a line, of which each is of use without the others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

from modelport.runtime.sinks.base import FileSink, Sink
from modelport.runtime.sources.base import Item
from modelport.runtime.tasks.base import Result


def json_of(item: Item, result: Result) -> dict[str, Any]:
    """The input, the result, and the time of each stage."""
    timing = {stage: round(ms, 3) for stage, ms in result.timing_ms.items()}
    return {**item.to_json(), **result.to_json(), "timing_ms": timing}


class JsonLines(FileSink):
    """A file whose lines are there as soon as their results are; a run cut short keeps them."""

    _file: IO[str]

    def write(self, item: Item, result: Result) -> None:
        self._file.write(f"{json.dumps(json_of(item, result), ensure_ascii=False)}\n")
        self._file.flush()

    def _open(self, part: Path) -> None:
        self._file = part.open("w", encoding="utf-8")

    def _finish(self, whole: bool) -> None:
        self._file.close()

    def _left(self) -> list[str]:
        return [f"The lines so far are in {self.part}"]


class JsonLinesOut(Sink):
    """The same on standard output."""

    def open(self) -> None:
        pass

    def write(self, item: Item, result: Result) -> None:
        print(json.dumps(json_of(item, result), ensure_ascii=False), file=sys.stdout, flush=True)

    def close(self, *, whole: bool) -> list[str]:
        return []
