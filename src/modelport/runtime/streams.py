"""Several sessions of one variant, for inputs that run side by side.

Threads of one session wait for one another at every operator, and those of two sessions do not: on two
cores two sessions of one thread answer more inputs a second than one of two threads, while each input by
itself takes longer. Hence `map` runs so, and a call on one input does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from modelport.cores import usable_cores
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Prepared, Stopwatch
from modelport.types import Running

if TYPE_CHECKING:
    from modelport.bundle.manifest import VariantEntry
    from modelport.engines.base import Session
    from modelport.runtime.predictor import Predictor

WORTHWHILE = 32
"""Fewer inputs than this do not pay for opening further sessions."""

MOST_BYTES = 512 << 20
"""Weights of all sessions together that are taken without being asked."""


class SideBySide:
    """The steps of a predictor, whose runs go to several sessions.

    Args:
        predictor: what prepares and decodes.
        open_session: opens one more session of its variant.
        streams: how many sessions, and the most threads that may be in `run` without waiting.
    """

    def __init__(
        self, predictor: Predictor, open_session: Callable[[], Session], streams: int
    ) -> None:
        self._predictor = predictor
        self.streams = streams
        with ThreadPoolExecutor(streams) as openers:
            opening = [openers.submit(open_session) for _ in range(streams)]
        self._sessions = [each.result() for each in opening if each.exception() is None]
        for failed in (each for each in opening if each.exception() is not None):
            self.close()
            failed.result()  # raises
        self._free: SimpleQueue[Session] = SimpleQueue()
        for session in self._sessions:
            self._free.put(session)

    @property
    def batch_size(self) -> int:
        return self._predictor.batch_size

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        return self._predictor.prepare(item, watch)

    def run(self, prepared: Sequence[Prepared]) -> Sequence[Any]:
        """The outputs for each; `streams` threads may do this at once."""
        session = self._free.get()
        try:
            return self._predictor.run(prepared, session)
        finally:
            self._free.put(session)

    def decode(self, outputs: Any, prepared: Prepared) -> Result:
        return self._predictor.decode(outputs, prepared)

    def close(self) -> None:
        for session in self._sessions:
            session.close()


def shared(running: Running, streams: int) -> Running:
    """How each of so many sessions runs: the threads are divided among them."""
    return {**running, "threads": max(1, _threads(running) // streams)}


def fitting_streams(running: Running, variant: VariantEntry, inputs: int) -> int:
    """As many sessions as there are threads, where that is likely to pay; otherwise one."""
    devices = {running.get("device"), variant.options.get("device")}
    apart = running.get("isolated") or running.get("memory_bytes")
    if apart or not devices <= {None, "cpu"} or inputs < WORTHWHILE:
        return 1
    streams = _threads(running)
    return streams if streams * variant.size_bytes <= MOST_BYTES else 1


def _threads(running: Running) -> int:
    return running.get("threads") or usable_cores()
