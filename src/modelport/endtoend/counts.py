"""Whole numbers that are known while the graph is built, or computed while it runs.

The sizes of a picture are known only at run time. What follows from them is computed in the graph, in
the same integers as in the runtime; where everything is known, nothing is written.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

import numpy as np

from modelport.frontends.network import Network, Tensor
from modelport.runtime.transforms.rounding import halved

Count: TypeAlias = int | Tensor
"""A number, or a tensor of int64 and shape [1]."""


class Counts:
    """Arithmetic with counts, in one network."""

    def __init__(self, net: Network) -> None:
        self.net = net

    def tensor(self, count: Count) -> Tensor:
        """As a tensor of int64 and shape [1]."""
        if isinstance(count, Tensor):
            return count
        return self.net.constant(np.array([count], np.int64))

    def row(self, *counts: Count) -> Tensor:
        """As a tensor of int64 with one element to a count: the sizes of a Resize, say."""
        if all(isinstance(count, int) for count in counts):
            return self.net.constant(np.array(counts, np.int64))
        return self.net.concat([self.tensor(count) for count in counts], axis=0)

    def number(self, count: Count, dtype: str = "float64") -> Tensor:
        """As a tensor of shape [1] of another element type."""
        return self.net.cast(self.tensor(count), dtype)

    def plus(self, left: Count, right: Count) -> Count:
        return left + right

    def minus(self, left: Count, right: Count) -> Count:
        return left - right

    def times(self, left: Count, right: Count) -> Count:
        return left * right

    def over(self, left: Count, right: Count) -> Count:
        """Rounded down; neither may be negative."""
        if isinstance(left, int) and isinstance(right, int):
            return left // right
        return self._op("Div", left, right)

    def least(self, left: Count, right: Count) -> Count:
        if isinstance(left, int) and isinstance(right, int):
            return min(left, right)
        return self._op("Min", left, right)

    def most(self, left: Count, right: Count) -> Count:
        if isinstance(left, int) and isinstance(right, int):
            return max(left, right)
        return self._op("Max", left, right)

    def odd(self, count: Count) -> Count:
        """1 where it is odd, else 0; of negative ones too."""
        if isinstance(count, int):
            return count % 2
        return self._op("Mod", count, 2)

    def chosen(self, condition: Any, yes: Count, no: Count) -> Count:
        """One of the two; the condition is a bool, or a tensor of shape [1]."""
        if isinstance(condition, Tensor):
            return self.net.where(condition, self.tensor(yes), self.tensor(no))
        return yes if condition else no

    def rounded(self, number: Tensor, how: str) -> Count:
        """A whole number near a positive float of shape [1]; `how` is one of the runtime's `Rounding`."""
        op = self.net.op
        if how == "nearest":
            number, how = number + 0.5, "floor"
        made = {"floor": op.Floor, "ceil": op.Ceil, "half-even": op.Round}[how](number)
        return self.net.cast(cast(Tensor, made), "int64")

    def halved(self, count: Count, how: str) -> Count:
        """Half of a count that is not negative."""
        if isinstance(count, int):
            return halved(count, how)  # type: ignore[arg-type]
        return self.rounded(self.number(count) * 0.5, how)

    def _op(self, name: str, left: Count, right: Count) -> Tensor:
        return cast(Tensor, getattr(self.net.op, name)(self.tensor(left), self.tensor(right)))
