"""Which candidates no other beats in everything at once."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.tune.select import Candidate

NO_LOSS = 1e-5
"""Losses below it are rounding, and counted as none."""


def is_measured(candidate: Candidate) -> bool:
    """Whether its place is known: it is the same model, with a latency and a loss."""
    fidelity = candidate.fidelity
    return (
        candidate.latency is not None
        and fidelity is not None
        and fidelity.passed
        and fidelity.loss is not None
    )


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those than which none is both faster and closer to the source, from fast to slow."""
    measured = sorted((c for c in candidates if is_measured(c)), key=place)
    best, found = float("inf"), []
    for candidate in measured:
        if place(candidate)[1] < best:
            best = place(candidate)[1]
            found.append(candidate)
    return found


def place(candidate: Candidate) -> tuple[float, float]:
    """Median latency in milliseconds, and loss as a share, of one that is measured."""
    assert candidate.latency is not None
    assert candidate.fidelity is not None
    assert candidate.fidelity.loss is not None
    loss = candidate.fidelity.loss
    return candidate.latency.median_ms, loss if loss > NO_LOSS else 0.0
