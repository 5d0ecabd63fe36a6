"""Parts of a picture that one model found, cut out for the next one.

Each function gives the part as a picture, and the matrix that brings places of the whole picture to places
of the part (see `Placement` for how places are counted).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from modelport.errors import DataError
from modelport.runtime.placement import Sides, scaling, shifting
from modelport.runtime.transforms.frames import Fill, Frame
from modelport.runtime.transforms.warping import Sampling, check_sides, from_index, warp
from modelport.types import Array

Cut = tuple[Image.Image, Array]
"""A part of a picture, and the 3 x 3 matrix from places of the picture to places of the part."""

Edges = Literal["touched", "floor"]

Places = Array | Sequence[float] | Sequence[Sequence[float]]


def crop_box(
    image: Image.Image,
    box: Places,
    *,
    scale: float = 1.0,
    square: bool = False,
    clip: bool = True,
    fill: Fill = 0,
    edges: Edges = "touched",
    nominal: bool = False,
) -> Cut:
    """The pixels of a box, none of them changed.

    Args:
        box: left, top, right, bottom in the picture.
        scale: the box grows about its middle by this factor first.
        square: whether its shorter side then grows to the longer one.
        clip: whether it ends where the picture ends; else the rest is filled. At least one pixel is
            left of it.
        fill: what is outside the picture.
        edges: which pixels are whole in it: all that it touches; or from the left and upper edge rounded
            down to the right and lower one, that are rounded down, too (`floor`).
        nominal: whether places are counted as if what is cut out were exactly the box, though it was
            brought to whole pixels and ends at the edges of the picture: as MTCNN counts.

    Raises:
        DataError: where the box holds no numbers, or is far too large; or has no area and is `nominal`.
    """
    grown = _grown(_numbers(box, (4,)), scale, square=square)
    whole = np.floor(grown)
    if edges == "touched":
        whole[2:] = np.ceil(grown[2:])
    if clip:
        width, height = image.size
        whole = whole.clip(0, [width - 1, height - 1, width, height])
    whole[2:] = np.maximum(whole[2:], whole[:2] + 1)
    first, upper, last, lower = (int(edge) for edge in whole)
    sides = (last - first, lower - upper)
    check_sides(sides)
    part = Frame(image.size, (first, upper, last, lower), fill=fill).apply(image)
    return part, _onto(grown, sides) if nominal else shifting(-first, -upper)


def crop_quad(
    image: Image.Image,
    points: Places,
    *,
    size: tuple[int, int] | None = None,
    upright: float | None = 1.5,
    corners: Literal["edges", "centers"] = "edges",
    interpolation: Sampling = "cubic",
) -> Cut:
    """What four points enclose, as an upright rectangle: a line of text, a plate, a page.

    Without a size, the longer one of each pair of sides is that of the rectangle, cut to whole pixels. This
    and `upright` are the rules of PaddleOCR.

    Args:
        points: (4, 2): upper left, upper right, lower right, lower left, as the thing itself stands.
        size: height and width of the result.
        upright: a result that is at least so many times higher than wide is turned by a quarter to the
            left, for columns of letters; None turns nothing. Not done where a size is given.
        corners: `edges`: the points are the corners of the result. `centers`: they are the middles of its
            corner pixels and are counted from the middle of the first pixel, as PaddleOCR and OpenCV do.
        interpolation: see `warp`. Where the points lie outside of the picture, its edge is repeated.

    Raises:
        DataError: where the points enclose no area or too large a one, or are no numbers.
    """
    quad = _numbers(points, (4, 2))
    sides = _sides_of(quad) if size is None else (size[1], size[0])
    matrix = _perspective(quad, sides)
    if corners == "centers":
        matrix = from_index(matrix)
    if upright is not None and size is None and sides[1] >= upright * sides[0]:
        matrix = np.array([[0, 1, 0], [-1, 0, sides[0]], [0, 0, 1]], np.float64) @ matrix
        sides = (sides[1], sides[0])
    return warp(image, matrix, sides, interpolation=interpolation, fill=None), matrix


def warp_box(
    image: Image.Image,
    box: Places,
    size: tuple[int, int],
    *,
    padding: float = 1.25,
    udp: bool = False,
    interpolation: Sampling = "linear",
    fill: Fill = 0,
) -> Cut:
    """A box with room around it, at the size and the aspect ratio of the model: top-down pose.

    As MMPose does it: the box grows about its middle by `padding`, then its one side until it has the
    aspect ratio of the result. The middle of the box is counted as OpenCV counts, from the middle of the
    first pixel; the matrix given back allows for that.

    Args:
        box: left, top, right, bottom in the picture.
        size: height and width of the result.
        udp: whether the first and last pixels of the result lie on the edges of the box (`use_udp=True`;
            "The Devil is in the Details: Delving into Unbiased Data Processing", Huang and others, 2020).

    Raises:
        DataError: where the box has no area or is no numbers.
    """
    left, top, right, bottom = _numbers(box, (4,))
    high, wide = size
    width, height = (right - left) * padding, (bottom - top) * padding
    width, height = max(width, height * wide / high), max(height, width * high / wide)
    if not (width > 0 and height > 0):
        raise DataError(f"The box {_said(box)} has no area", expected="left < right, top < bottom")
    inner = (wide - 1, high - 1) if udp else (wide, high)
    middle = shifting(inner[0] / 2, inner[1] / 2) @ np.diag(
        [inner[0] / width, inner[1] / height, 1]
    )
    matrix = from_index(middle @ shifting(-(left + right) / 2, -(top + bottom) / 2))
    return warp(image, matrix, (wide, high), interpolation=interpolation, fill=fill), matrix


def _onto(box: Array, sides: Sides) -> Array:
    """The matrix that brings a box to a picture with these sides, all of it."""
    left, top, right, bottom = box.tolist()
    if not (left < right and top < bottom):
        raise DataError(f"The box {_said(box)} has no area", expected="left < right, top < bottom")
    return scaling((right - left, bottom - top), sides) @ shifting(-left, -top)


def _grown(box: Array, scale: float, *, square: bool) -> Array:
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * scale
    half = np.full(2, half.max()) if square else half
    return np.concatenate([middle - half, middle + half])


def _sides_of(quad: Array) -> Sides:
    upper, right, lower, left = np.linalg.norm(quad - np.roll(quad, -1, 0), axis=1)
    return max(1, int(max(upper, lower))), max(1, int(max(left, right)))


def _perspective(quad: Array, sides: Sides) -> Array:
    """The matrix that brings four points to the corners of a rectangle."""
    wide, high = sides
    rows, values = [], []
    for (x, y), (u, v) in zip(quad, [(0, 0), (wide, 0), (wide, high), (0, high)], strict=True):
        rows += [[x, y, 1, 0, 0, 0, -x * u, -y * u], [0, 0, 0, x, y, 1, -x * v, -y * v]]
        values += [u, v]
    try:
        found = np.linalg.solve(np.array(rows), np.array(values, np.float64))
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"The points {_said(quad)} enclose no area",
            expected="four corners, one after the other around it",
        ) from error
    return np.append(found, 1.0).reshape(3, 3)


def _numbers(places: Places, shape: tuple[int, ...]) -> Array:
    array = np.asarray(places, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise DataError(
            f"{_said(places)} is no part of a picture",
            expected=f"{' x '.join(str(side) for side in shape)} finite numbers",
        )
    return array


def _said(places: Places) -> str:
    return str(np.asarray(places, np.float64).round(1).tolist())
