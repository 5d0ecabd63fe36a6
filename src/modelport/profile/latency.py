"""Times several sessions against each other on a machine that is never quite still.

All sessions take turns, round after round, so that a slow minute hits every one of them. Medians are
compared, never means, and each turn begins with calls that are not counted: the engine before has
cold-started the caches, and its worker threads may still be going to sleep. Each round has an order of its
own, drawn with a fixed seed: who always came after the same engine would always pay for its threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from modelport.engines.base import Session
from modelport.errors import ModelportError
from modelport.types import Feeds

PAUSE_S = 0.002
"""Between turns; long enough for worker threads of the last engine to stop spinning."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call: median, and the 10th and 90th percentile of the rounds."""

    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 30,
    warm: int = 3,
    counted: int = 5,
    budget_s: float = 20.0,
) -> dict[str, Latency]:
    """Times each call in turn.

    Args:
        calls: what to time, by name.
        rounds: how often each has its turn; fewer where `budget_s` runs out, never under 5.
        warm, counted: calls of a turn that are not counted, and that are; a turn's time is the
            median of the counted ones.
        budget_s: wall-clock seconds for everything.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names, dice = list(calls), np.random.default_rng(0)
    end = time.perf_counter() + budget_s
    for done in range(rounds):
        if done >= 5 and time.perf_counter() > end:
            break
        for name in dice.permutation(names):
            time.sleep(PAUSE_S)
            for _ in range(warm):
                calls[name]()
            times[name].append(_turn(calls[name], counted))
    return {name: _latency(values) for name, values in times.items()}


def time_sessions(
    sessions: Mapping[str, Session],
    feeds: Feeds,
    *,
    rounds: int = 30,
    warm: int = 3,
    counted: int = 5,
    budget_s: float = 20.0,
    failed: dict[str, str] | None = None,
) -> dict[str, Latency]:
    """Times a run of each session on the same feeds.

    Args:
        rounds, warm, counted, budget_s: as of `interleaved`.
        failed: takes the words of sessions that fail while they are timed, which then are left out;
            without it the first such error is raised.
    """
    left = dict(sessions)
    while left:
        try:
            calls = {name: partial(_run, name, session, feeds) for name, session in left.items()}
            return interleaved(calls, rounds=rounds, warm=warm, counted=counted, budget_s=budget_s)
        except _StoppedError as stopped:
            if failed is None:
                raise stopped.error from None
            failed[stopped.name] = str(stopped.error)
            del left[stopped.name]
    return {}


class _StoppedError(Exception):
    """Which session failed, and how."""

    def __init__(self, name: str, error: ModelportError) -> None:
        super().__init__(name)
        self.name, self.error = name, error


def _run(name: str, session: Session, feeds: Feeds) -> None:
    try:
        session.run(feeds)
    except ModelportError as error:
        raise _StoppedError(name, error) from error


def _turn(call: Callable[[], object], counted: int) -> float:
    times = []
    for _ in range(counted):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


def _latency(times_ms: list[float]) -> Latency:
    low, median, high = np.percentile(times_ms, [10, 50, 90])
    return Latency(float(median), float(low), float(high), len(times_ms))
