"""Compares a session with the source over many feeds, and gives a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from modelport.engines.base import Session
from modelport.types import Array, Feeds, Outputs, Signature
from modelport.verify.metrics import Closeness, closeness
from modelport.verify.rows import count_problem, in_order_of, row_axes
from modelport.verify.tolerances import violations


@dataclass(frozen=True)
class Fidelity:
    """Closeness of a variant to the source, and whether it is that of a healthy conversion.

    Attributes:
        by_output: measures of each output of the signature.
        loss: what the budget limits, a share between 0 and 1: the worst over the outputs of
            `expected_top1_loss` for classifiers, else of one minus the mean cosine. None where it
            cannot be computed.
        loss_kind: `expected_top1` or `cosine`.
        reasons: what is outside the tolerance of the precision; empty where it passed.
    """

    samples: int
    by_output: dict[str, Closeness]
    loss: float | None
    loss_kind: str
    reasons: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def worst(self) -> Closeness:
        """The measures of the output that is furthest from the source."""
        return min(
            self.by_output.values(), key=lambda c: -1.0 if c.cosine_mean is None else c.cosine_mean
        )


def run_all(session: Session, feeds: Sequence[Feeds]) -> list[Outputs]:
    return [session.run(feed) for feed in feeds]


def compare(
    source: Sequence[Outputs],
    other: Sequence[Outputs],
    signature: Signature,
    precision: str,
    *,
    classes: bool,
    intended: Sequence[Outputs] | None = None,
) -> Fidelity:
    """Compares outputs feed by feed, and those that are sets of rows as sets.

    Args:
        source, other: outputs of both models for the same feeds in the same order.
        precision: which tolerances apply.
        classes: whether the first output holds class scores.
        intended: what the source gives for the feeds as in training, where `source` is for feeds
            that took a short cut; the loss is then measured against these.
    """
    axes = row_axes(signature)
    reasons = _count_problems(source, other, axes) if precision == "fp32" else []
    if axes:
        pairs = zip(source, other, strict=True)
        other = [in_order_of(want, got, axes) for want, got in pairs]
    by_output: dict[str, Closeness] = {}
    for index, spec in enumerate(signature.outputs):
        want, got = _samples(source, spec.name), _samples(other, spec.name)
        problem = _shape_problem(want, got)
        if problem is not None:
            reasons.append(f"{spec.name}: {problem}")
            by_output[spec.name] = Closeness(len(want), None, None, None, None, None, None, 0)
            continue
        wants, gots = _stacked(want), _stacked(got)
        measured = closeness(wants, gots, classes=classes and index == 0)
        by_output[spec.name] = measured
        reasons += [f"{spec.name}: {text}" for text in violations(measured, precision)]
    measures = by_output
    if intended is not None and not reasons:
        measures = compare(intended, other, signature, precision, classes=classes).by_output
    return Fidelity(
        samples=len(source),
        by_output=by_output,
        loss=_loss(measures, classes),
        loss_kind="expected_top1" if classes else "cosine",
        reasons=reasons,
    )


def _count_problems(
    source: Sequence[Outputs], other: Sequence[Outputs], axes: dict[str, int]
) -> list[str]:
    """The first feed for which the two find different numbers of rows."""
    pairs = zip(source, other, strict=True)
    problems = (count_problem(want, got, axes) for want, got in pairs)
    return [problem for problem in problems if problem is not None][:1]


def _loss(by_output: dict[str, Closeness], classes: bool) -> float | None:
    measures = list(by_output.values())
    if classes:
        return measures[0].expected_top1_loss
    losses = [None if m.cosine_mean is None else max(0.0, 1 - m.cosine_mean) for m in measures]
    known = [loss for loss in losses if loss is not None]
    return max(known) if known and len(known) == len(losses) else None


def _samples(outputs: Sequence[Outputs], name: str) -> list[Array]:
    return [np.asarray(output[name]) for output in outputs]


def _shape_problem(want: list[Array], got: list[Array]) -> str | None:
    for one, other in zip(want, got, strict=True):
        if one.shape != other.shape:
            return f"shape is {list(other.shape)}, the source's is {list(one.shape)}"
    return None


def _stacked(arrays: list[Array]) -> Array:
    """One row to a sample: batches are split where all agree in shape, else a feed is one sample."""
    if arrays[0].ndim >= 2 and all(array.shape[1:] == arrays[0].shape[1:] for array in arrays):
        return np.concatenate(arrays)
    if all(array.shape == arrays[0].shape for array in arrays):
        return np.stack([array.reshape(-1) for array in arrays])
    return np.concatenate([array.reshape(-1) for array in arrays])[None]
