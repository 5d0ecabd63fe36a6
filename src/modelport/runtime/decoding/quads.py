"""Rectangles that stand at an angle, and their four corners."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from modelport.types import Array

Quad = tuple[tuple[float, float], ...]
"""Four corners (x, y), clockwise as they are seen, from the upper left one."""


@dataclass(frozen=True, eq=False)
class Rectangle:
    """A rectangle at any angle.

    Attributes:
        middle: (x, y).
        along: the unit vector of its first side.
        sides: lengths of the side along that vector, and of the one across.
    """

    middle: Array
    along: Array
    sides: tuple[float, float]

    @property
    def corners(self) -> Array:
        """(4, 2), around it."""
        across = np.array([-self.along[1], self.along[0]])
        half = self.along * self.sides[0] / 2, across * self.sides[1] / 2
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return np.stack([self.middle + x * half[0] + y * half[1] for x, y in signs])

    def grown(self, distance: float) -> Rectangle:
        """With each side moved outward.

        It is the smallest rectangle around all that lies within that distance of this one: rounding
        the corners of the offset takes nothing from its extent along the sides.
        """
        return replace(self, sides=(self.sides[0] + 2 * distance, self.sides[1] + 2 * distance))

    def unclipped(self, ratio: float) -> Rectangle:
        """Grown by area x ratio / perimeter: what undoes the shrinking of text regions in training.

        Source: Liao et al., Real-time scene text detection with differentiable binarization, AAAI 2020,
        whose D' = A' x r' / L'.
        """
        wide, high = self.sides
        perimeter = 2 * (wide + high)
        return self.grown(wide * high * ratio / perimeter if perimeter > 0 else 0.0)


def smallest_rectangle(points: Array) -> Rectangle:
    """The rectangle of least area around points (n, 2).

    One of its sides lies along a side of the convex hull (Freeman and Shapira, 1975), so all of
    these are tried at once.
    """
    hull = convex_hull(points)
    edges = np.roll(hull, -1, axis=0) - hull
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    along = edges[lengths > 0] / lengths[lengths > 0, None]
    if not len(along):
        return Rectangle(hull[0], np.array([1.0, 0.0]), (0.0, 0.0))
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    ends = [
        (reach.min(1), reach.max(1)) for reach in (along @ hull.T, across @ hull.T)
    ]  # of the hull along each direction
    sides = [high - low for low, high in ends]
    best = int(np.argmin(sides[0] * sides[1]))
    middle = [(low[best] + high[best]) / 2 for low, high in ends]
    return Rectangle(
        middle[0] * along[best] + middle[1] * across[best],
        along[best],
        (float(sides[0][best]), float(sides[1][best])),
    )


def convex_hull(points: Array) -> Array:
    """The corners of the convex hull of points (n, 2), two to begin with, then around it.

    The chains above and below the line from the first to the last point by x lose every point that lies
    inside of its two neighbours, all at once, until none does: no corner of a hull ever does.
    Source: Andrew's monotone chain, 1979, which drops them one by one.
    """
    ordered = np.unique(np.asarray(points, np.float64), axis=0)
    if len(ordered) < 3:
        return ordered
    return np.concatenate([_chain(ordered)[:-1], _chain(ordered[::-1])[:-1]])


def _chain(points: Array) -> Array:
    """Those points that turn one way, from the first to the last of points sorted by x, then y."""
    while len(points) > 2:
        before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
        turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] > 0
        if turns.all():
            break
        points = points[np.concatenate([[True], turns, [True]])]
    return points


def clockwise(corners: Array) -> Array:
    """Four corners (4, 2) from the upper left one: of the two leftmost, and the two rightmost, the
    upper one comes first. A line of text stays one, unless it is steeper than its own diagonal."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    left = left[np.argsort(left[:, 1], kind="stable")]
    right = right[np.argsort(right[:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


_EDGE = 0.499
"""A line a pixel wide covers what is less than half a pixel from it, along the axis it is steeper to."""


def mean_inside(values: Array, corners: Array) -> float:
    """The mean of a map (height, width) over a convex quad: its inside and the pixels of its edge.

    Corners are cut to whole pixels and edges are a pixel wide, as in OpenCV's `fillPoly`, with which the
    thresholds of text detectors were tuned: thin lines depend on that.

    Args:
        corners: (4, 2), indices (x, y) of pixels, in the order of `clockwise`.
    """
    height, width = values.shape
    quad = np.floor(corners + 1e-3)  # which rounding errors would move otherwise
    limits = np.array([width - 1, height - 1])
    low, high = (np.clip(end, 0, limits).astype(int) for end in (quad.min(0), quad.max(0)))
    x, y = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)[:, None]
    inside = np.ones((len(y), len(x)), bool)
    for (ax, ay), (bx, by) in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        reach = _EDGE * max(abs(bx - ax), abs(by - ay))
        inside &= (bx - ax) * (y - ay) >= (by - ay) * (x - ax) - reach
    window = values[low[1] : high[1] + 1, low[0] : high[0] + 1]
    return float(window[inside].mean()) if inside.any() else float(window.mean())
