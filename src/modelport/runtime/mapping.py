"""Many inputs at once: one is read while another runs and the result of a third is decoded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

from modelport.closing import Closing
from modelport.cores import usable_cores
from modelport.errors import UsageError
from modelport.runtime.failed import Failed
from modelport.runtime.steps import Steps, run_each
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Stopwatch

Errors = Literal["keep", "raise"]


class Mapped(Closing, Iterator[Result]):
    """The results for inputs, in their order; an iterator and a context manager.

    Inputs are pulled in the caller's own thread, as results are asked for, and never more than
    `in_flight` are under way. `close` stops the threads, and so do the end of a `with` block, an
    exception, and the end of its last reference; what is under way is finished, what waits is dropped.

    Args:
        steps: what prepares, runs and decodes.
        items: inputs; an iterable without end will do.
        batch: how many run together; the last ones may be fewer. By default what the model takes.
        workers: threads that prepare; by default one for each processor, and four at most.
        in_flight: most inputs between being pulled and being handed out as results.
        errors: `keep` puts a `Failed` in the place of an input that cannot be answered; `raise` ends
            there. What the iterable itself raises ends it in any case, after the results before.

    Raises:
        UsageError: where a number is below one, or `in_flight` below `batch`.
    """

    def __init__(
        self,
        steps: Steps,
        items: Iterable[Any],
        *,
        batch: int | None = None,
        workers: int | None = None,
        in_flight: int | None = None,
        errors: Errors = "keep",
    ) -> None:
        batch = steps.batch_size if batch is None else batch
        workers = default_workers() if workers is None else workers
        streams = steps.streams
        in_flight = batch * streams + 2 * max(batch, workers) if in_flight is None else in_flight
        _check_numbers(batch, workers, in_flight)
        self._items = iter(items)
        self._most, self._batch, self._keep = in_flight, batch, errors == "keep"
        self._line = _Line(steps, workers, streams)
        self._flying: deque[_Job] = deque()
        self._group: list[_Job] = []
        self._ended = False
        self._error: Exception | None = None

    def __next__(self) -> Result:
        try:
            self._pull()
            if not self._flying:
                raise self._error or StopIteration
            result = self._flying[0].result.result()
            if isinstance(result, Failed) and not self._keep:
                raise result.error
        except BaseException:
            self.close()
            raise
        self._flying.popleft()
        return result

    def close(self) -> None:
        """Stops the threads and waits for them; there are no more results. May be called twice."""
        self._ended, self._error = True, None
        self._flying.clear()
        self._group.clear()
        self._line.close()

    def __del__(self) -> None:
        if hasattr(self, "_line"):  # not where the arguments were refused
            self._line.close()

    def _pull(self) -> None:
        """At least one input where there is room, and more as long as there is no result to hand out."""
        while not self._ended and len(self._flying) < self._most:
            try:
                job = _Job(next(self._items))
            except StopIteration:
                self._ended = True
            except Exception as error:  # raised again after the results of the inputs before
                self._ended, self._error = True, error
            else:
                self._flying.append(job)
                self._group.append(job)
                self._line.prepare(job)
            if self._group and (self._ended or len(self._group) == self._batch):
                self._line.run(self._group)
                self._group = []
            if self._flying and self._flying[0].result.done():
                return


class _Job:
    """One input on its way."""

    def __init__(self, item: Any) -> None:
        self.item = item
        self.watch = Stopwatch({})
        self.prepared: Future[Any]
        self.result: Future[Result] = Future()


class _Line:
    """The threads: some that prepare, one for each stream that runs, one that decodes.

    Their work refers to this object alone, so that a `Mapped` nobody holds any more is let go of.
    """

    def __init__(self, steps: Steps, workers: int, streams: int) -> None:
        self._steps = steps
        self._closed = False
        self._pools = [
            ThreadPoolExecutor(count, thread_name_prefix=f"modelport-{name}")
            for name, count in (("prepare", workers), ("run", streams), ("decode", 1))
        ]

    def prepare(self, job: _Job) -> None:
        job.prepared = self._pools[0].submit(self._prepare, job)

    def run(self, jobs: Sequence[_Job]) -> None:
        self._pools[1].submit(self._run, tuple(jobs))

    def close(self) -> None:
        self._closed = True
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in self._pools:
            pool.shutdown()

    def _prepare(self, job: _Job) -> Any:
        job.watch = Stopwatch()
        return self._steps.prepare(job.item, job.watch)

    def _run(self, jobs: Sequence[_Job]) -> None:
        try:
            ready = [job for job in jobs if _is_prepared(job)]
            if not ready or self._closed:
                return
            start = perf_counter()
            outputs = run_each(self._steps, [job.prepared.result() for job in ready])
            each_ms = (perf_counter() - start) * 1e3 / len(ready)
            for job, output in zip(ready, outputs, strict=True):
                job.watch.stages_ms["inference"] = each_ms
                self._pools[2].submit(self._decode, job, output)
        except BaseException as error:
            _fail(jobs, error)

    def _decode(self, job: _Job, outputs: Any) -> None:
        try:
            job.result.set_result(self._decoded(job, outputs))
        except BaseException as error:
            _fail([job], error)

    def _decoded(self, job: _Job, outputs: Any) -> Result:
        if isinstance(outputs, Exception):
            return Failed(outputs)
        start = perf_counter()
        try:
            result = self._steps.decode(outputs, job.prepared.result())
        except Exception as error:
            return Failed(error)
        job.watch.stages_ms["result"] = (perf_counter() - start) * 1e3
        # A chain of models has timed its own stages.
        return result if result.timing_ms else replace(result, timing_ms=job.watch.stages_ms)


def _is_prepared(job: _Job) -> bool:
    """Waits for it; an input that cannot be prepared has its result at once."""
    error = job.prepared.exception()
    if error is None:
        return True
    if isinstance(error, Exception):
        job.result.set_result(Failed(error))
    else:
        job.result.set_exception(error)
    return False


def _fail(jobs: Sequence[_Job], error: BaseException) -> None:
    """Nobody may wait for ever for a result that does not come."""
    for job in jobs:
        if not job.result.done():
            job.result.set_exception(error)


def default_workers() -> int:
    """One for each processor that this process may use; more than four wait for the engine."""
    return min(4, usable_cores())


def _check_numbers(batch: int, workers: int, in_flight: int) -> None:
    for name, value in (("batch", batch), ("workers", workers)):
        if value < 1:
            raise UsageError(f"{name} is {value}", expected="1 or more")
    if in_flight < batch:
        raise UsageError(
            f"in_flight is {in_flight} and batch is {batch}",
            expected="an in_flight of at least one batch",
            hint="Leave in_flight out, or take smaller batches",
        )
