"""How libraries bring fractions of a pixel to whole ones."""

from __future__ import annotations

import math
from typing import Literal

Rounding = Literal["floor", "nearest", "half-even", "ceil"]
"""`floor` as `int(x)`, `nearest` as `int(x + 0.5)`, `half-even` as Python's `round(x)`, `ceil`."""


def rounded(value: float, how: Rounding) -> int:
    """A whole number near a positive one."""
    if how == "floor":
        return math.floor(value)
    if how == "ceil":
        return math.ceil(value)
    return round(value) if how == "half-even" else math.floor(value + 0.5)


def pixels(value: float, how: Rounding, most: int | None = None) -> int:
    """The length of an edge: at least one pixel, and at most so many."""
    length = max(1, rounded(value, how))
    return length if most is None else min(length, most)


def multiple(length: float, divisor: int, how: Rounding) -> int:
    """The multiple of a number that a length is rounded to: at least once the number."""
    return max(1, rounded(length / divisor, how)) * divisor


def halved(spare: int, how: Literal["half-even", "floor", "ceil"]) -> int:
    """The margin before a thing in the middle, where `spare` pixels are left; none is negative."""
    return rounded(spare / 2, how)
