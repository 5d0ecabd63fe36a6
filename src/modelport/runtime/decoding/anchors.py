"""What the numbers of a head are relative to: points of a grid, or boxes on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import PositiveFloat, PositiveInt, PrivateAttr

from modelport.errors import FeedsError
from modelport.runtime.decoding.boxes import centres_of_corners, corners_of_centres
from modelport.runtime.decoding.head_parts import Grid
from modelport.runtime.placement import Placement
from modelport.runtime.tasks.base import Parameters
from modelport.types import Array

_ALMOST = 1e-4
"""A map of 3 + 1e-7 cells is one of 3, for strides that are no whole numbers; and a corner a hair before a
pixel is on it."""


@dataclass(frozen=True, eq=False)
class Priors:
    """Of one level, or of several joined.

    Attributes:
        centres: N x 2, x and y in pixels of the tensor.
        sides: N x 2, width and height in pixels.
        strides: N x 2, width and height of the cell.
    """

    centres: Array
    sides: Array
    strides: Array

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def corners(self) -> Array:
        """N x 4: left, top, right, bottom."""
        return corners_of_centres(np.concatenate([self.centres, self.sides], 1))

    def pixels(self, placement: Placement | None) -> Array:
        """N x 4: corners brought down to whole pixels of the picture, or of the tensor without one."""
        there = self.corners
        if placement is not None:
            there = placement.boxes_to_picture(there, clip=False)
        return np.floor(there.astype(np.float64) + _ALMOST)

    def on_pixels(self, placement: Placement | None) -> Priors:
        """With corners at `pixels`; float64, so that these are found again."""
        corners = self.pixels(placement)
        if placement is not None:
            corners = placement.points_to_tensor(corners.reshape(-1, 2, 2)).reshape(-1, 4)
        moved = centres_of_corners(corners)
        return Priors(moved[:, :2], moved[:, 2:], self.strides)

    def take(self, rows: Array) -> Priors:
        return Priors(self.centres[rows], self.sides[rows], self.strides[rows])

    @classmethod
    def join(cls, levels: Sequence[Priors]) -> Priors:
        if len(levels) == 1:
            return levels[0]
        return cls(
            np.concatenate([each.centres for each in levels]),
            np.concatenate([each.sides for each in levels]),
            np.concatenate([each.strides for each in levels]),
        )


class PriorGrid(Parameters):
    """Points or boxes at each cell of each level; in order of levels, rows, columns, anchors.

    Attributes:
        strides: pixels from one cell to the next, for each level. Empty where `grids` say it.
        grids: height and width of each level in cells; by default those of the maps, or as many whole
            or begun cells as fit into the tensor.
        offset: where in its cell a point lies: 0 in the upper left corner, 0.5 in the middle.
        anchors: for each level, widths and heights of its boxes in pixels. Empty for points, whose
            boxes then are the cells.
        shares: whether `anchors` and `boxes` are shares of the tensor's sides, not pixels.
        clip: whether boxes are cut off at the edges of the tensor.
        boxes: instead of a grid, boxes one by one: middle x, middle y, width, height.
    """

    strides: tuple[PositiveFloat, ...] = ()
    grids: tuple[tuple[PositiveInt, PositiveInt], ...] = ()
    offset: float = 0.5
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    shares: bool = False
    clip: bool = False
    boxes: tuple[tuple[float, float, float, float], ...] = ()

    _made: dict[tuple[Grid, tuple[Grid | None, ...]], list[Priors]] = PrivateAttr(
        default_factory=dict
    )
    _joined: dict[Grid, Priors] = PrivateAttr(default_factory=dict)

    def per_place(self) -> tuple[int, ...]:
        """Anchors at each place, level by level."""
        return tuple(len(level) for level in self.anchors) or (1,)

    def levels(self, size: Grid, found: Sequence[Grid | None]) -> list[Priors]:
        """The priors of each level; made once for each size. Callers may not write into them.

        Args:
            size: height and width of the tensor.
            found: height and width of each map, None where there are none.

        Raises:
            FeedsError: where there are more or fewer maps than levels.
        """
        key = (size, tuple(found))
        if key not in self._made:
            if len(self._made) > 16:  # of sizes that change all the time
                self._made.clear()
            self._made[key] = self._make(size, found)
        return self._made[key]

    def whole(self, size: Grid) -> Priors:
        """All levels joined; made once for each size."""
        if size not in self._joined:
            if len(self._joined) > 16:
                self._joined.clear()
            self._joined[size] = Priors.join(self.levels(size, [None]))
        return self._joined[size]

    def _make(self, size: Grid, found: Sequence[Grid | None]) -> list[Priors]:
        if self.boxes:
            return [self._listed(size)]
        count = max(len(self.strides), len(self.grids), len(self.anchors))
        maps = list(found) if any(found) else [None] * count
        if len(maps) != count:
            raise FeedsError(
                f"The head has {len(maps)} maps, and its priors have {count} levels",
                expected="one output for each level",
            )
        return [self._level(index, size, grid) for index, grid in enumerate(maps)]

    def _level(self, index: int, size: Grid, grid: Grid | None) -> Priors:
        """Row by row, float64 until the end, so that whole numbers stay whole."""
        high, wide = grid or self._grid(index, size)
        across, down = self._stride(index, size, (high, wide))
        x = (np.arange(wide) + self.offset) * across
        y = (np.arange(high) + self.offset) * down
        sides = np.asarray(self.anchors[index] if self.anchors else [(across, down)], np.float64)
        if self.shares:
            sides = sides * [size[1], size[0]]
        count = len(sides)
        centres = np.stack(np.broadcast_arrays(x[None, :], y[:, None]), -1).reshape(-1, 2)
        strides = np.full((len(centres) * count, 2), [across, down])
        made = (np.repeat(centres, count, 0), np.tile(sides, (len(centres), 1)), strides)
        return self._clipped(size, *made)

    def _grid(self, index: int, size: Grid) -> Grid:
        if self.grids:
            return self.grids[index]
        stride = self.strides[index]
        return math.ceil(size[0] / stride - _ALMOST), math.ceil(size[1] / stride - _ALMOST)

    def _stride(self, index: int, size: Grid, grid: Grid) -> tuple[float, float]:
        """Across and down."""
        if self.strides:
            return self.strides[index], self.strides[index]
        return size[1] / grid[1], size[0] / grid[0]

    def _listed(self, size: Grid) -> Priors:
        boxes = np.asarray(self.boxes, np.float64)
        if self.shares:
            boxes = boxes * [size[1], size[0], size[1], size[0]]
        return self._clipped(size, boxes[:, :2], boxes[:, 2:], boxes[:, 2:])

    def _clipped(self, size: Grid, centres: Array, sides: Array, strides: Array) -> Priors:
        if self.clip:
            limits = np.array([size[1], size[0]], np.float64)
            low = (centres - sides / 2).clip(0, limits)
            high = (centres + sides / 2).clip(0, limits)
            centres, sides = (low + high) / 2, high - low
        return Priors(
            *(np.ascontiguousarray(each, np.float32) for each in (centres, sides, strides))
        )


def anchors_of(
    scales: Sequence[float], ratios: Sequence[float], *, rounded: bool = False
) -> tuple[tuple[float, float], ...]:
    """Widths and heights for all scales at each ratio of height to width, areas as of squares.

    The order is that of RetinaNet's libraries: all scales of the first ratio, then of the next.

    Args:
        scales: sides of the squares in pixels.
        rounded: whether half the sides are rounded to whole pixels, as torchvision does.
    """
    found = []
    for ratio in ratios:
        root = np.float32(math.sqrt(ratio))
        for scale in scales:
            sides = np.array([np.float32(1) / root, root], np.float32) * np.float32(scale)
            if rounded:
                sides = np.round(sides / 2) * 2
            found.append((float(sides[0]), float(sides[1])))
    return tuple(found)
