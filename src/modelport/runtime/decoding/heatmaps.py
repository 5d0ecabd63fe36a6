"""Keypoints from heatmaps: the highest cell of each, and where between cells the peak lies.

- `quarter`: a quarter of a cell towards the higher neighbour (Newell et al. 2016; HRNet, SimpleBaseline).
- `dark`: the summit of a Gaussian through the blurred logarithm, in its first two derivatives, with the
  second ones over two cells (Zhang et al. 2020, Distribution-Aware Coordinate Representation).
- `dark_udp`: the same with derivatives over one cell, and values cut off at 0.001 and 50, as in the code
  of UDP (Huang et al. 2020, The Devil Is in the Details), which ViTPose uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelport.types import Array

Refinement = Literal["none", "quarter", "dark", "dark_udp"]

_LEAST = 1e-10
"""Below this the logarithm of `dark` is cut off."""
_UDP_LEAST, _UDP_MOST = 1e-3, 50.0
_SMALL = {
    1: (256,),
    3: (64, 128),
    5: (16, 64, 96),
    7: (8, 28, 56, 72),
    9: (4, 13, 30, 51, 60),
}
"""256 times the first half of small kernels without a sigma, for which OpenCV rounds to such numbers."""
_SINGULAR = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Blur:
    """A Gaussian.

    Attributes:
        size: cells of the kernel, odd.
        sigma: its width; None is what OpenCV takes for that size.
        edge: what is beyond a heatmap: `zeros`, whose loss of height is made up for (MMPose), or a
            `mirror` (SciPy, which transformers uses).
    """

    size: int = 11
    sigma: float | None = None
    edge: Literal["zeros", "mirror"] = "zeros"

    def kernel(self) -> Array:
        """Its weights, which add up to one."""
        if self.sigma is None and self.size in _SMALL:
            half = _SMALL[self.size]
            return np.array([*half, *half[-2::-1]]) / 256
        sigma = self.sigma or 0.3 * ((self.size - 1) * 0.5 - 1) + 0.8
        steps = np.arange(self.size) - self.size // 2
        weights = np.exp(-0.5 * (steps / sigma) ** 2)
        return np.asarray(weights / weights.sum())

    def __call__(self, maps: Array) -> Array:
        """n x height x width, float64."""
        reach, kernel = self.size // 2, self.kernel()
        mode: Literal["constant", "symmetric"]
        mode = "constant" if self.edge == "zeros" else "symmetric"
        padded = np.pad(maps.astype(np.float64), ((0, 0), (reach, reach), (reach, reach)), mode)
        height, width = maps.shape[1:]
        down = sum(share * padded[:, i : i + height] for i, share in enumerate(kernel))
        found = np.asarray(sum(share * down[:, :, i : i + width] for i, share in enumerate(kernel)))
        if self.edge == "mirror":
            return found
        top, before = found.max((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        return np.asarray(found * np.divide(before, top, out=np.ones_like(top), where=top > 0))


def peaks(maps: Array) -> tuple[Array, Array]:
    """The highest cell of each heatmap.

    Args:
        maps: n x height x width.

    Returns:
        x and y, n x 2, int; and the values there, n.
    """
    flat = maps.reshape(len(maps), -1)
    best = flat.argmax(1)
    down, across = np.divmod(best, maps.shape[2])
    return np.stack([across, down], -1), flat[np.arange(len(maps)), best]


def refined(maps: Array, cells: Array, how: Refinement, blur: Blur) -> Array:
    """Places between cells, n x 2, float64: 0 is the middle of the first cell."""
    if how == "none":
        return cells.astype(np.float64)
    if how == "quarter":
        return _quartered(maps, cells)
    blurred = blur(maps)
    if how == "dark":
        return _summits(np.log(np.maximum(blurred, _LEAST)), cells)
    return _udp_summits(np.log(np.clip(blurred, _UDP_LEAST, _UDP_MOST)), cells)


def _quartered(maps: Array, cells: Array) -> Array:
    height, width = maps.shape[1:]
    number, (x, y) = np.arange(len(maps)), cells.T
    right, left = (maps[number, y, (x + step).clip(0, width - 1)] for step in (1, -1))
    below, above = (maps[number, (y + step).clip(0, height - 1), x] for step in (1, -1))
    # Both are as in the originals: a neighbour at the very edge does not count.
    across = np.sign(right - left) * ((x > 1) & (x < width - 1) & (y > 0))
    down = np.sign(below - above) * ((y > 1) & (y < height - 1) & (x > 0))
    return cells + 0.25 * np.stack([across, down], -1)


def _summits(logs: Array, cells: Array) -> Array:
    """One Newton step; none next to the edge, where derivatives would need cells beyond it."""
    found = cells.astype(np.float64)
    height, width = logs.shape[1:]
    for number, (x, y) in enumerate(cells):
        if not (1 < x < width - 2 and 1 < y < height - 2):
            continue
        near = logs[number, y - 2 : y + 3, x - 2 : x + 3]
        slope = 0.5 * np.array([near[2, 3] - near[2, 1], near[3, 2] - near[1, 2]])
        xx = 0.25 * (near[2, 4] - 2 * near[2, 2] + near[2, 0])
        yy = 0.25 * (near[4, 2] - 2 * near[2, 2] + near[0, 2])
        xy = 0.25 * (near[3, 3] - near[1, 3] - near[3, 1] + near[1, 1])
        if xx * yy - xy * xy != 0:
            found[number] -= np.linalg.solve(np.array([[xx, xy], [xy, yy]]), slope)
    return found


def _udp_summits(logs: Array, cells: Array) -> Array:
    """One Newton step everywhere; beyond the edge stands what is at the edge."""
    padded = np.pad(logs, ((0, 0), (1, 1), (1, 1)), "edge")
    number, (x, y) = np.arange(len(logs)), cells.T + 1

    def at(across: int, down: int) -> Array:
        return np.asarray(padded[number, y + down, x + across])

    here, right, left, below, above = at(0, 0), at(1, 0), at(-1, 0), at(0, 1), at(0, -1)
    slope = 0.5 * np.stack([right - left, below - above], -1)
    xx, yy = right - 2 * here + left, below - 2 * here + above
    xy = 0.5 * (at(1, 1) - right - below + 2 * here - left - above + at(-1, -1))
    bend = np.stack([xx, xy, xy, yy], -1).reshape(-1, 2, 2) + _SINGULAR * np.eye(2)
    regular = np.abs(np.linalg.det(bend)) > 0
    step = np.zeros_like(slope)
    step[regular] = np.linalg.solve(bend[regular], slope[regular][..., None])[..., 0]
    finite = np.where(np.isfinite(step), step, 0.0)
    return np.asarray(cells - finite)


def input_places(
    places: Array, cells: tuple[int, int], tensor: tuple[int, int], udp: bool
) -> Array:
    """From a heatmap to the tensor, both as numbers of pixels from the middle of the first.

    Args:
        cells, tensor: width and height.
        udp: whether the first and the last cell lie on the first and the last pixel; else a cell is
            as many pixels as the tensor is larger.
    """
    ends = np.array(cells), np.array(tensor)
    if not udp:
        return np.asarray(places * (ends[1] / ends[0]))
    return np.asarray(places * ((ends[1] - 1) / np.maximum(ends[0] - 1, 1)))
