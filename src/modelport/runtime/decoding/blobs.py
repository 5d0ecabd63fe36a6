"""Connected regions of a mask, found by its runs, in numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.types import Array


@dataclass(frozen=True, eq=False)
class Blob:
    """A connected region: its runs of pixels, row by row.

    Attributes:
        rows, starts, ends: one number for each run; `ends` is one past its last pixel. Rows ascend.
    """

    rows: Array
    starts: Array
    ends: Array

    def outline(self) -> Array:
        """Indices (x, y) of the first and last pixel of each row: float64, (2 x rows, 2)."""
        heads = np.flatnonzero(np.diff(self.rows, prepend=-1))
        first = np.minimum.reduceat(self.starts, heads)
        last = np.maximum.reduceat(self.ends, heads) - 1
        rows = self.rows[heads]
        return np.stack([np.concatenate([first, last]), np.concatenate([rows, rows])], 1).astype(
            np.float64
        )

    def mean(self, values: Array) -> float:
        """The mean of a map over the pixels of the region."""
        window = values[self.rows[0] : self.rows[-1] + 1]
        sums = np.concatenate([[0.0], np.cumsum(window, dtype=np.float64)])
        base = (self.rows - self.rows[0]) * values.shape[1]
        total = (sums[base + self.ends] - sums[base + self.starts]).sum()
        return float(total / (self.ends - self.starts).sum())


def blobs_of(mask: Array) -> list[Blob]:
    """The regions of a bool mask (height, width) whose pixels touch by a side or a corner.

    They come in the order of their first pixels, row by row.
    """
    height, width = mask.shape
    flat = np.zeros(height * (width + 1) + 1, bool)  # a gap before each row, and one at the end
    flat[:-1].reshape(height, width + 1)[:, 1:] = mask
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    rows, starts = np.divmod(edges[::2], width + 1)
    ends = edges[1::2] - rows * (width + 1)
    if not len(rows):
        return []
    labels = _joined(len(rows), *_touching(rows, starts, ends, mask.shape[1]))
    order = np.argsort(labels, kind="stable")
    cuts = np.flatnonzero(np.diff(labels[order])) + 1
    return [Blob(rows[part], starts[part], ends[part]) for part in np.split(order, cuts)]


def _touching(rows: Array, starts: Array, ends: Array, width: int) -> tuple[Array, Array]:
    """Pairs of runs in neighbouring rows that touch, by number: the upper ones and the lower ones."""
    stride = width + 2  # so that no end of one row reaches the next
    below = (rows + 1) * stride
    low = np.searchsorted(rows * stride + ends, below + starts, "left")
    high = np.searchsorted(rows * stride + starts, below + ends, "right")
    count = np.maximum(high - low, 0)
    upper = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return upper, np.repeat(low, count) + offset


def _joined(count: int, first: Array, second: Array) -> Array:
    """The least number in each component of a graph, for each of its nodes.

    The roots of both ends of an edge take the smaller one, then every node takes the root of its
    root, until nothing changes.
    """
    labels = np.arange(count)
    while True:
        one, other = labels[first], labels[second]
        if (one == other).all():
            return labels
        least = np.minimum(one, other)
        np.minimum.at(labels, one, least)
        np.minimum.at(labels, other, least)
        while (labels != labels[labels]).any():
            labels = labels[labels]
