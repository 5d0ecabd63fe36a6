"""Many callers of one engine: each gets its own answer, and errors go to whoever caused them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_steps import BrokenError, FakeSteps, Number, ours, wait_until

from modelport.errors import DataError, EngineError, UsageError
from modelport.runtime.batching import Batcher
from modelport.runtime.loading import load


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert wait_until(lambda: not ours()), ours()


class Gate:
    """Holds the engine until it is opened, so that callers queue up."""

    def __init__(self) -> None:
        self.open, self.reached = threading.Event(), threading.Event()

    def __call__(self, step: str, item: Any) -> None:
        if step == "run" and item == "first":
            self.reached.set()
            assert self.open.wait(10)


def test_each_caller_gets_its_own_answer() -> None:
    steps = FakeSteps(batch_size=8)
    with Batcher(steps) as batcher, ThreadPoolExecutor(16) as callers:
        assert list(callers.map(batcher, range(200))) == [Number(n) for n in range(200)]
    assert sorted(n for group in steps.groups for n in group) == list(range(200))
    assert max(map(len, steps.groups)) <= 8
    assert steps.threads["run"] == {"modelport-batcher"}
    assert "modelport-batcher" not in steps.threads["prepare"] | steps.threads["decode"]


def test_callers_run_together_who_came_while_the_engine_was_busy() -> None:
    gate = Gate()
    steps = FakeSteps(before=gate)
    with Batcher(steps, max_batch=4) as batcher, ThreadPoolExecutor(12) as callers:
        first = callers.submit(batcher, "first")
        assert gate.reached.wait(10)
        others = [callers.submit(batcher, number) for number in range(9)]
        assert wait_until(lambda: batcher._queue.qsize() == 9)
        gate.open.set()
        assert [each.result() for each in [first, *others]] == [
            Number(n)
            for n in ["first", *range(9)]  # type: ignore[arg-type]
        ]
    assert [len(group) for group in steps.groups] == [1, 4, 4, 1]


def test_an_input_may_wait_for_others() -> None:
    steps = FakeSteps()
    meeting = threading.Barrier(3)

    def call(number: int) -> Any:
        meeting.wait()
        time.sleep(0.01 * number)
        return batcher(number)

    with Batcher(steps, max_batch=3, max_wait_ms=5000) as batcher, ThreadPoolExecutor(3) as callers:
        assert list(callers.map(call, range(3))) == [Number(n) for n in range(3)]
    assert [sorted(group) for group in steps.groups] == [[0, 1, 2]], "a full batch waits no longer"


def test_a_lone_caller_waits_no_longer_than_it_was_told() -> None:
    with Batcher(FakeSteps(), max_batch=8, max_wait_ms=30) as batcher:
        start = time.monotonic()
        batcher(1)
        assert 0.025 < time.monotonic() - start < 5
    with Batcher(FakeSteps(), max_batch=8) as batcher:
        start = time.monotonic()
        for number in range(100):
            batcher(number)
        assert time.monotonic() - start < 2.5


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ("unread", DataError),
        ("broken", BrokenError),
        ("bad run", EngineError),
        ("bad result", EngineError),
    ],
)
def test_errors_go_to_the_guilty_one(bad: str, kind: type[Exception]) -> None:
    gate = Gate()
    with (
        Batcher(FakeSteps(before=gate), max_batch=8) as batcher,
        ThreadPoolExecutor(8) as callers,
    ):
        first = callers.submit(batcher, "first")
        assert gate.reached.wait(10)
        asked = {item: callers.submit(batcher, item) for item in (1, 2, bad, 3)}
        wait_until(lambda: batcher._queue.qsize() >= 3)
        gate.open.set()
        with pytest.raises(kind):
            asked.pop(bad).result()
        assert {item: each.result() for item, each in asked.items()} == {
            n: Number(n) for n in (1, 2, 3)
        }
        first.result()
        assert batcher(7) == Number(7), "it goes on"


def test_coroutines_run_together() -> None:
    steps = FakeSteps(batch_size=4)

    async def ask(batcher: Batcher) -> list[Any]:
        asked = [batcher.answer(item) for item in [*range(20), "bad run"]]
        return await asyncio.gather(*asked, return_exceptions=True)

    with Batcher(steps, max_wait_ms=20) as batcher:
        found = asyncio.run(ask(batcher))
    assert isinstance(found.pop(), EngineError)
    assert found == [Number(n) for n in range(20)]
    assert max(map(len, steps.groups)) > 1


def test_a_coroutine_that_is_cancelled_does_not_run() -> None:
    gate = Gate()
    steps = FakeSteps(before=gate)

    async def ask(batcher: Batcher) -> None:
        first = asyncio.create_task(batcher.answer("first"))
        await asyncio.to_thread(gate.reached.wait, 10)
        second = asyncio.create_task(batcher.answer("second"))
        while batcher._queue.qsize() < 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.open.set()
        assert await first == Number("first")  # type: ignore[arg-type]

    with Batcher(steps) as batcher:
        asyncio.run(ask(batcher))
    assert steps.groups == [["first"]]


def test_callers_beyond_the_bound_are_held_up() -> None:
    gate = Gate()
    with (
        Batcher(FakeSteps(before=gate), max_waiting=2) as batcher,
        ThreadPoolExecutor(8) as callers,
    ):
        first = callers.submit(batcher, "first")
        assert gate.reached.wait(10)
        others = [callers.submit(batcher, number) for number in range(7)]
        assert wait_until(lambda: batcher._queue.qsize() == 2)
        time.sleep(0.01)
        assert batcher._queue.qsize() == 2
        gate.open.set()
        assert [each.result() for each in others] == [Number(n) for n in range(7)]
        first.result()


def test_close_answers_whoever_waits_and_refuses_the_rest() -> None:
    gate = Gate()
    batcher = Batcher(FakeSteps(before=gate))
    with ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(batcher, "first")]
        assert gate.reached.wait(10)
        asked += [callers.submit(batcher, number) for number in range(2)]
        assert wait_until(lambda: batcher._queue.qsize() == 2)
        closing = callers.submit(batcher.close)
        gate.open.set()
        closing.result()
        assert [each.result() for each in asked] == [
            Number(n)
            for n in ("first", 0, 1)  # type: ignore[arg-type]
        ]
    with pytest.raises(EngineError, match=r"This batcher is closed\. Call it inside"):
        batcher(1)
    batcher.close()


@pytest.mark.parametrize("numbers", [{"max_batch": 0}, {"max_wait_ms": -1}, {"max_waiting": 0}])
def test_numbers_without_sense_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Expected 1 or more, 0 or more, and 1 or more"):
        Batcher(FakeSteps(), **numbers)


def test_threads_share_a_real_model(batch_bundle: Path, pictures: Path) -> None:
    files = sorted(pictures.iterdir()) * 4
    with load(batch_bundle, threads=1) as predictor:
        alone: list[Any] = [predictor(file) for file in files]
        with predictor.batcher(max_wait_ms=1) as batcher, ThreadPoolExecutor(6) as callers:
            together: list[Any] = list(callers.map(batcher, files))
        direct: list[Any]
        with ThreadPoolExecutor(6) as callers:
            direct = list(callers.map(predictor, files))
    for one, other in zip(alone, together, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, rel=1e-4)
    assert direct == alone, "a predictor may be called by several threads, too"
