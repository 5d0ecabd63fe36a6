"""Boxes as arrays: overlaps, and other ways to write four numbers.

Everywhere a box is (left, top, right, bottom), and a pixel covers one unit, so a width is right - left.
"""

from __future__ import annotations

import numpy as np

from modelport.types import Array

FAR = 1e7
"""Boxes are cut off here, so that what an exponential blew up stays a number."""


def corners_of_centres(boxes: Array) -> Array:
    """From (middle x, middle y, width, height), shape (..., 4), to corners."""
    half = boxes[..., 2:] * boxes.dtype.type(0.5)
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], -1)


def centres_of_corners(boxes: Array) -> Array:
    """From corners, shape (..., 4), to (middle x, middle y, width, height)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([boxes[..., :2] + sides * boxes.dtype.type(0.5), sides], -1)


def corners_of_sides(boxes: Array) -> Array:
    """From (left, top, width, height), shape (..., 4), to corners."""
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)


def areas(boxes: Array) -> Array:
    """Of boxes (..., 4); negative where exactly one side is turned round."""
    return np.asarray((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def overlaps(some: Array, others: Array, *, smaller: bool = False) -> Array:
    """Shared area over joint area of each of N boxes with each of M, N x M.

    Two boxes without any area overlap by NaN, which is more than no threshold.

    Args:
        smaller: over the area of the smaller box instead, so that a box inside another one overlaps it
            by 1.
    """
    return overlaps_of_sides(
        np.ascontiguousarray(some.T),
        areas(some),
        np.ascontiguousarray(others.T),
        areas(others),
        smaller=smaller,
    )


def overlaps_of_sides(
    some: Array, some_areas: Array, others: Array, other_areas: Array, *, smaller: bool = False
) -> Array:
    """The same for boxes that stand as 4 x N and 4 x M, whose areas are known."""
    wide = np.minimum(some[2][:, None], others[2])
    wide -= np.maximum(some[0][:, None], others[0])
    np.maximum(wide, 0, out=wide)
    high = np.minimum(some[3][:, None], others[3])
    high -= np.maximum(some[1][:, None], others[1])
    np.maximum(high, 0, out=high)
    wide *= high
    if smaller:
        whole = np.minimum(some_areas[:, None], other_areas, out=high)
    else:
        whole = np.add(some_areas[:, None], other_areas, out=high)
        whole -= wide
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(wide, whole, out=wide))
