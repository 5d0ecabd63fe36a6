"""Masks of a model, sampled at the pixels of a picture.

A pixel is asked for at its middle, and a mask answers bilinearly, as if its values stood in the middles
of its cells: the rule of Detectron2, MMDetection and of a resize with aligned edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modelport.runtime.placement import Placement, Sides
from modelport.types import Array

Window = tuple[int, int, int, int]
"""Pixels from left and top up to right and bottom, which are no part of it."""


def window_of(box: Array, sides: Sides, more: int = 0) -> Window:
    """The pixels that a box touches, and `more` around it, within the picture."""
    width, height = sides
    low, high = np.floor(box[:2]) - more, np.ceil(box[2:]) + more
    left, top = (int(min(max(value, 0), most)) for value, most in zip(low, sides, strict=True))
    right = int(min(max(high[0], left), width))
    bottom = int(min(max(high[1], top), height))
    return left, top, right, bottom


@dataclass(frozen=True, eq=False)
class Lines:
    """Places along one axis of a mask.

    Attributes:
        low: the cell before each place.
        share: how far each lies towards the next cell.
    """

    low: Array
    share: Array

    @classmethod
    def at(cls, places: Array, size: int) -> Lines:
        """Places in cells from the left edge; beyond the middles of the outermost cells are these."""
        index = np.clip(places - 0.5, 0, size - 1)
        low = np.minimum(index.astype(np.intp), max(size - 2, 0))
        return cls(low, (index - low).astype(np.float32))

    def mix(self, values: Array, axis: int) -> Array:
        """Values at the places, along an axis of length 2 or more, or of 1."""
        high = np.minimum(self.low + 1, values.shape[axis] - 1)
        shares = self.share[:, None] if axis == 0 else self.share
        below, above = values.take(self.low, axis), values.take(high, axis)
        above -= below
        above *= shares
        above += below
        return np.asarray(above)

    def span(self) -> tuple[int, int]:
        """The first cell that is needed, and the one after the last."""
        return int(self.low.min()), int(self.low.max()) + 2


def resampled(mask: Array, rows: Lines, columns: Lines) -> Array:
    """The mask, float32 of height x width, at all crossings of rows and columns."""
    return columns.mix(rows.mix(mask, 0), 1)


def middles(start: int, end: int) -> Array:
    """Of pixels, along one axis."""
    return np.arange(start, end) + 0.5


def in_box(mask: Array, box: Array, window: Window) -> Array:
    """A mask that fills a box of the picture; zero beyond it.

    Args:
        mask: height x width, float32.
        box: corners in the picture, not clipped.
    """
    padded = np.pad(mask, 1)
    left, top, right, bottom = window
    lines = []
    for start, end, low, high, size in (
        (top, bottom, box[1], box[3], mask.shape[0]),
        (left, right, box[0], box[2], mask.shape[1]),
    ):
        length = max(float(high - low), 1e-6)
        places = (middles(start, end) - low) * (size / length) + 1
        lines.append(Lines.at(places, size + 2))
    return resampled(padded, *lines)


def grid_places(
    window: Window, placement: Placement | None, tensor: Sides, grid: Sides
) -> tuple[Array, Array] | None:
    """Rows and columns of a map over the tensor at the pixels of a window.

    Args:
        tensor: width and height of the tensor.
        grid: width and height of the map.

    Returns:
        Places in cells; None where the picture was turned, so that they are no rows and columns.
    """
    matrix = np.eye(3) if placement is None else placement.matrix
    if matrix[0, 1] or matrix[1, 0] or matrix[2, 0] or matrix[2, 1]:
        return None
    left, top, right, bottom = window
    across = (middles(left, right) * matrix[0, 0] + matrix[0, 2]) * (grid[0] / tensor[0])
    down = (middles(top, bottom) * matrix[1, 1] + matrix[1, 2]) * (grid[1] / tensor[1])
    return down, across


def turned(mask: Array, window: Window, placement: Placement, tensor: Sides) -> Array:
    """The same pixel by pixel, where the transforms turned the picture."""
    left, top, right, bottom = window
    x, y = np.meshgrid(middles(left, right), middles(top, bottom))
    points = placement.points_to_tensor(np.stack([x, y], -1).reshape(-1, 2))
    high, wide = mask.shape
    columns = Lines.at(points[:, 0] * (wide / tensor[0]), wide)
    rows = Lines.at(points[:, 1] * (high / tensor[1]), high)
    next_row = np.minimum(rows.low + 1, high - 1)
    next_column = np.minimum(columns.low + 1, wide - 1)
    upper = mask[rows.low, columns.low] * (1 - columns.share)
    upper += mask[rows.low, next_column] * columns.share
    lower = mask[next_row, columns.low] * (1 - columns.share)
    lower += mask[next_row, next_column] * columns.share
    return np.asarray(upper * (1 - rows.share) + lower * rows.share).reshape(x.shape)
