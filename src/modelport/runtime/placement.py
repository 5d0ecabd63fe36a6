"""Where the pixels of a tensor lie in the picture they were made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from modelport.types import Array

Sides = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True, eq=False)
class Placement:
    """A map from the picture to the tensor, for results that are places.

    Coordinates are continuous: the first pixel lies between 0 and 1, so its middle is 0.5.

    Attributes:
        picture: width and height of the picture as it was decoded, turned upright where the transforms
            say so.
        tensor: width and height of the tensor.
        matrix: 3 x 3, float64; brings (x, y, 1) in the picture to (x, y, 1) in the tensor.
    """

    picture: Sides
    tensor: Sides
    matrix: Array

    @classmethod
    def whole(cls, width: int, height: int) -> Placement:
        """Before any transform: every pixel where it is."""
        return cls((width, height), (width, height), np.eye(3))

    def then(self, matrix: Array, tensor: Sides) -> Placement:
        """After one transform more."""
        return replace(self, matrix=matrix @ self.matrix, tensor=tensor)

    def points_to_picture(self, points: Array) -> Array:
        """From places in the tensor (..., 2) to places in the picture, float64, not clipped."""
        return _moved(np.linalg.inv(self.matrix), points)

    def points_to_tensor(self, points: Array) -> Array:
        """From places in the picture (..., 2) to places in the tensor, float64."""
        return _moved(self.matrix, points)

    def boxes_to_picture(self, boxes: Array, *, clip: bool = True) -> Array:
        """Boxes (..., 4) as left, top, right, bottom; a turned one becomes the upright box around it.

        Args:
            clip: whether to cut them off at the edges of the picture.
        """
        boxes = np.asarray(boxes, np.float64)
        left, top, right, bottom = np.moveaxis(boxes, -1, 0)
        corners = np.stack([left, top, right, top, right, bottom, left, bottom], -1)
        placed = self.points_to_picture(corners.reshape(*boxes.shape[:-1], 4, 2))
        found = np.concatenate([placed.min(-2), placed.max(-2)], -1)
        if not clip:
            return found
        width, height = self.picture
        limits = np.array([width, height, width, height], np.float64)
        return np.asarray(found.clip(0, limits))

    @property
    def scale(self) -> float:
        """How many pixels of the tensor a pixel of the picture has, by area: for lengths."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2]))))


def _moved(matrix: Array, points: Array) -> Array:
    points = np.asarray(points, np.float64)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(moved[..., :2] / moved[..., 2:])


def scaling(before: tuple[float, float], after: tuple[float, float]) -> Array:
    """The matrix of a resize."""
    return np.diag([after[0] / before[0], after[1] / before[1], 1.0])


def shifting(across: float, down: float) -> Array:
    """The matrix of a shift: of padding where positive, of a crop where negative."""
    matrix = np.eye(3)
    matrix[:2, 2] = across, down
    return matrix
