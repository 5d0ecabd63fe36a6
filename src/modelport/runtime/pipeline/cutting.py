"""From things to the crops that the next model sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from modelport.runtime.pipeline.stages import Crops
from modelport.runtime.pipeline.things import box_of, label_of, quad_of, score_of
from modelport.runtime.transforms.regions import Cut, crop_box, crop_quad, warp_box
from modelport.types import Array

_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


def chosen(things: Sequence[Any], crops: Crops) -> list[int]:
    """Which things of a result a stage takes, by number, in their order."""
    numbers = [
        number
        for number, thing in enumerate(things)
        if (crops.labels is None or label_of(thing) in crops.labels)
        and score_of(thing) >= crops.min_score
    ]
    if crops.top is None:
        return numbers
    best = sorted(numbers, key=lambda number: -score_of(things[number]))
    return sorted(best[: crops.top])


def cut(image: Image.Image, thing: Any, crops: Crops, degrees: int = 0) -> Cut:
    """The crop of a thing, and the matrix from the picture to it.

    Args:
        degrees: how far it is turned in the end, counter-clockwise: 0, 90, 180 or 270.

    Raises:
        DataError: where the thing has no area, or is far too large.
    """
    part, matrix = _cut(image, thing, crops)
    if not degrees:
        return part, matrix
    return part.transpose(_TURNS[degrees]), _turning(degrees, *part.size) @ matrix


def _cut(image: Image.Image, thing: Any, crops: Crops) -> Cut:
    if crops.cut == "quad":
        return crop_quad(image, quad_of(thing), size=crops.size, upright=crops.upright)
    box = box_of(thing)
    if crops.cut == "warp" and crops.size is not None:
        return warp_box(image, box, crops.size, padding=crops.padding, udp=crops.udp)
    return crop_box(
        image,
        box,
        scale=crops.scale,
        square=crops.square,
        clip=crops.clip,
        fill=crops.fill,
        edges=crops.edges,
        nominal=crops.nominal,
    )


def _turning(degrees: int, width: int, height: int) -> Array:
    """3 x 3: from a picture with these sides to the turned one."""
    if degrees == 180:
        return np.array([[-1, 0, width], [0, -1, height], [0, 0, 1]], np.float64)
    if degrees == 90:
        return np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1]], np.float64)
    return np.array([[0, -1, height], [1, 0, 0], [0, 0, 1]], np.float64)
