"""Many inputs at once: in order, bounded, with errors in their place, and no thread left behind."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_steps import BrokenError, FakeSteps, Number, ours, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from modelport.errors import DataError, EngineError, UsageError
from modelport.runtime.failed import Failed
from modelport.runtime.loading import load
from modelport.runtime.mapping import Mapped, default_workers
from modelport.runtime.steps import steps_of


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert wait_until(lambda: not ours()), ours()


def values(results: Any) -> list[int]:
    return [each.value for each in results]


# --- order and batches --------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    count=st.integers(0, 40),
    batch=st.integers(1, 7),
    workers=st.integers(1, 4),
    spare=st.integers(0, 9),
)
def test_results_come_in_the_order_of_the_inputs(
    count: int, batch: int, workers: int, spare: int
) -> None:
    steps = FakeSteps()
    numbers = range(count)
    mapped = Mapped(steps, numbers, batch=batch, workers=workers, in_flight=batch + spare)
    assert values(mapped) == list(numbers)
    full = [list(numbers[start : start + batch]) for start in range(0, count, batch)]
    assert steps.groups == full, "neighbours run together, and the last ones are fewer"


def test_order_holds_where_the_first_is_slowest() -> None:
    def before(step: str, item: Any) -> None:
        if step == "prepare" and item % 4 == 0:
            time.sleep(0.02)

    assert values(Mapped(FakeSteps(before=before), range(12), workers=4)) == list(range(12))


def test_the_batch_is_what_the_model_takes_unless_told() -> None:
    steps = FakeSteps(batch_size=3)
    list(Mapped(steps, range(7)))
    list(Mapped(steps, range(3), batch=2))
    assert steps.groups == [[0, 1, 2], [3, 4, 5], [6], [0, 1], [2]]


def test_steps_overlap() -> None:
    """While one input runs, another is prepared and the result of a third is decoded."""
    meeting = threading.Barrier(3, timeout=10)

    def before(step: str, item: Any) -> None:
        # The first input is decoded, the second runs and the third is prepared: all at once.
        if (step, item) in {("decode", 0), ("run", 1), ("prepare", 2)}:
            meeting.wait()

    assert values(Mapped(FakeSteps(before=before), range(3), workers=1)) == [0, 1, 2]


def test_one_thread_alone_runs_the_engine() -> None:
    steps = FakeSteps()
    list(Mapped(steps, range(30), workers=3))
    assert len(steps.threads["run"]) == 1
    assert 1 <= len(steps.threads["prepare"]) <= 3
    assert not steps.threads["run"] & (steps.threads["prepare"] | steps.threads["decode"])


def test_streams_run_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def before(step: str, item: Any) -> None:
        if step == "run":
            meeting.wait()

    assert values(Mapped(FakeSteps(streams=3, before=before), range(9))) == list(range(9))


def test_time_is_told_by_stage() -> None:
    result = next(Mapped(FakeSteps(), [1]))
    assert list(result.timing_ms) == ["decode", "inference", "result"]
    assert all(value >= 0 for value in result.timing_ms.values())


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "in_flight"), [(1, 1), (1, 5), (4, 4), (4, 11)])
def test_an_endless_iterable_is_pulled_as_results_are_taken(batch: int, in_flight: int) -> None:
    pulled = itertools.count()
    most = 0
    with Mapped(FakeSteps(), pulled, batch=batch, in_flight=in_flight) as mapped:
        for taken, result in enumerate(itertools.islice(mapped, 50), start=1):
            assert result == Number(taken - 1)
            most = max(most, _peek(pulled) - taken + 1)
    assert most <= in_flight


def _peek(counter: Any) -> int:
    return int(repr(counter).removeprefix("count(").removesuffix(")"))


def test_nothing_is_pulled_before_a_result_is_asked_for() -> None:
    pulled = itertools.count()
    mapped = Mapped(FakeSteps(), pulled)
    time.sleep(0.01)
    assert _peek(pulled) == 0
    assert not ours()
    mapped.close()


def test_a_slow_source_holds_up_no_result() -> None:
    """A camera: the result of a picture is there before the picture after the next one is."""
    taken: list[int] = []

    def camera() -> Iterator[int]:
        for number in range(6):
            assert len(taken) >= number - 2, "results wait for pictures that are yet to come"
            yield number
            if number > 0:
                assert wait_until(lambda before=number - 1: before in ran)

    ran: set[int] = set()
    steps = FakeSteps(before=lambda step, item: ran.add(item) if step == "decode" else None)
    for result in Mapped(steps, camera(), batch=1, in_flight=5):
        taken.append(result.value)
    assert taken == list(range(6))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"batch": 0}, "batch is 0. Expected 1 or more."),
        ({"workers": 0}, "workers is 0. Expected 1 or more."),
        (
            {"batch": 4, "in_flight": 3},
            "in_flight is 3 and batch is 4. Expected an in_flight of at",
        ),
        ({"in_flight": 0}, "in_flight is 0 and batch is 1."),
    ],
)
def test_numbers_without_sense_are_refused(numbers: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Mapped(FakeSteps(), [], **numbers)
    assert str(caught.value).startswith(said)


def test_workers_are_not_more_than_processors() -> None:
    assert 1 <= default_workers() <= 4


# --- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind", "reason"),
    [
        ("unread", DataError, "unread cannot be read."),
        ("broken", BrokenError, "BrokenError: oh"),
        ("bad run", EngineError, "the engine fell over."),
        ("bad result", EngineError, "outputs are NaN."),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_bad_input_is_a_failed_result_and_its_neighbours_are_answered(
    bad: str, kind: type[Exception], reason: str, batch: int
) -> None:
    items = [0, 1, bad, 3, 4, 5]
    found = list(Mapped(FakeSteps(), items, batch=batch))
    failed = found.pop(2)
    assert values(found) == [0, 1, 3, 4, 5]
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, kind)
    assert failed.to_json() == {"error": reason}
    assert failed.rows() == [{"error": reason}]


def test_a_batch_that_fails_runs_one_by_one() -> None:
    steps = FakeSteps()
    list(Mapped(steps, [0, "bad run", 2], batch=3))
    assert steps.groups == [[0, "bad run", 2], [0], ["bad run"], [2]]


def test_everything_may_fail() -> None:
    found = list(Mapped(FakeSteps(), ["unread"] * 9, batch=4))
    assert [type(each) for each in found] == [Failed] * 9


def test_errors_are_raised_where_that_is_wanted() -> None:
    mapped = Mapped(FakeSteps(), [0, "unread", 2], errors="raise")
    assert next(mapped) == Number(0)
    with pytest.raises(DataError, match="unread cannot be read"):
        next(mapped)
    assert not ours()
    assert list(mapped) == []


@pytest.mark.parametrize("batch", [1, 4])
def test_an_exception_of_the_iterable_comes_after_the_results_before_it(batch: int) -> None:
    def items() -> Iterator[int]:
        yield from range(6)
        raise BrokenError("the source broke")

    mapped = Mapped(FakeSteps(), items(), batch=batch)
    found = values(itertools.islice(mapped, 6))
    assert found == list(range(6))
    with pytest.raises(BrokenError, match="the source broke"):
        next(mapped)
    assert not ours()
    assert list(mapped) == []


def test_what_is_no_iterable_is_refused_at_once() -> None:
    with pytest.raises(TypeError):
        Mapped(FakeSteps(), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["prepare", "run", "decode"])
def test_a_worker_that_dies_holds_nobody_up(where: str) -> None:
    """Not an exception of the program but its end, as by `sys.exit` in somebody's transform."""

    def leave(step: str, item: Any) -> None:
        if step == where and item == 1:
            raise SystemExit

    mapped = Mapped(FakeSteps(before=leave), [0, 1, 2])
    with pytest.raises(SystemExit):
        list(mapped)
    assert not ours()


