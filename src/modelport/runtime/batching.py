"""Many callers, one engine: their inputs run together as they happen to come."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Lock, Thread
from time import perf_counter
from typing import Any

from modelport.closing import Closing
from modelport.errors import EngineError, UsageError
from modelport.runtime.steps import Steps, run_each
from modelport.runtime.tasks.base import Result


class Batcher(Closing):
    """Answers many threads or coroutines at once. A context manager.

    Callers prepare and decode in their own threads; one thread runs the engine. While it runs, others
    queue up, and run together next.

    Args:
        steps: what prepares, runs and decodes.
        max_batch: most inputs of one run; by default what the model takes.
        max_wait_ms: how long an input may wait for others. With 0 it only runs with those that came
            while the engine was busy, and a lone caller waits for nobody.
        max_waiting: most inputs that wait; a caller beyond them is held up, so memory has a bound.

    Raises:
        UsageError: where a number is too small.
    """

    def __init__(
        self,
        steps: Steps,
        *,
        max_batch: int | None = None,
        max_wait_ms: float = 0.0,
        max_waiting: int = 256,
    ) -> None:
        max_batch = steps.batch_size if max_batch is None else max_batch
        if max_batch < 1 or max_wait_ms < 0 or max_waiting < 1:
            raise UsageError(
                f"max_batch is {max_batch}, max_wait_ms {max_wait_ms}, max_waiting {max_waiting}",
                expected="1 or more, 0 or more, and 1 or more",
            )
        self._steps = steps
        self._most, self._wait_s = max_batch, max_wait_ms / 1e3
        self._queue: Queue[_Asked | None] = Queue(max_waiting)
        self._lock = Lock()
        self._closed = False
        self._thread = Thread(target=self._serve, name="modelport-batcher", daemon=True)
        self._thread.start()

    def __call__(self, item: Any) -> Result:
        """The result for one input; any number of threads may call.

        Raises:
            DataError, EngineError: as the predictor does, for this input alone.
        """
        prepared = self._steps.prepare(item)
        return self._steps.decode(self._ask(prepared).result(), prepared)

    async def answer(self, item: Any) -> Result:
        """The same for coroutines; preparing and decoding keep to other threads than the loop's."""
        import asyncio  # here, for it takes long to import

        prepared = await asyncio.to_thread(self._steps.prepare, item)
        asked = await asyncio.to_thread(self._ask, prepared)
        outputs = await asyncio.wrap_future(asked)
        return await asyncio.to_thread(self._steps.decode, outputs, prepared)

    def close(self) -> None:
        """Answers whoever waits, then ends the thread. May be called twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _ask(self, prepared: Any) -> Future[Any]:
        asked = _Asked(prepared)
        with self._lock:  # so that nothing is queued behind the end
            if self._closed:
                raise EngineError(
                    "This batcher is closed", hint="Call it inside its with block, or make another"
                )
            self._queue.put(asked)
        return asked.outputs

    def _serve(self) -> None:
        while True:
            group, last = self._gathered()
            live = [asked for asked in group if asked.outputs.set_running_or_notify_cancel()]
            if live:
                outputs = run_each(self._steps, [asked.prepared for asked in live])
                for asked, output in zip(live, outputs, strict=True):
                    asked.tell(output)
            if last:
                return

    def _gathered(self) -> tuple[list[_Asked], bool]:
        """Those that run next, and whether the end came after them."""
        first = self._queue.get()
        if first is None:
            return [], True
        group = [first]
        until = perf_counter() + self._wait_s
        while len(group) < self._most:
            try:
                left = until - perf_counter()
                other = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except Empty:
                break
            if other is None:
                return group, True
            group.append(other)
        return group, False


@dataclass(eq=False)
class _Asked:
    """One caller's input and the promise of its outputs."""

    prepared: Any
    outputs: Future[Any] = field(default_factory=Future)

    def tell(self, output: Any) -> None:
        if isinstance(output, Exception):
            self.outputs.set_exception(output)
        else:
            self.outputs.set_result(output)
