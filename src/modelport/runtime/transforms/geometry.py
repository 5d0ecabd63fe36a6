"""Transforms that change where pixels are."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveInt

from modelport.errors import EngineUnavailableError
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
_SMOOTH = ("bilinear", "hamming")
"""Filters that are continuous and never negative."""

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


class Resize(BaseModel):
    """Resizes a picture.

    Attributes:
        size: one number for the shorter edge, the aspect ratio kept; or (height, width).
        interpolation: library and method. The two libraries differ: PIL widens its filter when it
            shrinks (antialiasing), OpenCV's linear and cubic do not, so neither can stand in for the
            other.
        rounding: of the longer edge: `floor` as torchvision, `nearest` as OpenMMLab and Albumentations.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["resize"] = "resize"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    interpolation: Interpolation = "pil.bilinear"
    rounding: Literal["floor", "nearest"] = "floor"

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing."""
        if not isinstance(self.size, int):
            return self.size[1], self.size[0]
        shorter, longer = min(width, height), max(width, height)
        exact = self.size * longer / shorter
        other = max(1, int(exact) if self.rounding == "floor" else math.floor(exact + 0.5))
        return (self.size, other) if width <= height else (other, self.size)


class CenterCrop(BaseModel):
    """Cuts out the middle; where the picture is smaller, black surrounds it.

    Attributes:
        size: one number for a square; or (height, width).
        rounding: of an odd margin: `half-even` as torchvision's `round`, `floor` as most others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["center_crop"] = "center_crop"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    rounding: Literal["half-even", "floor"] = "half-even"

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

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
    library, method = interpolation.split(".")
    if image.size == size:
        return image
    if library == "pil":
        return _pil_resize(image, size, method, (0, 0, *image.size))
    return Image.fromarray(_opencv_resize(np.asarray(image), size, method))


def resample_crop(
    image: Image.Image,
    resize: Resize,
    crop: CenterCrop,
) -> Image.Image:
    """Resizes, then crops; pixels that the crop would throw away are never computed with PIL.

    The short cut differs from the long way by one grey level at most, in rare pixels by two: PIL
    rounds between its two passes and may take them in another order.
    """
    size = resize.target(*image.size)
    left, top = crop.corner(*size)
    wide, high = crop.extent()
    inside = left >= 0 and top >= 0 and left + wide <= size[0] and top + high <= size[1]
    library, method = resize.interpolation.split(".")
    # Nearest and box have edges that the rounding of positions crosses. Bicubic and Lanczos go past
    # black and white, where the pass that comes first cuts them off: up to 50 grey levels.
    if not inside or library != "pil" or method not in _SMOOTH or image.size == size:
        return cropped(resample(image, resize.interpolation, size), crop)
    across, down = image.width / size[0], image.height / size[1]
    box = (left * across, top * down, (left + wide) * across, (top + high) * down)
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    return _pil_resize(image, (wide, high), method, box)


def cropped(image: Image.Image, crop: CenterCrop) -> Image.Image:
    left, top = crop.corner(*image.size)
    wide, high = crop.extent()
    if (left, top) == (0, 0) and image.size == (wide, high):
        return image
    return image.crop((left, top, left + wide, top + high))


def _pil_resize(
    image: Image.Image, size: tuple[int, int], method: str, box: tuple[float, float, float, float]
) -> Image.Image:
    """PIL's resize, the lower half on a second thread: PIL lets go of the interpreter meanwhile.

    Only where halves cannot differ from the whole by more than rounding, as in `resample_crop`.
    """
    wide, high = size
    if method not in _SMOOTH or wide * high < SPLIT_PIXELS or CORES < 2:
        return image.resize(size, _PIL[method], box=box)
    half = high // 2
    middle = box[1] + (box[3] - box[1]) * half / high
    lower = _helper().submit(
        image.resize, (wide, high - half), _PIL[method], (box[0], middle, box[2], box[3])
    )
    result = Image.new(image.mode, size)
    result.paste(image.resize((wide, half), _PIL[method], (box[0], box[1], box[2], middle)))
    result.paste(lower.result(), (0, half))
    return result


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
