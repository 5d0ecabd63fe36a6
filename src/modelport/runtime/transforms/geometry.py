"""Transforms that change where pixels are."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import PositiveInt

from modelport.errors import EngineUnavailableError
from modelport.runtime.placement import Sides, scaling, shifting
from modelport.runtime.transforms.base import Spatial
from modelport.types import Array

Interpolation = Literal[
    "pil.nearest",
    "pil.box",
    "pil.bilinear",
    "pil.hamming",
    "pil.bicubic",
    "pil.lanczos",
    "opencv.nearest",
    "opencv.linear",
    "opencv.cubic",
    "opencv.area",
    "opencv.lanczos4",
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
    "linear": "INTER_LINEAR",
    "cubic": "INTER_CUBIC",
    "area": "INTER_AREA",
    "lanczos4": "INTER_LANCZOS4",
}


SPLIT_PIXELS = 128 * 128
"""Smaller results are not worth waking a thread for."""

CORES = os.cpu_count() or 1


class Resize(Spatial):
    """Resizes a picture.

    Attributes:
        size: one number for the shorter edge, the aspect ratio kept; or (height, width).
        interpolation: library and method. The two libraries differ: PIL widens its filter when it
            shrinks (antialiasing), OpenCV's linear and cubic do not, so neither can stand in for the
            other.
        rounding: of the longer edge: `floor` as torchvision and MMPretrain's `ResizeEdge`, `nearest` as
            MMCV's `Resize(keep_ratio=True)`.
    """

    kind: Literal["resize"] = "resize"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    interpolation: Interpolation = "pil.bilinear"
    rounding: Literal["floor", "nearest"] = "floor"

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

    def apply(self, image: Image.Image) -> Image.Image:
        return resample(image, self.interpolation, self.target(*image.size))

    def sides(self, width: int, height: int) -> Sides:
        return self.target(width, height)

    def matrix(self, width: int, height: int) -> Array:
        return scaling((width, height), self.target(width, height))

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing."""
        if not isinstance(self.size, int):
            return self.size[1], self.size[0]
        shorter, longer = min(width, height), max(width, height)
        exact = self.size * longer / shorter
        other = max(1, int(exact) if self.rounding == "floor" else math.floor(exact + 0.5))
        return (self.size, other) if width <= height else (other, self.size)


class CenterCrop(Spatial):
    """Cuts out the middle; where the picture is smaller, black surrounds it.

    Attributes:
        size: one number for a square; or (height, width).
        rounding: of an odd margin: `half-even` as the `round` of torchvision and MMCV, `floor`
            as plain integer division.
    """

    kind: Literal["center_crop"] = "center_crop"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    rounding: Literal["half-even", "floor"] = "half-even"

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

    def apply(self, image: Image.Image) -> Image.Image:
        return cropped(image, self)

    def sides(self, width: int, height: int) -> Sides:
        return self.extent()

    def matrix(self, width: int, height: int) -> Array:
        left, top = self.corner(width, height)
        return shifting(-left, -top)

    def extent(self) -> tuple[int, int]:
        """Width and height after cropping."""
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return width, height

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the crop in a picture of that size; negative where it is smaller."""
        wide, high = self.extent()
        return self._margin(width - wide), self._margin(height - high)

    def _margin(self, spare: int) -> int:
        if spare < 0:  # both libraries pad the left and top with half of what lacks, rounded down
            return -((-spare) // 2)
        return round(spare / 2) if self.rounding == "half-even" else spare // 2


def resample(image: Image.Image, interpolation: str, size: tuple[int, int]) -> Image.Image:
    """The whole picture at that width and height."""
    if image.size == size:
        return image
    return _part(image, interpolation, size, (0, 0, *size))


def resample_crop(image: Image.Image, resize: Resize, crop: CenterCrop) -> Image.Image:
    """Resizes, then crops; pixels that the crop would throw away are not computed with PIL."""
    size = resize.target(*image.size)
    left, top = crop.corner(*size)
    wide, high = crop.extent()
    inside = left >= 0 and top >= 0 and left + wide <= size[0] and top + high <= size[1]
    if not inside or image.size == size:
        return cropped(resample(image, resize.interpolation, size), crop)
    return _part(image, resize.interpolation, size, (left, top, left + wide, top + high))


def cropped(image: Image.Image, crop: CenterCrop) -> Image.Image:
    left, top = crop.corner(*image.size)
    wide, high = crop.extent()
    if (left, top) == (0, 0) and image.size == (wide, high):
        return image
    return image.crop((left, top, left + wide, top + high))


Window = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of the resized picture."""


def _part(
    image: Image.Image, interpolation: str, size: tuple[int, int], window: Window
) -> Image.Image:
    """A part of the picture resized to `size`."""
    library, method = interpolation.split(".")
    if library == "opencv":
        whole = Image.fromarray(_opencv_resize(np.asarray(image), size, method))
    elif _is_separable(image, method, size):
        return _pil_part(image, method, size, window)
    else:
        whole = image.resize(size, _PIL[method])
    return whole if window == (0, 0, *size) else whole.crop(window)


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
