"""From a source to a graph that is proved equal to it, with the exporter that manages it best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from modelport.engines import ENGINES
from modelport.engines.base import Session
from modelport.engines.scratch import opened
from modelport.errors import EngineError, ExportError, ModelportError, VerificationError
from modelport.frontends.isolation import deadline
from modelport.frontends.operators import read_operators
from modelport.frontends.options import TORCH_EXPORT
from modelport.frontends.source import LoadedSource
from modelport.graph import operators
from modelport.profile.latency import time_sessions
from modelport.types import Feeds, Outputs, Target
from modelport.verify.compare import compare, run_all
from modelport.verify.rounding import as_exact, worst_db

if TYPE_CHECKING:
    from modelport.frontends.rewrites import Fired

CLOSE_CALL = 1.05
"""Latencies closer than this ratio decide nothing: the graph with more of the module's structure wins."""


MAGNIFIES = "the model magnifies rounding"


@dataclass
class Attempt:
    """What became of one exporter.

    Attributes:
        problem: why its graph is not used, in words; None where it is correct.
        latency_ms: of its graph in ONNX Runtime, where two were compared.
    """

    exporter: str
    graph: ir.Model | None = None
    problem: ModelportError | None = None
    seconds: float = 0.0
    latency_ms: float | None = None
    fired: Sequence[Fired] = ()

    def describe(self) -> str:
        if self.problem is not None:
            kind = "wrong" if isinstance(self.problem, VerificationError) else "failed"
            return f"{self.exporter}: {kind}: {self.problem}"
        assert self.graph is not None
        latency = "" if self.latency_ms is None else f", {self.latency_ms:.2f} ms"
        return f"{self.exporter}: correct, {self.graph.graph.num_nodes()} nodes{latency}"


@dataclass(frozen=True)
class ExportedGraph:
    """Attributes:
    exporter: the one whose graph this is; empty where the source was a graph.
    reason: why this one, in words.
    attempts: what every exporter that was tried came to, in words.
    """

    graph: ir.Model
    exporter: str = ""
    reason: str = ""
    attempts: Sequence[str] = ()
    fired: Sequence[Fired] = field(default_factory=tuple)


def export_proven(
    loaded: LoadedSource, announce: Callable[[str], None], *, check: bool = True
) -> ExportedGraph:
    """Exports with one exporter after the other until a graph is correct; with both to cross-check.

    Args:
        announce: hears the name of each exporter before it is tried.
        check: whether graphs are compared with the source; without it, the first one counts.

    Raises:
        ModelportError: the first exporter's failure, with what became of the others.
    """
    if not loaded.exporters:
        graph = _with_operators(loaded.to_graph(), loaded)
        if check:
            _demand_equality(loaded, graph)
        return ExportedGraph(graph)
    attempts: list[Attempt] = []
    for exporter in loaded.options.to_try(loaded.exporters):
        announce(exporter)
        attempts.append(_attempt(loaded, exporter, check))
        if attempts[-1].problem is None and not loaded.options.cross_check:
            break
    correct = [attempt for attempt in attempts if attempt.problem is None]
    if not correct:
        raise _failure(attempts)
    loaded.notes += [f"not used: {a.describe()}" for a in attempts if a.problem is not None]
    chosen, reason = _best(loaded, correct, attempts)
    assert chosen.graph is not None
    return ExportedGraph(
        chosen.graph, chosen.exporter, reason, [a.describe() for a in attempts], chosen.fired
    )


def _attempt(loaded: LoadedSource, exporter: str, check: bool) -> Attempt:
    start = time.perf_counter()
    attempt = Attempt(exporter)
    try:
        with deadline(loaded.options.time_limit_s, f"The export with {exporter}"):
            attempt.graph = _with_operators(loaded.to_graph(exporter), loaded)
        attempt.fired = loaded.fired
        if check:
            _demand_equality(loaded, attempt.graph)
    except ModelportError as error:
        attempt.problem = error
    attempt.seconds = time.perf_counter() - start
    return attempt


def _with_operators(graph: ir.Model, loaded: LoadedSource) -> ir.Model:
    """The graph with the user's libraries of operators, for every engine that is to run it."""
    operators.declare(graph, read_operators(loaded.source.operators))
    return graph


def _failure(attempts: Sequence[Attempt]) -> ModelportError:
    """The first error, which has the most to say, and one sentence on each other exporter."""
    first = attempts[0].problem
    assert first is not None
    others = [f"{a.exporter}: {a.problem.seen}" for a in attempts[1:] if a.problem is not None]
    if others:
        first.seen = f"{first.seen.rstrip('.')}. Tried next, {'; '.join(others)}"
    return first


