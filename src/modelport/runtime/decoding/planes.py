"""From the planes of an output back to the pixels of the picture.

Dense outputs (scores, masks, depths) lie on a grid of their own: that of the tensor, or a coarser one. Every
pixel of the picture looks up its place in that grid, so padding and crops are undone on the way. For
a plain resize this is what PyTorch's `interpolate` does with `align_corners=False`, antialiasing none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelport.runtime.placement import Placement, scaling
from modelport.types import Array

Method = Literal["nearest", "bilinear", "bicubic"]

_SHARPNESS = -0.75
"""Of the cubic convolution kernel (Keys 1981), as PyTorch and OpenCV have it."""

_AT_ONCE = 1 << 22
"""Values that are computed together: 16 MiB of float32."""

_EDGE = 1e-6

_MANY = 1 / 8
"""Pixels by cells from which on it pays to bring the channels of a cell together."""


@dataclass(frozen=True, eq=False)
class Axis:
    """The pixels along one side of the picture.

    Attributes:
        places: float64; the index in the grid that each pixel looks at, 0 the middle of the first cell.
        ends: the first and the last cell that show the picture.
        seen: bool; whether the grid covers the pixel. A centre crop leaves some out.
    """

    places: Array
    ends: tuple[int, int]
    seen: Array

    def taps(self, method: Method) -> tuple[Array, Array]:
        return taps(self.places, self.ends, method)


class Grid:
    """The way from the pixels of the picture to the cells of an output.

    Args:
        placement: of the picture in the tensor; None where there is none, and the picture is then
            taken to be as large as the output.
        cells: height and width of the output.
        align_corners: whether the first and the last pixel look at the middle of the first and the last
            cell, as in PyTorch's option of that name.
    """

    def __init__(
        self, placement: Placement | None, cells: tuple[int, int], *, align_corners: bool = False
    ) -> None:
        height, width = cells
        self.placement = placement or Placement.whole(width, height)
        self.cells = cells
        self.size = (self.placement.picture[1], self.placement.picture[0])
        self._upright = _is_upright(self.placement.matrix)
        if self._upright:
            self.rows = self._axis(1, height, align_corners)
            self.columns = self._axis(0, width, align_corners)

    def bands(self, planes: Array, method: Method = "bilinear") -> Iterator[tuple[slice, Array]]:
        """Rows of the picture with the values there: channels x rows x width, float32.

        Args:
            planes: channels x height x width of the grid.
        """
        height, width = self.size
        step = max(1, _AT_ONCE // max(1, len(planes) * width))
        planes = planes if planes.dtype == np.float32 else planes.astype(np.float32)
        for start in range(0, height, step):
            rows = slice(start, min(height, start + step))
            yield rows, self._values(planes, rows, method)

    def resized(self, planes: Array, method: Method = "bilinear") -> Array:
        """All of them at once: channels x height x width of the picture, float32."""
        out = np.empty((len(planes), *self.size), np.float32)
        for rows, values in self.bands(planes, method):
            out[:, rows] = values
        return out

    def nearest(self, plane: Array) -> Array:
        """The value of the cell that each pixel lies in: height x width of the picture."""
        if self._upright:
            down, across = (axis.taps("nearest")[0][:, 0] for axis in (self.rows, self.columns))
            return plane[down][:, across]
        y, x, _ = self.places(slice(0, self.size[0]))
        down, across = (
            taps(places, (0, count - 1), "nearest")[0][..., 0]
            for places, count in zip((y, x), self.cells, strict=True)
        )
        return np.asarray(plane[down, across])

    def places(self, rows: slice) -> tuple[Array, Array, Array]:
        """Row, column (float64, as `Axis.places`) and whether it is seen, of each pixel of some rows."""
        if self._upright:
            shape = (rows.stop - rows.start, self.size[1])
            y = self.rows.places[rows, None].clip(*self.rows.ends)
            x = self.columns.places[None].clip(*self.columns.ends)
            seen = self.rows.seen[rows, None] & self.columns.seen[None]
            return np.broadcast_to(y, shape), np.broadcast_to(x, shape), seen
        across, down = np.meshgrid(np.arange(self.size[1]), np.arange(rows.start, rows.stop))
        found = self.placement.points_to_tensor(np.stack([across, down], -1) + 0.5)
        wide, high = self.placement.tensor
        x, y = found[..., 0] / wide * self.cells[1], found[..., 1] / high * self.cells[0]
        seen = (x >= 0) & (x <= self.cells[1]) & (y >= 0) & (y <= self.cells[0])
        return y - 0.5, x - 0.5, seen

    def cells_above(self, plane: Array, rows: slice) -> Array:
        """The value of the cell whose middle is left of and above each pixel of some rows."""
        if self._upright:
            down, across = self.rows.places[rows], self.columns.places
            down, across = down.clip(*self.rows.ends), across.clip(*self.columns.ends)
            return plane[down.astype(np.intp)][:, across.astype(np.intp)]
        y, x, _ = self.places(rows)
        top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
        return np.asarray(plane[top.clip(0, self.cells[0] - 1), left.clip(0, self.cells[1] - 1)])

    def seen(self) -> Array | None:
        """Which pixels of the picture the model saw, height x width; None where all of them."""
        if self._upright and self.rows.seen.all() and self.columns.seen.all():
            return None
        found = self.places(slice(0, self.size[0]))[2]
        return None if found.all() else found

    def _values(self, planes: Array, rows: slice, method: Method) -> Array:
        if not self._upright:
            y, x, _ = self.places(rows)
            return gathered(planes, y, x, method)
        down, share = self.rows.taps(method)
        flat = _mixed(planes, down[rows], share[rows], axis=1)
        return _mixed(flat, *self.columns.taps(method), axis=2)

    def _axis(self, number: int, cells: int, align_corners: bool) -> Axis:
        pixels, tensor = self.placement.picture[number], self.placement.tensor[number]
        scale, shift = self.placement.matrix[number, number], self.placement.matrix[number, 2]
        found = (scale * (np.arange(pixels) + 0.5) + shift) / tensor * cells
        ends = np.clip(np.sort([shift, scale * pixels + shift]) / tensor * cells, 0, cells)
        first = min(int(ends[0] + _EDGE), cells - 1)
        last = max(first, int(np.ceil(ends[1] - _EDGE)) - 1)  # padding lends no values
        seen = (found >= 0) & (found <= cells)
        if not align_corners:
            return Axis(found - 0.5, (first, last), seen)
        if seen.all():
            return Axis(np.linspace(first, last, pixels), (first, last), seen)
        stretched = (found * tensor / cells - 0.5) * (cells - 1) / max(1, tensor - 1)
        return Axis(stretched, (first, last), seen)


def resized_to(planes: Array, size: tuple[int, int]) -> Array:
    """Channels x height x width, brought to that height and width (bilinear), float32."""
    height, width = planes.shape[1:]
    sides = (size[1], size[0])
    placement = Placement(sides, (width, height), scaling(sides, (width, height)))
    return Grid(placement, (height, width)).resized(planes)


def taps(places: Array, ends: tuple[int, int], method: Method) -> tuple[Array, Array]:
    """Which cells count for each place, and how much.

    Args:
        places: (...), fractions of an index.
        ends: the first and the last cell there are.

    Returns:
        Indices and float32 weights, (..., 1), (..., 2) or (..., 4) by the method.
    """
    if method == "nearest":
        index = np.floor(places + 0.5).astype(np.intp)[..., None]
        return index.clip(*ends), np.ones(index.shape, np.float32)
    first = np.floor(places).astype(np.intp)
    part = (places - first).astype(np.float32)
    if method == "bilinear":
        weight = np.stack([1 - part, part], -1)
        index = np.stack([first, first + 1], -1)
    else:
        index = np.stack([first - 1, first, first + 1, first + 2], -1)
        weight = np.stack([_outer(1 + part), _inner(part), _inner(1 - part), _outer(2 - part)], -1)
    return index.clip(*ends), weight


def gathered(planes: Array, y: Array, x: Array, method: Method = "bilinear") -> Array:
    """Values at places of any shape: channels x that shape, float32."""
    down, tall = taps(y, (0, planes.shape[1] - 1), method)
    across, wide = taps(x, (0, planes.shape[2] - 1), method)
    total = np.zeros((len(planes), *y.shape), np.float32)
    for i in range(down.shape[-1]):
        for j in range(across.shape[-1]):
            total += planes[:, down[..., i], across[..., j]] * (tall[..., i] * wide[..., j])
    return total


def strongest(planes: Array, grid: Grid, *, resize_first: bool = True) -> Array:
    """The channel with the largest value at each pixel of the picture, int32; ties go to the lower.

    Where all the cells that count for a pixel agree on the channel, so does any mixture of them; only
    the other pixels, at the borders of regions, are computed. The result is that of resizing all.

    Args:
        planes: channels x height x width of the grid.
        resize_first: whether values are mixed before they are compared; else the nearest cell decides.
    """
    winners = _winners(planes).astype(np.int32)
    found = grid.nearest(winners)
    if not resize_first or len(planes) == 1:
        return found
    cells = planes.reshape(len(planes), -1).T
    torn = _torn(winners)
    step = max(1, _AT_ONCE // (4 * grid.size[1]))
    for start in range(0, grid.size[0], step):
        rows = slice(start, min(grid.size[0], start + step))
        places = np.nonzero(grid.cells_above(torn, rows))
        if len(places[0]) > len(cells) * _MANY and not cells.flags.c_contiguous:
            cells = np.ascontiguousarray(cells, np.float32)  # all channels of a cell lie together
        y, x, _ = grid.places(rows)
        few = max(1, _AT_ONCE // (4 * len(planes)))
        for at in range(0, len(places[0]), few):
            part = tuple(index[at : at + few] for index in places)
            values = _mixed_cells(cells, winners.shape, y[part], x[part])
            found[rows][part] = values.argmax(1)
    return found


def _winners(planes: Array) -> Array:
    """The channel with the largest value of each cell; ties go to the lower.

    Where channels fit into a byte, a running maximum over whole planes is several times as fast as numpy's
    `argmax` along the first axis.
    """
    if len(planes) > 256:
        return np.asarray(planes.argmax(0))
    best, winner = planes[0].copy(), np.zeros(planes.shape[1:], np.uint8)
    above = np.empty(winner.shape, bool)
    for channel in range(1, len(planes)):
        np.greater(planes[channel], best, out=above)
        np.maximum(best, planes[channel], out=best)
        np.maximum(winner, above.view(np.uint8) * np.uint8(channel), out=winner)
    return winner


def _torn(winners: Array) -> Array:
    """Which cells differ from one of those right of and below them."""
    around = np.pad(winners, ((0, 1), (0, 1)), mode="edge")
    across = around[:, 1:] != around[:, :-1]
    down = around[1:] != around[:-1]
    return np.asarray(across[:-1] | across[1:] | down[:, :-1] | down[:, 1:])


def _mixed_cells(cells: Array, shape: tuple[int, ...], y: Array, x: Array) -> Array:
    """Values at n places, n x channels, of cells x channels."""
    down, tall = taps(y, (0, shape[0] - 1), "bilinear")
    across, wide = taps(x, (0, shape[1] - 1), "bilinear")
    total = np.zeros((len(y), cells.shape[1]), np.float32)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = cells[down[:, i] * shape[1] + across[:, j]].astype(np.float32, copy=False)
        part *= (tall[:, i] * wide[:, j])[:, None]
        total += part
    return total


def _mixed(planes: Array, index: Array, weight: Array, *, axis: int) -> Array:
    shape = [1, 1, 1]
    shape[axis] = -1
    total = np.take(planes, index[:, 0], axis)
    if index.shape[1] == 1:
        return total
    total *= weight[:, 0].reshape(shape)
    for tap in range(1, index.shape[1]):
        total += np.take(planes, index[:, tap], axis) * weight[:, tap].reshape(shape)
    return total


def _inner(t: Array) -> Array:
    return ((_SHARPNESS + 2) * t - (_SHARPNESS + 3)) * t * t + 1


def _outer(t: Array) -> Array:
    return ((t - 5) * t + 8) * t * _SHARPNESS - 4 * _SHARPNESS


def _is_upright(matrix: Array) -> bool:
    """Whether rows stay rows and columns stay columns, neither mirrored."""
    rest = matrix - np.diag(np.diag(matrix))
    rest[:2, 2] = 0
    straight = not rest.any() and matrix[2, 2] == 1
    return bool(straight and matrix[0, 0] > 0 and matrix[1, 1] > 0)
