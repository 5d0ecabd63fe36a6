"""Resizes pictures as PIL, OpenCV and torch do, whole or only the part that is wanted."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image

from modelport.cores import usable_cores
from modelport.errors import EngineUnavailableError
from modelport.runtime.transforms.averaging import averaged
from modelport.types import Array

Interpolation = Literal[
    "pil.nearest",
    "pil.box",
    "pil.bilinear",
    "pil.hamming",
    "pil.bicubic",
    "pil.lanczos",
    "opencv.nearest",
    "opencv.nearest_exact",
    "opencv.linear",
    "opencv.cubic",
    "opencv.area",
    "opencv.lanczos4",
    "torch.area",
]

_PIL = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SUPPORT = {"bilinear": 1.0, "hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}
"""How far the continuous filters reach, in pixels of the coarser grid. The box filter is missing: it
jumps at its edges, which the rounding of positions can cross."""

_OPENCV = {
    "nearest": "INTER_NEAREST",
    "nearest_exact": "INTER_NEAREST_EXACT",
    "linear": "INTER_LINEAR",
    "cubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos4": "INTER_LANCZOS4",
}

SPLIT_PIXELS = 128 * 128
"""Smaller results are not worth waking a thread for."""

CORES = usable_cores()

Window = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of a picture."""


def resample(image: Image.Image, interpolation: str, size: tuple[int, int]) -> Image.Image:
    """The whole picture at that width and height."""
    return resample_part(image, interpolation, size, (0, 0, *size))


def resample_part(
    image: Image.Image, interpolation: str, size: tuple[int, int], window: Window
) -> Image.Image:
    """A part of the picture resized to `size`; pixels outside it are not computed where PIL resizes."""
    whole = (0, 0, *size)
    if image.size == size:
        return image if window == whole else image.crop(window)
    library, method = interpolation.split(".")
    if library != "pil":
        return Image.fromarray(part_pixels(image, interpolation, size, window))
    if _is_separable(image, method, size):
        return _pil_part(image, method, size, window)
    resized = image.resize(size, _PIL[method])
    return resized if window == whole else resized.crop(window)


def part_pixels(
    image: Image.Image, interpolation: str, size: tuple[int, int], window: Window
) -> Array:
    """The same as an array of height x width[ x channels], which all methods but PIL's make at once."""
    library, method = interpolation.split(".")
    if library == "pil" or image.size == size:
        return np.asarray(resample_part(image, interpolation, size, window))
    left, top, right, bottom = window
    if library == "torch":
        whole = averaged(np.asarray(image), size)
    else:
        whole = _opencv_resize(np.asarray(image), size, method)
    return whole[top:bottom, left:right]


def _is_separable(image: Image.Image, method: str, size: tuple[int, int]) -> bool:
    """Whether PIL resizes across first and down second, so that parts can be done alone.

    It rounds to 8 bits between the two passes, so their order shows. Measured on Pillow 13: it goes
    down first where that takes away more than twice as many pixels of height as of width, which an
    ordinary shrink does to pictures more than twice as high as wide. Earlier ones never do, but for
    pictures like ribbons.
    """
    down_first = 0 < image.height - size[1] > 2 * (image.width - size[0])
    ribbon = image.height > 50 * image.width
    return method in _SUPPORT and not down_first and not ribbon


def _pil_part(
    image: Image.Image, method: str, size: tuple[int, int], window: Window
) -> Image.Image:
    """PIL's own resize for a part of the result: the lower half on a second thread.

    PIL lets go of the interpreter while it works. The result equals the same part of the whole but
    for the rounding of positions to float32, which moves a value by one grey level at most.
    """
    left, top, right, bottom = window
    if (right - left) * (bottom - top) < SPLIT_PIXELS or CORES < 2:
        return _band(image, method, size, window)
    middle = (top + bottom) // 2
    lower = _helper().submit(_band, image, method, size, (left, middle, right, bottom))
    result = Image.new(image.mode, (right - left, bottom - top))
    result.paste(_band(image, method, size, (left, top, right, middle)))
    result.paste(lower.result(), (0, middle - top))
    return result


def _band(image: Image.Image, method: str, size: tuple[int, int], window: Window) -> Image.Image:
    """One pass across the rows that count, one pass down the columns that count.

    The pass across goes over the whole width, for PIL keeps fractions of a position in float32: were
    both passes to start at fractions, their roundings could add up to two grey levels.
    """
    left, top, right, bottom = window
    down = image.height / size[1]
    reach = _SUPPORT[method] * max(1.0, down) + 1
    first = max(0, math.floor(top * down - reach))
    last = min(image.height, math.ceil(bottom * down + reach))
    rows = image.crop((0, first, image.width, last))
    flat = rows.resize((size[0], last - first), _PIL[method])
    columns = flat.crop((left, 0, right, last - first))
    ends = (top * down - first, min(bottom * down - first, last - first))
    return columns.resize(
        (right - left, bottom - top), _PIL[method], (0, ends[0], right - left, ends[1])
    )


@cache
def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="modelport-resize")


if hasattr(os, "register_at_fork"):  # a child has no threads, and would wait for this one for ever
    os.register_at_fork(after_in_child=_helper.cache_clear)


def _opencv_resize(array: Array, size: tuple[int, int], method: str) -> Array:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"This model was trained with OpenCV's {method} resize, and OpenCV is not installed",
            hint='Install it with: pip install "modelport[opencv]"',
        ) from error
    return np.asarray(cv2.resize(array, size, interpolation=getattr(cv2, _OPENCV[method])))
