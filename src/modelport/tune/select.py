"""The fastest variant within the fidelity budget becomes the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelport.errors import BudgetError
from modelport.profile.latency import Latency
from modelport.tune.limits import NO_LIMITS, Limits
from modelport.verify.compare import Fidelity

CLOSE_CALL = 0.03
"""Medians this close cannot be told apart on a shared machine; fidelity decides between them."""


@dataclass(frozen=True)
class Candidate:
    """A variant with what was measured of it.

    Attributes:
        problem: why it could not be measured: it was not compiled, or it fails.
        elsewhere: why it was compiled and yet cannot be timed on this machine, whatever it is worth.
        tried: whether it was compiled at all, which a search spares most.
        size_bytes, memory_bytes, start_up_ms: as `Limits` says; None where nobody measured them.
    """

    name: str
    fidelity: Fidelity | None = None
    latency: Latency | None = None
    problem: str | None = None
    elsewhere: str | None = None
    tried: bool = True
    size_bytes: int | None = None
    memory_bytes: int | None = None
    start_up_ms: float | None = None


@dataclass(frozen=True)
class Decision:
    """`chosen`, `accepted`, `converted` or `rejected`, with the reason in words."""

    verdict: str
    reason: str


def select(
    candidates: Sequence[Candidate], budget: float, limits: Limits = NO_LIMITS
) -> dict[str, Decision]:
    """Decides on every candidate.

    Args:
        budget: the largest accepted loss, as a share: 0.01 for 1 %.

    Raises:
        BudgetError: where no candidate that runs here is close enough to the source, within the limits.
    """
    reasons = {candidate.name: _rejection(candidate, budget, limits) for candidate in candidates}
    elsewhere = {
        each.name for each in candidates if each.elsewhere and reasons[each.name] == _untimed(each)
    }
    fit = [candidate for candidate in candidates if reasons[candidate.name] is None]
    if not fit:
        tried = [candidate.name for candidate in candidates if candidate.tried]
        told = "; ".join(f"{name}: {reasons[name]}" for name in tried)
        raise BudgetError(
            f"No variant stays within the fidelity budget of {budget:.2%}"
            + (" and the other limits" if limits != NO_LIMITS else "")
            + f" ({told})",
            hint="Add an engine that runs here, such as onnxruntime, with --engines"
            if elsewhere == set(reasons)
            else "Raise --budget, give more calibration data, or allow fp32 with --precisions fp32",
        )
    chosen = _fastest(fit)
    decisions = {}
    for candidate in candidates:
        reason = reasons[candidate.name]
        if reason is not None:
            verdict = "converted" if candidate.name in elsewhere else "rejected"
            decisions[candidate.name] = Decision(verdict, reason)
        elif candidate is chosen:
            decisions[candidate.name] = Decision("chosen", _praise(candidate, fit))
        else:
            decisions[candidate.name] = Decision("accepted", _comparison(candidate, chosen))
    return decisions


def _untimed(candidate: Candidate) -> str | None:
    return None if candidate.elsewhere is None else f"not measured: {candidate.elsewhere}"


def _rejection(candidate: Candidate, budget: float, limits: Limits) -> str | None:
    fidelity, untimed = candidate.fidelity, _untimed(candidate)
    if candidate.problem is not None:
        return candidate.problem
    if fidelity is None:
        return untimed or "it was not measured"
    if not fidelity.passed:
        return f"it is not the same model: {'; '.join(fidelity.reasons)}"
    if fidelity.loss is None:
        return "its loss cannot be computed"
    if fidelity.loss > budget:
        return f"its loss of {fidelity.loss:.2%} is over the budget of {budget:.2%}"
    if candidate.latency is None:
        return untimed or "it was not timed"
    return limits.broken_by(
        latency_ms=candidate.latency.median_ms,
        size_bytes=candidate.size_bytes,
        memory_bytes=candidate.memory_bytes,
        start_up_ms=candidate.start_up_ms,
    )


def _median(candidate: Candidate) -> float:
    assert candidate.latency is not None
    return candidate.latency.median_ms


def _loss(candidate: Candidate) -> float:
    assert candidate.fidelity is not None
    assert candidate.fidelity.loss is not None
    return candidate.fidelity.loss


def _fastest(fit: Sequence[Candidate]) -> Candidate:
    best = min(_median(candidate) for candidate in fit)
    close = [candidate for candidate in fit if _median(candidate) <= best * (1 + CLOSE_CALL)]
    return min(close, key=lambda candidate: (_loss(candidate), _median(candidate)))


def _praise(chosen: Candidate, fit: Sequence[Candidate]) -> str:
    if len(fit) == 1:
        return "the only variant within the budget"
    faster = min(_median(candidate) for candidate in fit) < _median(chosen)
    return (
        f"closest to the source of those within {CLOSE_CALL:.0%} of the fastest"
        if faster
        else "the fastest variant within the budget"
    )


def _comparison(candidate: Candidate, chosen: Candidate) -> str:
    ratio = _median(candidate) / _median(chosen)
    if ratio < 1 + CLOSE_CALL:
        return "as fast as the chosen one, and further from the source"
    return f"within the budget, {ratio:.2f} times as slow as the chosen one"