# --- ending early -------------------------------------------------------------------------------


def test_close_stops_at_once_and_leaves_no_thread() -> None:
    going = threading.Event()
    started: list[int] = []

    def before(step: str, item: Any) -> None:
        if step == "prepare" and item > 0:
            started.append(item)
            going.set()
            time.sleep(0.05)

    mapped = Mapped(FakeSteps(before=before), itertools.count(), workers=1, in_flight=40)
    assert next(mapped) == Number(0)
    assert going.wait(10)
    start = time.monotonic()
    mapped.close()
    assert time.monotonic() - start < 1, "39 inputs that wait would have taken two seconds"
    assert not ours()
    assert len(started) <= 3, "what waits is dropped"
    assert list(mapped) == []
    mapped.close()


def test_close_while_the_engine_waits_for_an_input() -> None:
    """The engine's thread waits for inputs that will now never be prepared."""
    going = threading.Event()

    def before(step: str, item: Any) -> None:
        if step == "prepare" and item == 1:
            going.set()
            time.sleep(0.05)

    mapped = Mapped(FakeSteps(before=before), itertools.count(), workers=1, in_flight=9)
    next(mapped)
    assert going.wait(10)
    mapped.close()
    assert not ours()


def test_the_end_of_a_with_block_stops_it() -> None:
    with Mapped(FakeSteps(), itertools.count()) as mapped:
        next(mapped)
        assert ours()
    assert not ours()
    assert list(mapped) == []


