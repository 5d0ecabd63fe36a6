"""Runs every variant on the data: how close it is to the source, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from modelport.deployment.data import Data
from modelport.deployment.starting import start
from modelport.engines import ENGINES
from modelport.engines.base import Engine, Session
from modelport.errors import EngineError
from modelport.profile.latency import time_sessions
from modelport.tune.limits import NO_LIMITS, Limits
from modelport.tune.select import Candidate
from modelport.types import Outputs, Signature
from modelport.variants import Compiled
from modelport.verify.compare import Fidelity, compare, run_all


@dataclass(frozen=True)
class Judge:
    """What the source gave, and how outputs are compared with it."""

    truth: list[Outputs]
    intended: list[Outputs] | None
    classes: bool

    def __call__(self, outputs: list[Outputs], signature: Signature, precision: str) -> Fidelity:
        return compare(
            self.truth, outputs, signature, precision, classes=self.classes, intended=self.intended
        )


@dataclass
class Measured:
    """What became of each variant, by name."""

    opened: dict[str, Session] = field(default_factory=dict)
    fidelities: dict[str, Fidelity] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    starts: dict[str, dict[str, Any]] = field(default_factory=dict)


def measure(
    compiled: Sequence[Compiled],
    data: Data,
    judge: Judge,
    threads: int,
    sessions: ExitStack,
    limits: Limits = NO_LIMITS,
) -> dict[str, Candidate]:
    """Fidelity of every variant, and the latency of all that run, measured in turn.

    Args:
        limits: of which those on memory and start-up are measured only where they are given.
        sessions: closes what is opened here.
    """
    found = Measured()
    for item in compiled:
        _run(item, data, judge, threads, sessions, found)
        if limits.need_a_start and item.plan.name in found.opened:
            _start(item, data, threads, found)
    latencies = time_sessions(found.opened, data.feeds[0], failed=found.problems)
    return {
        name: Candidate(
            name,
            found.fidelities.get(name),
            latencies.get(name),
            found.problems.get(name),
            found.elsewhere.get(name),
            size_bytes=None if item.artifact is None else item.artifact.size_bytes,
            **found.starts.get(name, {}),
        )
        for name, item in ((item.plan.name, item) for item in compiled)
    }


def times_say_nothing(engine: Engine) -> str:
    """Why a variant that runs here is not timed."""
    return f"{engine.name} only emulates {engine.emulates} here, so its times say nothing"


def _start(item: Compiled, data: Data, threads: int, found: Measured) -> None:
    name = item.plan.name
    assert item.artifact is not None
    try:
        found.starts[name] = asdict(start(item.artifact, data.feeds[0], threads))
    except EngineError as error:
        found.problems[name] = str(error)


def _run(
    item: Compiled, data: Data, judge: Judge, threads: int, sessions: ExitStack, found: Measured
) -> None:
    name = item.plan.name
    if item.artifact is None:
        found.problems[name] = item.problem or "it was not compiled"
        return
    engine = ENGINES.get(item.plan.engine)
    if (reason := engine.cannot_run()) is not None:
        found.elsewhere[name] = reason
        return
    try:
        with ExitStack() as trial:
            # Its first run may be its last: in a worker it takes nothing else along.
            session = trial.enter_context(
                engine.load(item.artifact, threads=threads, isolated=not engine.trusted)
            )
            outputs = run_all(session, data.feeds)
            if engine.trusted or not engine.runs_here():
                sessions.push(trial.pop_all())
            else:
                trial.close()
                session = sessions.enter_context(engine.load(item.artifact, threads=threads))
    except Exception as error:
        found.problems[name] = str(error)
        return
    if engine.emulates:
        found.elsewhere[name] = times_say_nothing(engine)
    else:
        found.opened[name] = session
    found.fidelities[name] = judge(outputs, session.signature, item.plan.target.precision)
