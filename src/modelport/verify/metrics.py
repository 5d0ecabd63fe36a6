"""How close outputs are to those of the source model.

All measures work on arrays whose first axis counts samples, and in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.types import Array

SQNR_CEILING_DB = 200.0
"""Stands for equality: float64 cannot tell apart what is closer."""


@dataclass(frozen=True)
class Closeness:
    """Measures over a set of samples; None where outputs are not finite or a measure has no meaning.

    Attributes:
        cosine_mean, cosine_min: cosine similarity of a sample's outputs to the source's.
        max_abs_error: largest difference of any element.
        sqnr_db: signal to quantization noise, 10 log10(sum(source^2) / sum(difference^2)).
        top1_agreement: share of samples whose largest output is the same one; classifiers only.
        expected_top1_loss: expected share of right answers lost; see `expected_top1_loss`.
        non_finite: how many elements are NaN or infinite where the source's are not; infinities that
            both have in the same places count as equal.
    """

    samples: int
    cosine_mean: float | None
    cosine_min: float | None
    max_abs_error: float | None
    sqnr_db: float | None
    top1_agreement: float | None
    expected_top1_loss: float | None
    non_finite: int


def closeness(source: Array, other: Array, *, classes: bool) -> Closeness:
    """Compares one output of two models.

    Args:
        source, other: samples first, equal shapes.
        classes: whether each sample is a vector of scores, one to a class.
    """
    if not source.size:  # nothing was found, by either: equal
        return Closeness(len(source), 1.0, 1.0, 0.0, SQNR_CEILING_DB, None, None, 0)
    want = source.reshape(len(source), -1).astype(np.float64)
    got = other.reshape(len(other), -1).astype(np.float64)
    want, got = without_common_infinities(want, got)
    non_finite = int(np.count_nonzero(~np.isfinite(got) & ~np.isnan(want)))
    if non_finite or not np.isfinite(want).all():
        return Closeness(len(want), None, None, None, None, None, None, non_finite)
    cosines = cosine(want, got)
    return Closeness(
        samples=len(want),
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        max_abs_error=float(np.abs(want - got).max(initial=0.0)),
        sqnr_db=sqnr_db(want, got),
        top1_agreement=float((want.argmax(1) == got.argmax(1)).mean()) if classes else None,
        expected_top1_loss=expected_top1_loss(want, got) if classes else None,
        non_finite=0,
    )


def without_common_infinities(want: Array, got: Array) -> tuple[Array, Array]:
    """Both with zeros where both have the same infinity, as masked scores do."""
    common = np.isinf(want) & (want == got)
    return np.where(common, 0.0, want), np.where(common, 0.0, got)


def cosine(want: Array, got: Array) -> Array:
    """Cosine similarity of each row; two zero rows count as equal, one as orthogonal."""
    norms = np.linalg.norm(want, axis=1) * np.linalg.norm(got, axis=1)
    products = (want * got).sum(axis=1)
    both_zero = ~want.any(axis=1) & ~got.any(axis=1)
    return np.where(both_zero, 1.0, products / np.where(norms == 0, 1.0, norms))


def sqnr_db(want: Array, got: Array) -> float:
    noise = float(np.square(want - got).sum())
    signal = float(np.square(want).sum())
    if noise == 0:
        return SQNR_CEILING_DB
    if signal == 0:
        return -SQNR_CEILING_DB
    exact = 10 * (float(np.log10(signal)) - float(np.log10(noise)))
    return max(-SQNR_CEILING_DB, min(SQNR_CEILING_DB, exact))


def expected_top1_loss(want: Array, got: Array) -> float:
    """Expected share of right answers lost, judged by the source's own probabilities.

    For each sample: the probability (softmax) that the source gives its own answer, less the one
    that it gives the other model's answer; then the mean. A change of answer between two classes
    the source could hardly tell apart costs little, a change from a sure answer costs much, so a few
    dozen samples resolve what a count of changed answers would need thousands for. If the source is
    calibrated (its probabilities are right on average) this is the expected drop of top-1 accuracy.
    """
    if _are_probabilities(want):
        chances = want
    else:
        powers = np.exp(want - want.max(axis=1, keepdims=True))
        chances = powers / powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(want))
    own = chances[rows, want.argmax(axis=1)]
    return float((own - chances[rows, got.argmax(axis=1)]).mean())


def _are_probabilities(rows: Array) -> bool:
    return bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3))
