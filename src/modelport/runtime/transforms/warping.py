"""Pictures seen through a matrix: affine and perspective, with OpenCV, or with PIL where that is missing."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from modelport.errors import DataError
from modelport.runtime.placement import Sides, shifting
from modelport.runtime.transforms.frames import Fill, Frame, colour_of
from modelport.runtime.transforms.resampling import Window
from modelport.types import Array

Sampling = Literal["nearest", "linear", "cubic"]
"""How a place between pixels is read. None of them averages where a picture shrinks."""

_MOST_PIXELS = 1 << 26
_OPENCV = {"nearest": "INTER_NEAREST", "linear": "INTER_LINEAR", "cubic": "INTER_CUBIC"}
_PIL = {
    "nearest": Image.Resampling.NEAREST,
    "linear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
}
_REACH = 3
"""Pixels around a place that the widest filter reads, and one more."""
_ALL_AROUND = (_REACH,) * 4


def warp(
    image: Image.Image,
    matrix: Array,
    sides: Sides,
    *,
    interpolation: Sampling = "linear",
    fill: Fill | None = 0,
) -> Image.Image:
    """The part of a picture that a matrix brings into a picture of that width and height.

    Args:
        matrix: 3 x 3, from places of the picture to places of the result; see `Placement`.
        interpolation: OpenCV's where it is installed. PIL's `cubic` has other weights (a = -1 where OpenCV
            has -0.75), and OpenCV may round places to 1/32 of a pixel.
        fill: what is outside the picture; None repeats its edge.

    Raises:
        DataError: where the matrix cannot be turned back, or the result would be too large.
    """
    check_sides(sides)
    image, matrix = _near(image, matrix, sides)
    by_index = _OUT_OF_INDEX @ matrix @ _INTO_INDEX
    if not np.isfinite(by_index).all() or abs(np.linalg.det(by_index)) < 1e-12:
        raise DataError(
            "A part of the picture has no area", expected="corners that enclose some of it"
        )
    try:
        return _with_opencv(image, by_index, sides, interpolation, fill)
    except ModuleNotFoundError:
        return _with_pil(image, matrix, sides, interpolation, fill)


_INTO_INDEX = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
_OUT_OF_INDEX = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
"""OpenCV counts from the middle of the first pixel, and `Placement` from its edge."""


def from_index(matrix: Array) -> Array:
    """From a matrix for places as OpenCV counts them to one for those of `Placement`."""
    return np.asarray(_INTO_INDEX @ matrix @ _OUT_OF_INDEX)


def check_sides(sides: Sides) -> None:
    """Raises DataError where a picture would be so large that its memory may not be there."""
    if sides[0] * sides[1] > _MOST_PIXELS:
        raise DataError(
            f"A part of the picture would be {sides[0]} x {sides[1]} pixels large",
            expected=f"at most {_MOST_PIXELS} pixels",
            hint="Look at the boxes: they are places in the picture, in pixels",
        )


def _with_opencv(
    image: Image.Image, matrix: Array, sides: Sides, interpolation: str, fill: Fill | None
) -> Image.Image:
    import cv2

    border = cv2.BORDER_REPLICATE if fill is None else cv2.BORDER_CONSTANT
    colour = colour_of(fill or 0, image.mode)
    options = {
        "flags": getattr(cv2, _OPENCV[interpolation]),
        "borderMode": border,
        "borderValue": colour if isinstance(colour, tuple) else (colour,),
    }
    array = np.asarray(image)
    if np.array_equal(matrix[2], (0, 0, 1)):
        return Image.fromarray(cv2.warpAffine(array, matrix[:2], sides, **options))
    return Image.fromarray(cv2.warpPerspective(array, matrix, sides, **options))


def _with_pil(
    image: Image.Image, matrix: Array, sides: Sides, interpolation: str, fill: Fill | None
) -> Image.Image:
    """PIL asks where a pixel of the result comes from, in places from the edge of the first pixel."""
    margins = _ALL_AROUND if fill is not None else _margins(image, matrix, sides)
    image = _padded(image, margins, fill)
    left, top = margins[:2]
    back = np.linalg.inv(matrix @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]))
    back = back / back[2, 2]
    return image.transform(
        sides,
        Image.Transform.PERSPECTIVE,
        tuple(float(value) for value in back.reshape(-1)[:8]),
        _PIL[interpolation],
        fillcolor=None if fill is None else colour_of(fill, image.mode),
    )


def _near(image: Image.Image, matrix: Array, sides: Sides) -> tuple[Image.Image, Array]:
    """What the result can see of the picture: a line of text needs no pass over all of a photo."""
    places = _seen(matrix, sides)
    if places is None:
        return image, matrix
    left, top = np.floor(places.min(0) - _REACH).clip(0, image.size).astype(int)
    right, bottom = np.ceil(places.max(0) + _REACH).clip(0, image.size).astype(int)
    if left >= right or top >= bottom or (right - left, bottom - top) == image.size:
        return image, matrix
    part = image.crop((int(left), int(top), int(right), int(bottom)))
    return part, matrix @ shifting(float(left), float(top))


def _seen(matrix: Array, sides: Sides) -> Array | None:
    """Where the corners of the result lie in the picture; None where one lies behind the horizon."""
    wide, high = sides
    corners = np.array([[0, 0, 1], [wide, 0, 1], [wide, high, 1], [0, high, 1]], np.float64)
    try:
        seen = corners @ np.linalg.inv(matrix).T
    except np.linalg.LinAlgError:
        return None
    far = seen[:, 2]
    if not np.isfinite(seen).all() or not ((far > 0).all() or (far < 0).all()):
        return None
    return np.asarray(seen[:, :2] / seen[:, 2:])


def _margins(image: Image.Image, matrix: Array, sides: Sides) -> Window:
    """How far the corners of the result look out over the edges of the picture."""
    places = _seen(matrix, sides)
    if places is None:
        return _ALL_AROUND
    low = np.ceil(_REACH - places.min(0)).clip(0, max(image.size)).astype(int)
    far = np.ceil(places.max(0) + _REACH - image.size).clip(0, max(image.size)).astype(int)
    return int(low[0]), int(low[1]), int(far[0]), int(far[1])


def _padded(image: Image.Image, margins: Window, fill: Fill | None) -> Image.Image:
    """The picture with something around it, for PIL blends nothing at the very edge."""
    left, top, right, bottom = margins
    if fill is not None:
        window = (-left, -top, image.width + right, image.height + bottom)
        return Frame(image.size, window, fill=fill).apply(image)
    array = np.asarray(image)
    around = ((top, bottom), (left, right), (0, 0))[: array.ndim]
    return Image.fromarray(np.pad(array, around, mode="edge"))
