"""Who is called how often, in which order, and what becomes of the times. Nothing here is timed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from modelport.engines.null import NullSession
from modelport.errors import EngineError
from modelport.profile import latency
from modelport.profile.latency import Latency, interleaved, time_sessions
from modelport.types import Feeds, Outputs, Signature, TensorSpec


class Clock:
    """A clock that moves only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(latency.time, "sleep", self.advance)

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def taking(self, *milliseconds: float) -> Callable[[], None]:
        """A call that takes those times, in turn."""
        times = itertools.cycle(milliseconds)
        return lambda: self.advance(next(times) / 1e3)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_calls_take_turns(clock: Clock) -> None:
    heard: list[str] = []
    calls = {name: (lambda n=name: heard.append(n)) for name in "abc"}
    interleaved(calls, rounds=20, warm=1, counted=2)
    turns = "".join(heard)
    for name in "abc":
        assert turns.replace(name * 3, "").count(name) == 0, "a turn is whole"
    rounds = {turns[at : at + 9 : 3] for at in range(0, len(turns), 9)}
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds), "all have a turn in each round"
    assert {each[0] for each in rounds} == {"a", "b", "c"}, "nobody is always the first"


def test_each_call_is_made_as_often(clock: Clock) -> None:
    counts = {"a": 0, "b": 0}

    def counting(name: str) -> Callable[[], None]:
        def call() -> None:
            counts[name] += 1

        return call

    found = interleaved({name: counting(name) for name in counts}, rounds=7, warm=3, counted=5)
    assert counts == {"a": 7 * 8, "b": 7 * 8}
    assert {name: each.rounds for name, each in found.items()} == {"a": 7, "b": 7}


def test_known_times_come_out(clock: Clock) -> None:
    found = interleaved({"a": clock.taking(2.0), "b": clock.taking(0.5)}, rounds=10)
    assert list(found) == ["a", "b"]
    for name, ms in (("a", 2.0), ("b", 0.5)):
        assert found[name].median_ms == pytest.approx(ms)
        assert found[name].low_ms == pytest.approx(ms)
        assert found[name].high_ms == pytest.approx(ms)


def test_warm_calls_are_not_counted(clock: Clock) -> None:
    found = interleaved({"a": clock.taking(90, 80, 70, 1, 1)}, rounds=5, warm=3, counted=2)
    assert found["a"].median_ms == pytest.approx(1.0)


def test_a_single_hiccup_within_a_turn_is_ignored(clock: Clock) -> None:
    found = interleaved({"a": clock.taking(1, 1, 500, 1, 1)}, rounds=6, warm=0, counted=5)
    assert found["a"].high_ms == pytest.approx(1.0)


def test_percentiles_are_over_the_rounds(clock: Clock) -> None:
    found = interleaved({"a": clock.taking(*range(1, 12))}, rounds=11, warm=0, counted=1)
    assert found["a"].low_ms == pytest.approx(2.0)
    assert found["a"].median_ms == pytest.approx(6.0)
    assert found["a"].high_ms == pytest.approx(10.0)
    assert found["a"].rounds == 11


def test_budget_ends_the_rounds_but_never_before_five(clock: Clock) -> None:
    slow = interleaved({"a": clock.taking(1000)}, rounds=30, warm=0, counted=1, budget_s=0.001)
    assert slow["a"].rounds == 5
    some = interleaved({"a": clock.taking(1000)}, rounds=30, warm=0, counted=1, budget_s=7.5)
    assert some["a"].rounds == 8


def test_every_call_has_the_same_number_of_rounds_when_time_runs_out(clock: Clock) -> None:
    found = interleaved({"slow": clock.taking(4000), "fast": clock.taking(1)}, budget_s=100)
    assert found["slow"].rounds == found["fast"].rounds == 5


def test_no_calls_give_no_latencies(clock: Clock) -> None:
    assert interleaved({}, rounds=3) == {}


def test_what_a_call_raises_reaches_the_caller(clock: Clock) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleaved({"a": broken})


class CountingSession(NullSession):
    def __init__(self, signature: Signature) -> None:
        super().__init__(signature, "null")
        self.fed: list[Feeds] = []

    def _run(self, feeds: Feeds) -> Outputs:
        self.fed.append(feeds)
        return super()._run(feeds)


def test_sessions_are_run_on_the_feeds(clock: Clock) -> None:
    signature = Signature((TensorSpec("x", "float32", (1,)),), (TensorSpec("y", "float32", (1,)),))
    sessions = {name: CountingSession(signature) for name in ("a", "b")}
    feeds = {"x": np.zeros(1, np.float32)}
    found = time_sessions(sessions, feeds, rounds=5)
    assert set(found) == {"a", "b"}
    assert all(isinstance(each, Latency) for each in found.values())
    for session in sessions.values():
        assert len(session.fed) == 5 * (3 + 5)
        assert all(fed is feeds for fed in session.fed)


def test_a_session_that_fails_while_timed_is_left_out() -> None:
    class Fails(NullSession):
        def _run(self, feeds: Feeds) -> Outputs:
            if len(ran) > 6:
                raise RuntimeError("it went away")
            ran.append(1)
            return super()._run(feeds)

    ran: list[int] = []
    spec = TensorSpec("x", "float32", (1, 2))
    signature = Signature((spec,), (TensorSpec("y", "float32", (1, 2)),))
    sessions = {"good": NullSession(signature, "null"), "bad": Fails(signature, "null")}
    feeds = {"x": np.zeros((1, 2), np.float32)}
    failed: dict[str, str] = {}
    assert list(time_sessions(sessions, feeds, rounds=2, failed=failed)) == ["good"]
    assert failed == {"bad": "null failed while running: it went away."}
    with pytest.raises(EngineError, match="it went away"):
        time_sessions(sessions, feeds, rounds=2)
