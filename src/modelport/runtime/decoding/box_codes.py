"""From the numbers of a head to boxes: one small function for each code.

All take N x 4 numbers and the priors of these N rows, and give corners in pixels of the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelport.runtime.decoding.anchors import Priors
from modelport.runtime.decoding.boxes import corners_of_centres, corners_of_sides
from modelport.runtime.decoding.reading import sigmoid, softmax
from modelport.types import Array

Code = Literal[
    "xyxy",
    "xywh",
    "cxcywh",
    "ltrb",
    "deltas",
    "linear",
    "yolov3",
    "yolov5",
    "centre_size",
    "edges",
]
"""What four numbers of a box mean; see `CODES`."""

Unit = Literal["pixels", "strides"]


@dataclass(frozen=True)
class Scaling:
    """Attributes:
    variances: that deltas are multiplied by: of x, y, width, height.
    limit: the largest exponent of a side; None for no limit.
    unit: of lengths.
    """

    variances: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    limit: float | None = None
    unit: Unit = "strides"


def _xyxy(numbers: Array, priors: Priors | None, scaling: Scaling) -> Array:
    return numbers


def _xywh(numbers: Array, priors: Priors | None, scaling: Scaling) -> Array:
    return corners_of_sides(numbers)


def _cxcywh(numbers: Array, priors: Priors | None, scaling: Scaling) -> Array:
    return corners_of_centres(numbers)


def _ltrb(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """Distances to the left, top, right, bottom of a point (Tian et al., FCOS, 2019)."""
    reach = numbers * np.tile(priors.strides, 2) if scaling.unit == "strides" else numbers
    return np.concatenate([priors.centres - reach[:, :2], priors.centres + reach[:, 2:]], 1)


def _deltas(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """Shifts in sides of the prior, and logarithms of sides (Girshick et al., R-CNN, 2014)."""
    moves = numbers * np.asarray(scaling.variances, numbers.dtype)
    powers = moves[:, 2:] if scaling.limit is None else np.minimum(moves[:, 2:], scaling.limit)
    centres = priors.centres + moves[:, :2] * priors.sides
    return _around(centres, np.exp(powers) * priors.sides)


def _linear(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """Shifts and sides, both in sides of the prior (Bazarevsky et al., BlazeFace, 2019)."""
    moves = numbers * np.asarray(scaling.variances, numbers.dtype)
    return _around(priors.centres + moves[:, :2] * priors.sides, moves[:, 2:] * priors.sides)


def _yolov3(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """A sigmoid within the cell, and logarithms of sides (Redmon and Farhadi, YOLOv3, 2018)."""
    centres = priors.centres + sigmoid(numbers[:, :2]) * priors.strides
    return _around(centres, np.exp(numbers[:, 2:]) * priors.sides)


def _yolov5(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """Sigmoids that reach half a cell beyond the cell, and sides up to four times the anchor's."""
    shares = sigmoid(numbers)
    centres = priors.centres + (shares[:, :2] * 2 - 0.5) * priors.strides
    return _around(centres, (shares[:, 2:] * 2) ** 2 * priors.sides)


def _centre_size(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """A shift in cells, and plain sides (Zhou et al., Objects as Points, 2019)."""
    sides = numbers[:, 2:] * priors.strides if scaling.unit == "strides" else numbers[:, 2:]
    return _around(priors.centres + numbers[:, :2] * priors.strides, sides)


def _edges(numbers: Array, priors: Priors, scaling: Scaling) -> Array:
    """A shift of each edge in sides of the prior (Zhang et al., MTCNN, 2016)."""
    moves = numbers * np.asarray(scaling.variances, numbers.dtype)
    corners = priors.corners
    return np.asarray(corners + moves * np.tile(priors.sides, 2))


def _around(centres: Array, sides: Array) -> Array:
    return corners_of_centres(np.concatenate([centres, sides], 1))


ABSOLUTE: dict[str, Callable[[Array, Priors | None, Scaling], Array]] = {
    "xyxy": _xyxy,
    "xywh": _xywh,
    "cxcywh": _cxcywh,
}
"""Codes that need no priors."""

RELATIVE: dict[str, Callable[[Array, Priors, Scaling], Array]] = {
    "ltrb": _ltrb,
    "deltas": _deltas,
    "linear": _linear,
    "yolov3": _yolov3,
    "yolov5": _yolov5,
    "centre_size": _centre_size,
    "edges": _edges,
}
"""Codes relative to priors."""

SWAPPED = [1, 0, 3, 2]
"""From (y, x, ...) to (x, y, ...), pair by pair."""


def expected_bins(logits: Array, bins: int) -> Array:
    """Means of distributions over 0, 1, 2, ... (Li et al., Generalized Focal Loss, 2020).

    Args:
        logits: N x (4 * bins), all bins of a side together.

    Returns:
        N x 4.
    """
    shares = softmax(logits.reshape(len(logits), 4, bins))
    return np.asarray(shares @ np.arange(bins, dtype=shares.dtype))
