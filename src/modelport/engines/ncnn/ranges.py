"""Finds one scale for numbers that are to be kept in eight bits."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from modelport.types import Array

LARGEST = 127

STEPS, LOWEST, HIGHEST = 16, -40, 40
"""Bins to a power of two, and the powers between which numbers are told apart."""

CANDIDATES = 4 * STEPS
"""Ranges are tried down to a sixteenth of the largest number."""

BINS = np.arange((HIGHEST - LOWEST) * STEPS)
SIZES = 2.0 ** ((BINS + 0.5) / STEPS + LOWEST)
"""The size that stands for each bin."""


class Range:
    """Counts how large numbers are, on a logarithmic scale, which needs no range beforehand."""

    def __init__(self) -> None:
        self._feeds: list[tuple[int, Array]] = []

    def add(self, values: Array) -> None:
        """What one feed has there."""
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
        places = ((np.log2(sizes) - LOWEST) * STEPS).clip(0, len(BINS) - 1).astype(np.int64)
        first = int(places.min(initial=len(BINS)))
        self._feeds.append((first, np.bincount(places - first).astype(np.uint32)))

    @cached_property
    def top(self) -> float:
        """The range in whose steps the numbers lose least, of those beyond it what is cut off."""
        counts = np.zeros(len(BINS))
        for first, each in self._feeds:
            counts[first : first + len(each)] += each
        used = np.flatnonzero(counts)
        if not used.size:
            return 1.0
        tops = 2.0 ** ((used[-1] + 1 - np.arange(CANDIDATES)) / STEPS + LOWEST)
        return float(min(tops, key=lambda top: _lost(0, counts, top)))

    @property
    def worst_db(self) -> float:
        """How far the numbers of a feed stand out of what they lose, of the feed that loses most."""
        return min((self._heard_db(*feed) for feed in self._feeds if feed[1].size), default=np.inf)

    def _heard_db(self, first: int, counts: Array) -> float:
        power = (counts * SIZES[first : first + len(counts)] ** 2).sum()
        return float(10 * np.log10(power / _lost(first, counts, self.top)))


def _lost(first: int, counts: Array, top: float) -> float:
    """The squared error, by as many numbers as there are in the bins from the first on."""
    step, sizes = top / LARGEST, SIZES[first : first + len(counts)]
    rounded = np.minimum(step**2 / 12, sizes**2)
    return float((counts * np.where(sizes > top, (sizes - top) ** 2, rounded)).sum())