def test_a_stop_by_the_user_stops_it() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise KeyboardInterrupt

    mapped = Mapped(FakeSteps(), items(), in_flight=9)
    with pytest.raises(KeyboardInterrupt):
        list(mapped)
    assert not ours()


def test_nobody_needs_to_close_what_ran_to_its_end() -> None:
    mapped = Mapped(FakeSteps(), range(5))
    list(mapped)
    assert not ours()


def test_a_loop_that_is_left_stops_it() -> None:
    def first() -> int:
        for result in Mapped(FakeSteps(), itertools.count()):
            return result.value  # type: ignore[attr-defined]
        raise AssertionError

    assert first() == 0
    assert not ours()


# --- with a real model --------------------------------------------------------------------------


def test_map_answers_as_one_by_one(small_bundle: Path, pictures: Path) -> None:
    files = sorted(pictures.iterdir())
    with load(small_bundle, threads=1) as predictor:
        mapped = predictor.map(iter([*files, pictures / "missing.png", *files]))
        found = list(mapped)
        failed = found.pop(len(files))
        assert found == [predictor(file) for file in [*files, *files]]
        assert isinstance(failed, Failed)
        assert failed.reason.startswith(f"There is no picture {pictures / 'missing.png'}.")
        assert list(found[0].timing_ms) == ["decode", "resize", "normalize", "inference", "result"]


@pytest.mark.parametrize("batch", [None, 1, 3, 9])
def test_map_answers_as_a_list_does(batch: int | None, batch_bundle: Path, pictures: Path) -> None:
    files = sorted(pictures.iterdir())[:11]
    with load(batch_bundle, threads=1) as predictor:
        found: list[Any] = list(predictor.map(files, batch=batch))
        for one, other in zip(found, predictor(files), strict=True):
            assert one.label == other.label
            assert one.score == pytest.approx(other.score, rel=1e-4)


def test_a_predictor_is_used_step_by_step(small_bundle: Path) -> None:
    with load(small_bundle, threads=1) as predictor:
        assert steps_of(predictor) is predictor


def test_what_only_answers_is_called_as_a_whole() -> None:
    def double(item: int) -> Number:
        return Number(2 * item)

    assert values(Mapped(steps_of(double), range(4))) == [0, 2, 4, 6]


def test_a_caller_may_use_the_predictor_meanwhile(small_bundle: Path, pictures: Path) -> None:
    files = sorted(pictures.iterdir())
    with load(small_bundle, threads=1) as predictor:
        for file, result in zip(files, predictor.map(files), strict=True):
            assert predictor(file) == result
