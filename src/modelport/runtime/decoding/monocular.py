"""Boxes in space from one picture: the place of a middle, its depth, and the camera (SMOKE, Liu et al. 2020).

In the camera's frame x is right, y down and z forwards. A box is x, y, z of the middle of its lower
face, its length, height and width, and its yaw around y: 0 where its length lies along x, and growing from z
towards minus x, as in KITTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelport.runtime.decoding.class_scores import peaks
from modelport.types import Array


@dataclass(frozen=True)
class Lens:
    """A camera without distortion.

    Attributes:
        focal: across and down, in pixels of the picture.
        middle: x and y where the axis meets the picture, counted from the middle of the first pixel.
    """

    focal: tuple[float, float]
    middle: tuple[float, float]

    def places(self, points: Array, depths: Array) -> Array:
        """Where in space (n, 3) what is seen at points (n, 2) of the picture is, that far along z."""
        across = (points[:, 0] - self.middle[0]) / self.focal[0]
        down = (points[:, 1] - self.middle[1]) / self.focal[1]
        return np.stack([across * depths, down * depths, depths], -1)

    def seen(self, places: Array) -> Array:
        """Where in the picture (..., 2) places in space (..., 3) are; NaN behind the camera."""
        ahead = np.where(places[..., 2:] > 1e-6, places[..., 2:], np.nan)
        return np.asarray(places[..., :2] / ahead * self.focal + self.middle)


@dataclass(frozen=True, eq=False)
class Peaks:
    """Attributes:
    classes, scores: n.
    cells: n x 2, x and y in the map.
    values: n x channels of the other output there.
    """

    classes: Array
    scores: Array
    cells: Array
    values: Array


def strongest_peaks(heat: Array, values: Array, most: int, threshold: float, window: int) -> Peaks:
    """The highest places of a class, none beside a higher one of its own.

    Args:
        heat: classes x height x width, probabilities.
        values: channels x height x width.
    """
    classes, height, width = heat.shape
    flat = heat.reshape(classes, -1).T
    top = peaks(flat, (height, width), window).T.ravel()
    order = np.argsort(-top, kind="stable")[:most]
    order = order[top[order] >= threshold]
    number, cell = np.divmod(order, height * width)
    down, across = np.divmod(cell, width)
    return Peaks(number, top[order], np.stack([across, down], -1), values[:, down, across].T)


def turned_yaws(sine: Array, cosine: Array, places: Array) -> Array:
    """Yaws, -pi..pi, from the sine and cosine of the angle that the camera sees, and where things are."""
    seen = np.arctan(sine / (cosine + 1e-7))
    seen = seen + np.where(cosine >= 0, -np.pi / 2, np.pi / 2)
    yaws = seen + np.arctan2(places[:, 0], places[:, 2])
    return np.asarray((yaws + np.pi) % (2 * np.pi) - np.pi)


def camera_boxes(
    found: Peaks,
    points: Array,
    lens: Lens,
    depth: tuple[float, float],
    sizes: Sequence[tuple[float, float, float]],
) -> Array:
    """Boxes (n, 7) for peaks whose values are depth, x, y, length, height, width, sine and cosine.

    Args:
        points: n x 2, the peaks' refined places in the picture, counted as the lens does.
        depth: mean and deviation of depths.
        sizes: usual length, height and width of each class.
    """
    values = found.values.astype(np.float64)
    depths = values[:, 0] * depth[1] + depth[0]
    places = lens.places(points, depths)
    sides = np.exp(values[:, 3:6]) * np.asarray(sizes, np.float64)[found.classes]
    yaws = turned_yaws(values[:, 6], values[:, 7], places)
    lowered = places + np.stack([np.zeros(len(sides)), sides[:, 1] / 2, np.zeros(len(sides))], -1)
    return np.concatenate([lowered, sides, yaws[:, None]], -1)


def camera_vertices(boxes: Array) -> Array:
    """The 8 corners (n, 8, 3) of boxes of the camera's frame: the lower face around, then the upper."""
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    along, wide = signs[:, 0] * boxes[:, 3:4], signs[:, 1] * boxes[:, 5:6]
    cos, sin = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    x = along * cos + wide * sin + boxes[:, 0:1]
    z = -along * sin + wide * cos + boxes[:, 2:3]
    lower = np.stack([x, np.broadcast_to(boxes[:, 1:2], x.shape), z], -1)
    upper = lower - boxes[:, None, None, 4] * np.array([0, 1, 0])
    return np.concatenate([lower, upper], 1)
