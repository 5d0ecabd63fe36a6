"""Boxes in space from anchors, after SECOND (Yan et al. 2018) and PointPillars (Lang et al. 2019).

A box is x, y, z of the middle of its lower face, its sides along its own x, y and z, and its yaw: the
angle of its own x axis from that of the scanner towards y. These are the conventions of MMDetection3D 1.x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from modelport.runtime.decoding.turned_boxes import turned_nms
from modelport.types import Array


@dataclass(frozen=True)
class AnchorGrid:
    """Anchors of every cell of a map, as `AlignedAnchor3DRangeGenerator` lays them out.

    Attributes:
        extents: least x, y, z and largest x, y, z, one to a size; z is that of the lower faces.
        sizes: sides of the anchors, one to a class.
        turns: yaws that each size comes in.
        aligned: whether anchors stand in the middle of cells; else from edge to edge.
    """

    extents: tuple[tuple[float, ...], ...]
    sizes: tuple[tuple[float, float, float], ...]
    turns: tuple[float, ...] = (0.0, math.pi / 2)
    aligned: bool = True

    def boxes(self, height: int, width: int) -> Array:
        """(height * width * sizes * turns) x 7, in that order, float64."""
        found = np.empty((height, width, len(self.sizes), len(self.turns), 7))
        for number, (extent, sides) in enumerate(zip(self.extents, self.sizes, strict=True)):
            found[:, :, number, :, 0] = self._steps(extent[0], extent[3], width)[:, None]
            found[:, :, number, :, 1] = self._steps(extent[1], extent[4], height)[:, None, None]
            found[:, :, number, :, 2] = (extent[2] + extent[5]) / 2 if self.aligned else extent[2]
            found[:, :, number, :, 3:6] = sides
            found[:, :, number, :, 6] = self.turns
        return found.reshape(-1, 7)

    def _steps(self, least: float, most: float, count: int) -> Array:
        if not self.aligned:
            return np.linspace(least, most, count)
        return least + (np.arange(count) + 0.5) * (most - least) / count


def decoded(deltas: Array, anchors: Array) -> Array:
    """Boxes (n, 7) from residuals (n, 7) to anchors: SECOND, equation 1, turned round."""
    deltas = np.asarray(deltas, np.float64)
    diagonal = np.hypot(anchors[:, 3], anchors[:, 4])
    sides = np.exp(deltas[:, 3:6]) * anchors[:, 3:6]
    x, y = deltas[:, 0] * diagonal + anchors[:, 0], deltas[:, 1] * diagonal + anchors[:, 1]
    middle = deltas[:, 2] * anchors[:, 5] + anchors[:, 2] + anchors[:, 5] / 2
    columns = [x, y, middle - sides[:, 2] / 2, *sides.T, deltas[:, 6] + anchors[:, 6]]
    return np.stack(columns, -1)


def directed(yaws: Array, directions: Array, offset: float, limit: float) -> Array:
    """Yaws that a classifier of two directions turned round where they point backwards."""
    within = yaws - offset
    within = within - np.floor(within / np.pi + limit) * np.pi
    return np.asarray(within + offset + np.pi * directions)


def thinned(boxes: Array, scores: Array, threshold: float, iou: float, most: int) -> Array:
    """Rows and classes, (k, 2), that stay: of each class, those that no better one covers from above.

    Args:
        boxes: n x 7.
        scores: n x classes.
    """
    flat = boxes[:, [0, 1, 3, 4, 6]]
    found = []
    for number in range(scores.shape[1]):
        rows = np.flatnonzero(scores[:, number] > threshold)
        rows = rows[turned_nms(flat[rows], scores[rows, number], iou)]
        found.append(np.stack([rows, np.full(len(rows), number)], -1))
    pairs = np.concatenate(found) if found else np.zeros((0, 2), np.intp)
    order = np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")
    return pairs[order[:most]]


def vertices(boxes: Array) -> Array:
    """The 8 corners (n, 8, 3): the lower face around, then the upper one."""
    cos, sin = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    across, along = signs[:, 0] * boxes[:, 3:4], signs[:, 1] * boxes[:, 4:5]
    x = across * cos[:, None] - along * sin[:, None] + boxes[:, 0:1]
    y = across * sin[:, None] + along * cos[:, None] + boxes[:, 1:2]
    lower = np.stack([x, y, np.broadcast_to(boxes[:, 2:3], x.shape)], -1)
    upper = lower + boxes[:, None, None, 5] * np.array([0, 0, 1])
    return np.concatenate([lower, upper], 1)
