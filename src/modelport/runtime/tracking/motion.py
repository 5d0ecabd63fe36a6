"""Where boxes will be next: a Kalman filter of constant speed for many boxes at once.

A box is its middle, its ratio of width to height and its height, each with a speed (Bewley et al., SORT,
2016; Wojke et al., Deep SORT, 2017). Noise grows with the height. As no noise joins two of these four,
the filter is four of two numbers each, and needs no matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelport.types import Array

PLACE, SPEED = 1 / 20, 1 / 160
"""Deviations of a place and of a speed, in heights of the box."""

_RATIO = 2
"""The column of the ratio, whose noise does not grow."""


@dataclass(eq=False)
class Motion:
    """States of N boxes, each N x 4.

    Attributes:
        place: middle x, middle y, width / height, height.
        speed: of these, by frame.
        spread: variance of the place.
        joint: covariance of place and speed.
        unrest: variance of the speed.
    """

    place: Array
    speed: Array
    spread: Array
    joint: Array
    unrest: Array

    @classmethod
    def begin(cls, boxes: Array) -> Motion:
        """At rest, at boxes seen for the first time, N x 4 corners."""
        place = measures(boxes)
        heights = place[:, 3:]
        spread = _noise(2 * PLACE * heights, 1e-2)
        unrest = _noise(10 * SPEED * heights, 1e-5)
        return cls(place, np.zeros_like(place), spread, np.zeros_like(place), unrest)

    @classmethod
    def join(cls, parts: Sequence[Motion]) -> Motion:
        names = ("place", "speed", "spread", "joint", "unrest")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, rows: Array | slice) -> Motion:
        return Motion(
            self.place[rows],
            self.speed[rows],
            self.spread[rows],
            self.joint[rows],
            self.unrest[rows],
        )

    def step(self) -> Motion:
        """One frame later."""
        heights = self.place[:, 3:]
        return Motion(
            self.place + self.speed,
            self.speed,
            self.spread + 2 * self.joint + self.unrest + _noise(PLACE * heights, 1e-2),
            self.joint + self.unrest,
            self.unrest + _noise(SPEED * heights, 1e-5),
        )

    def seen(self, boxes: Array) -> Motion:
        """After these boxes, N x 4 corners, were seen."""
        total = self.spread + _noise(PLACE * self.place[:, 3:], 1e-1)
        gain, push = self.spread / total, self.joint / total
        miss = measures(boxes) - self.place
        return Motion(
            self.place + gain * miss,
            self.speed + push * miss,
            self.spread - gain * self.spread,
            self.joint - gain * self.joint,
            self.unrest - push * self.joint,
        )

    @property
    def boxes(self) -> Array:
        """N x 4, corners."""
        height = np.maximum(self.place[:, 3], 1e-6)
        half = np.stack([np.maximum(self.place[:, 2], 1e-6) * height, height], -1) / 2
        return np.concatenate([self.place[:, :2] - half, self.place[:, :2] + half], -1)


def measures(boxes: Array) -> Array:
    """Middle x, middle y, width / height and height of corners, N x 4."""
    boxes = np.asarray(boxes, np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.column_stack([middles, sides[:, 0] / sides[:, 1], sides[:, 1]])


def _noise(deviations: Array, ratio: float) -> Array:
    """Variances, N x 4, of deviations N x 1."""
    found = np.repeat(deviations**2, 4, 1)
    found[:, _RATIO] = ratio**2
    return found
