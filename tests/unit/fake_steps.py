"""Steps that tests steer: numbers go in, and come out as results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelport.errors import DataError, EngineError
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Stopwatch


@dataclass(frozen=True)
class Number(Result):
    value: int

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value}


class BrokenError(Exception):
    """None of modelport's own."""


@dataclass
class FakeSteps:
    """Takes numbers; a name such as `unread` or `bad run` fails in that step.

    Attributes:
        groups: what ran together, in the order of the runs.
        threads: names of the threads that took each step.
        before: called with the name of the step and its item, before it.
    """

    batch_size: int = 1
    streams: int = 1
    groups: list[list[Any]] = field(default_factory=list)
    threads: dict[str, set[str]] = field(default_factory=dict)
    before: Callable[[str, Any], None] = lambda step, item: None

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Any:
        self._step("prepare", item)
        if item == "unread":
            raise DataError("unread cannot be read")
        if item == "broken":
            raise BrokenError("oh")
        if watch is not None:
            watch.lap("decode")
        return item

    def run(self, prepared: Sequence[Any]) -> list[Any]:
        for item in prepared:
            self._step("run", item)
        self.groups.append(list(prepared))
        if "bad run" in prepared:
            raise EngineError("the engine fell over")
        return list(prepared)

    def decode(self, outputs: Any, prepared: Any) -> Result:
        self._step("decode", prepared)
        assert outputs == prepared, "outputs of another input"
        if outputs == "bad result":
            raise EngineError("outputs are NaN")
        return Number(outputs)

    def _step(self, name: str, item: Any) -> None:
        self.threads.setdefault(name, set()).add(threading.current_thread().name)
        self.before(name, item)


def ours() -> set[str]:
    """Names of the threads that a map or a batcher started and that still live."""
    return {
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("modelport-prepare", "modelport-run", "modelport-decode"))
        or thread.name == "modelport-batcher"
    }


def wait_until(true: Callable[[], bool], most_s: float = 10.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + most_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
