"""Torch's resize by areas: `interpolate(mode="area")`, which is its adaptive average pooling.

A pixel of the result is the plain mean of all pixels that it touches, those at its edges counting as much as
the others; so neighbours share pixels, and a larger picture than before repeats and mixes them. OpenCV's
areas weigh the edges instead.
"""

from __future__ import annotations

import numpy as np

from modelport.types import Array


def averaged(array: Array, size: tuple[int, int]) -> Array:
    """uint8 pixels, height x width[ x channels], at that width and height; rounded to whole levels."""
    top, bottom = _bins(array.shape[0], size[1])
    left, right = _bins(array.shape[1], size[0])
    rows = _summed(array, top, bottom)
    sums = _summed(rows.swapaxes(0, 1), left, right).swapaxes(0, 1)
    counts = (bottom - top)[:, None] * (right - left)
    if array.ndim == 3:
        counts = counts[:, :, None]
    return np.asarray((2 * sums + counts) // (2 * counts)).astype(np.uint8)


def _bins(before: int, after: int) -> tuple[Array, Array]:
    """First pixel, and the one after the last, that each pixel of the result touches along one edge."""
    steps = np.arange(after, dtype=np.int64)
    return steps * before // after, -(-(steps + 1) * before // after)


def _summed(array: Array, first: Array, end: Array) -> Array:
    """Sums of the bins along the first axis, int64.

    All first elements of bins are added at once, then all second ones: there are as many steps as the
    largest bin has elements, and the smaller ones have one less.
    """
    sums = array[first].astype(np.int64)
    for step in range(1, int((end - first).max())):
        inside = first + step < end
        if inside.all():
            sums += array[first + step]
        else:
            sums[inside] += array[first[inside] + step]
    return sums