def _best(
    loaded: LoadedSource, correct: Sequence[Attempt], attempts: Sequence[Attempt]
) -> tuple[Attempt, str]:
    if len(correct) == 1:
        if len(attempts) == 1:
            return correct[0], "it was tried first and its graph is correct"
        return correct[0], "it alone gave a correct graph"
    _time(loaded, correct)
    by_speed = sorted(correct, key=lambda attempt: attempt.latency_ms or 0.0)
    favourite = next((a for a in correct if a.exporter == TORCH_EXPORT), by_speed[0])
    ratio = (favourite.latency_ms or 0.0) / (by_speed[0].latency_ms or 1.0)
    if ratio <= CLOSE_CALL:
        return favourite, "both graphs are correct and equally fast; this one keeps more names"
    return by_speed[0], f"both graphs are correct and this one is {ratio:.2f}x faster"


def _time(loaded: LoadedSource, correct: Sequence[Attempt]) -> None:
    engine = ENGINES.get("onnxruntime")
    with ExitStack() as stack:
        sessions = {}
        for attempt in correct:
            assert attempt.graph is not None
            sessions[attempt.exporter] = stack.enter_context(
                opened(engine, attempt.graph, Target())
            )
        latencies = time_sessions(sessions, loaded.example_feeds(1))
    for attempt in correct:
        attempt.latency_ms = latencies[attempt.exporter].median_ms


def _demand_equality(loaded: LoadedSource, graph: ir.Model) -> None:
    with loaded.oracle(graph) as oracle:
        prove_export(loaded, graph, oracle)


def prove_export(loaded: LoadedSource, graph: ir.Model, oracle: Session) -> None:
    """Compares the graph with the source on two random feeds and, where sizes are free, at more sizes.

    A random feed reaches what real data may not, and no constant that was baked in at tracing can
    match two of them. Sizes are the smallest, a typical and the largest.

    Raises:
        VerificationError: where they differ.
    """
    feeds = [loaded.example_feeds(seed) for seed in (1, 2)]
    feeds += [*loaded.other_sizes(3), *loaded.further_feeds()]
    want = [_truth(oracle, feed) for feed in feeds]
    with _session(graph) as session:
        for feed, one in zip(feeds, want, strict=True):
            _demand_one(loaded, graph, session, feed, one)
    _demand_movement(loaded, feeds, want)


@contextmanager
def _session(graph: ir.Model) -> Iterator[Session]:
    try:
        stack = ExitStack()
        session = stack.enter_context(opened(ENGINES.get("onnxruntime"), graph, Target()))
    except EngineError as error:
        lacking = operators.lacking(graph, "onnxruntime")
        if lacking is not None:
            raise VerificationError(
                f"The exported graph cannot be proved, because {lacking[0]}", hint=lacking[1]
            ) from error
        raise VerificationError(
            f"The exported graph cannot be proved, because ONNX Runtime does not take it: {error.seen}",
            hint="modelport check --engines onnxruntime names the line of each operator it lacks",
        ) from error
    with stack:
        yield session


def _truth(oracle: Session, feed: Feeds) -> Outputs:
    try:
        return run_all(oracle, [feed])[0]
    except EngineError as error:
        raise ExportError(
            f"The source itself fails for {_sizes(feed)}: {error.seen}",
            hint="Allow fewer sizes in --input; a range in steps is written 32..640/32, say",
        ) from error


def _sizes(feed: Feeds) -> str:
    return ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())


def _demand_one(
    loaded: LoadedSource, graph: ir.Model, session: Session, feed: Feeds, want: Outputs
) -> None:
    sizes = _sizes(feed)
    try:
        got = session.run(feed)
    except ModelportError as error:
        raise VerificationError(
            f"The exported graph does not run for {sizes}: {error.seen}",
            hint="A size was fixed while tracing: compute it from x.shape, or give it as a plain "
            "number in --input",
        ) from error
    fidelity = compare([want], [got], session.signature, "fp32", classes=False)
    if fidelity.passed:
        return
    rounding = _rounding(loaded, graph, feed, want, got)
    if rounding is None:
        raise VerificationError(
            f"The exported graph differs from the source for {sizes}: {'; '.join(fidelity.reasons)}",
            hint="Something was fixed while tracing: look for Python numbers computed from tensors, "
            "and for random operations",
        )
    if not any(note.startswith(MAGNIFIES) for note in loaded.notes):
        loaded.notes.append(rounding)


def _rounding(
    loaded: LoadedSource, graph: ir.Model, feed: Feeds, want: Outputs, got: Outputs
) -> str | None:
    """A note where a difference is the source's own rounding, else None."""
    exact = None
    if all(want[name].shape == got[name].shape for name in want):
        exact = loaded.exact(graph, feed)
    if exact is None or not as_exact(exact, want, got):
        return None
    return (
        f"{MAGNIFIES}: in float32 it comes within "
        f"{worst_db(exact, want):.0f} dB of its results in double precision, and the graph as close"
    )


def _demand_movement(
    loaded: LoadedSource, feeds: Sequence[Feeds], outputs: Sequence[Outputs]
) -> None:
    """Equality proves nothing of a network whose output is the same for every input."""
    first, second = outputs[0], outputs[1]
    if not feeds[0] or any(not np.array_equal(first[name], second[name]) for name in first):
        return
    note = (
        "two different random inputs gave the same outputs, so equality with the source proves "
        "little; are the weights loaded?"
    )
    if note not in loaded.notes:
        loaded.notes.append(note)
