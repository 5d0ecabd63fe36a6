"""Turned boxes: conventions of their angle, corners, overlap and suppression.

A box is (middle x, middle y, width, height, angle). The angle is in radians and turns from the x axis to
the y axis: clockwise on a picture, as OpenCV and MMRotate have it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from modelport.types import Array

Convention = Literal["oc", "le90", "le135"]
"""Which of the ways to write one rectangle is meant.

- `oc`: OpenCV's since 4.5.1: the angle is in (0, 90] degrees.
- `le90`: the width is the longer side, the angle in [-90, 90).
- `le135`: the width is the longer side, the angle in [-45, 135).
"""


def regular(boxes: Array, convention: Convention) -> Array:
    """The same rectangles, N x 5, written as the convention wants."""
    x, y, width, height, angle = np.asarray(boxes, np.float64).T
    if convention == "oc":
        turns = np.ceil(angle / (math.pi / 2)) - 1  # so that what is left is above 0
        swap = turns.astype(np.int64) % 2 == 1
        angle = angle - turns * (math.pi / 2)
    else:
        swap = width < height
        angle = angle + swap * (math.pi / 2)
        start = -math.pi / 2 if convention == "le90" else -math.pi / 4
        angle = (angle - start) % math.pi + start
    wide, high = np.where(swap, height, width), np.where(swap, width, height)
    return np.stack([x, y, wide, high, angle], -1)


def corners_of_rotated(boxes: Array) -> Array:
    """N x 4 x 2 of N x 5: from the box's own upper left, clockwise on the picture."""
    x, y, width, height, angle = np.asarray(boxes, np.float64).T
    along = np.stack([np.cos(angle), np.sin(angle)], -1) * (width / 2)[:, None]
    across = np.stack([-np.sin(angle), np.cos(angle)], -1) * (height / 2)[:, None]
    middle = np.stack([x, y], -1)
    return np.stack(
        [
            middle - along - across,
            middle + along - across,
            middle + along + across,
            middle - along + across,
        ],
        1,
    )


def rotated_of_corners(corners: Array) -> Array:
    """N x 5 of N x 4 x 2, the corners of rectangles in order; of other shapes, a rectangle near them."""
    corners = np.asarray(corners, np.float64)
    middle = corners.mean(1)
    along = corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3]
    across = corners[:, 3] - corners[:, 0] + corners[:, 2] - corners[:, 1]
    sides = np.linalg.norm(np.stack([along, across], 1), axis=-1) / 2
    return np.column_stack([middle, sides, np.arctan2(along[:, 1], along[:, 0])])


def shared_area(one: Array, other: Array) -> float:
    """Of two convex quadrangles, 4 x 2, whose corners go the same way round.

    The first is cut along each side of the second (Sutherland and Hodgman, Reentrant polygon clipping,
    1974).
    """
    points = [(float(x), float(y)) for x, y in one]
    sides = [(float(x), float(y)) for x, y in other]
    for index, start in enumerate(sides):
        points = _left_of(points, start, sides[(index + 1) % len(sides)])
        if not points:
            return 0.0
    return abs(_area(points))


_Point = tuple[float, float]


def _left_of(points: list[_Point], start: _Point, end: _Point) -> list[_Point]:
    """What of a polygon lies on the inner side of a line."""
    found = []
    across, down = end[0] - start[0], end[1] - start[1]
    depths = [across * (y - start[1]) - down * (x - start[0]) for x, y in points]
    for index, (point, depth) in enumerate(zip(points, depths, strict=True)):
        before, its_depth = points[index - 1], depths[index - 1]
        if (depth >= 0) != (its_depth >= 0):
            share = its_depth / (its_depth - depth)
            crossing_x = before[0] + share * (point[0] - before[0])
            crossing_y = before[1] + share * (point[1] - before[1])
            found.append((crossing_x, crossing_y))
        if depth >= 0:
            found.append(point)
    return found


def _area(points: list[_Point]) -> float:
    """By Gauss's formula; positive for the order of `corners_of_rotated`."""
    total = 0.0
    for index, (x, y) in enumerate(points):
        total += points[index - 1][0] * y - x * points[index - 1][1]
    return total / 2


def rotated_overlap(one: Array, other: Array) -> float:
    """Shared area over joint area of two boxes of five numbers."""
    first, second = corners_of_rotated(np.stack([one, other]))
    shared = shared_area(first, second)
    joint = float(one[2] * one[3] + other[2] * other[3]) - shared
    return shared / joint if joint > 0 else 0.0


def rotated_nms(
    boxes: Array,
    scores: Array,
    iou: float,
    *,
    classes: Array | None = None,
    most: int | None = None,
) -> Array:
    """Indices of the boxes that no better box overlaps by more than `iou`, best first.

    Only boxes whose upright frames meet are cut with each other, and only where they could overlap by that
    much: the shared area is at most the smaller one.

    Args:
        boxes: N x 5.
        scores, classes, most: as for `nms`.
    """
    order = np.argsort(-scores, kind="stable")
    corners = corners_of_rotated(boxes[order])
    low, high = corners.min(1), corners.max(1)
    sizes = np.abs(boxes[order, 2] * boxes[order, 3]).astype(np.float64)
    groups = None if classes is None else classes[order]
    kept: list[int] = []
    for place in range(len(order)):
        rivals = np.array(kept, np.intp)
        meet = ((low[rivals] < high[place]) & (high[rivals] > low[place])).all(1)
        if groups is not None:
            meet &= groups[rivals] == groups[place]
        least = np.minimum(sizes[rivals], sizes[place]) > iou * np.maximum(
            sizes[rivals], sizes[place]
        )
        if not any(
            _overlap_more(corners[rival], corners[place], sizes[rival] + sizes[place], iou)
            for rival in rivals[meet & least].tolist()
        ):
            kept.append(place)
            if most is not None and len(kept) == most:
                break
    return np.asarray(order[np.array(kept, np.intp)])


def _overlap_more(one: Array, other: Array, both: float, iou: float) -> bool:
    shared = shared_area(one, other)
    return both > shared and shared / (both - shared) > iou
