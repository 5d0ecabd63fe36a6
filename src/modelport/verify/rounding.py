"""Tells rounding from mistakes where a model magnifies the last bits of its numbers.

A network whose layers magnify rounding a thousandfold gives results that two correct programs do not
share to the usual number of digits. What both are close to is the result of the same network in double
precision: a program that is as close to it as the source is as right as the source.
"""

from __future__ import annotations

import numpy as np

from modelport.types import Array, Outputs
from modelport.verify.metrics import sqnr_db, without_common_infinities

SLACK_DB = 6.0
"""Twice the error: two programs that round differently differ by chance in how far off they are."""

LEAST_DB = 30.0
"""Below it (errors of 3 %) rounding hides too much for closeness to prove anything."""


def as_exact(exact: Outputs, source: Outputs, other: Outputs) -> bool:
    """Whether every output of `other` is as close to the exact one as the source's own.

    Outputs of integers and booleans must be equal.
    """
    return all(_is_as_exact(exact[name], source[name], other[name]) for name in source)


def worst_db(exact: Outputs, source: Outputs) -> float:
    """How close the source itself comes to the exact results, for the output that is furthest off."""
    return min(_closeness_db(exact[name], array) for name, array in source.items())


def _is_as_exact(exact: Array, source: Array, other: Array) -> bool:
    if source.dtype.kind != "f":
        return bool((source == other).all())
    own = _closeness_db(exact, source)
    return own >= LEAST_DB and _closeness_db(exact, other) >= own - SLACK_DB


def _closeness_db(exact: Array, array: Array) -> float:
    want, got = without_common_infinities(exact.astype("float64"), array.astype("float64"))
    if not (np.isfinite(want).all() and np.isfinite(got).all()):
        return -np.inf
    return sqnr_db(want, got)
