"""From the scores of a head to candidates: which places may hold something, and of which class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelport.errors import EngineError
from modelport.runtime.decoding.head_parts import floats
from modelport.runtime.decoding.reading import logit, sigmoid, softmax
from modelport.types import Array

Activation = Literal["none", "sigmoid", "softmax"]
Background = Literal["none", "first", "last"]
Joining = Literal["product", "root"]

_SLACK = 1e-4
"""Of a logit: what is thrown away by it stays below the threshold whatever the rounding."""


@dataclass(frozen=True)
class Scoring:
    """Attributes:
    activation: of the class scores and of the objectness; `softmax` only of the class scores.
    background: which column is no class.
    joining: of class score and objectness: their `product`, or the `root` of that.
    multi_label: whether a place may hold several classes.
    threshold: scores must be more than this.
    """

    activation: Activation = "none"
    objectness: Literal["none", "sigmoid"] = "none"
    background: Background = "none"
    joining: Joining = "product"
    multi_label: bool = False
    threshold: float = 0.0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Attributes:
    rows: N, the places.
    classes: N, columns of the scores without that of the background.
    scores: N, more than the threshold.
    """

    rows: Array
    classes: Array
    scores: Array

    def take(self, chosen: Array) -> Candidates:
        return Candidates(self.rows[chosen], self.classes[chosen], self.scores[chosen])


def find_candidates(scores: Array, objectness: Array | None, how: Scoring) -> Candidates:
    """What passes the threshold, in order of places.

    Most places hold nothing, so they are left out before anything is calculated for them. Class scores
    and objectness are at most 1 once activated.

    Args:
        scores: places x classes as the model gives them, background included.
        objectness: one number for each place, or None.

    Raises:
        EngineError: where a score that decides is NaN.
    """
    rows = _promising(scores, objectness, how)
    shares = _activated(scores[rows], how)
    if objectness is not None:
        there = floats(objectness[rows])
        there = sigmoid(there) if how.objectness == "sigmoid" else there
        shares = shares * there[:, None]
        if how.joining == "root":
            shares = np.sqrt(shares)
    if how.multi_label:
        place, column = np.nonzero(shares > how.threshold)
        return Candidates(rows[place], column, shares[place, column])
    if not shares.shape[1]:
        return Candidates(rows[:0], rows[:0], np.empty(0, np.float32))
    best = shares.argmax(1)
    values = shares[np.arange(len(rows)), best]
    passed = values > how.threshold
    return Candidates(rows[passed], best[passed], values[passed])


def _promising(scores: Array, objectness: Array | None, how: Scoring) -> Array:
    """Places that may pass, in order."""
    if objectness is not None:
        least = how.threshold**2 if how.joining == "root" else how.threshold
        if how.objectness == "sigmoid":
            least = logit(least) - _SLACK
        return _above(floats(objectness), least)
    if how.activation == "softmax":
        if not np.isfinite(scores).all():
            raise _not_a_number()
        return np.arange(len(scores))
    least = logit(how.threshold) - _SLACK if how.activation == "sigmoid" else how.threshold
    classes = _without_background(scores, how.background)
    if not classes.shape[1]:
        return np.empty(0, np.intp)
    return _above(classes.max(1), least)


def _above(values: Array, least: float) -> Array:
    if math.isnan(float(values.sum(dtype=np.float64))) and np.isnan(values).any():
        raise _not_a_number()
    return np.flatnonzero(values > least)


def _activated(scores: Array, how: Scoring) -> Array:
    """Probabilities of the classes, without the background."""
    numbers = floats(scores)
    if how.activation == "softmax":
        return _without_background(softmax(numbers, 1), how.background)
    classes = _without_background(numbers, how.background)
    if np.isnan(classes).any():
        raise _not_a_number()
    return sigmoid(classes) if how.activation == "sigmoid" else classes


def _without_background(scores: Array, background: Background) -> Array:
    if background == "none":
        return scores
    return scores[:, 1:] if background == "first" else scores[:, :-1]


def _not_a_number() -> EngineError:
    return EngineError(
        "The scores of the model hold a NaN",
        expected="numbers",
        hint="Look at the feeds, or try another variant",
    )


def best_of(candidates: Candidates, most: int, each_class: bool) -> Candidates:
    """At most so many with the highest scores, of all or of each class; their order stays."""
    if len(candidates.rows) <= most:
        return candidates
    order = np.argsort(-candidates.scores, kind="stable")
    if each_class:
        groups = candidates.classes[order]
        together = np.argsort(groups, kind="stable")
        starts = np.searchsorted(groups[together], groups[together])
        order = order[together[np.arange(len(order)) - starts < most]]
    else:
        order = order[:most]
    return candidates.take(np.sort(order))


def peaks(scores: Array, grid: tuple[int, int], window: int) -> Array:
    """Scores of a map with minus infinity where a neighbour is higher (Zhou et al., 2019).

    Args:
        scores: (height * width) x classes.
        window: odd side of the square that a peak is the highest of.
    """
    maps = floats(scores).reshape(*grid, -1)
    highest, reach = maps, window // 2
    for axis in (0, 1):
        width = [(reach, reach) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(highest, width, constant_values=-np.inf)
        size = highest.shape[axis]
        shifts = [padded.take(range(step, step + size), axis) for step in range(window)]
        highest = np.maximum.reduce(shifts)
    return np.where(highest == maps, maps, -np.inf).reshape(scores.shape)
