"""Resizes, crops and paddings in one form, so that several of them become one pass over the pixels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from modelport.errors import UsageError
from modelport.runtime.placement import Sides, scaling, shifting
from modelport.runtime.transforms.base import Spatial
from modelport.runtime.transforms.resampling import Window, part_pixels, resample_part
from modelport.types import Array

Level = Annotated[int | float, Field(ge=0, le=255)]
Fill = Level | tuple[Level, ...]
"""A grey level for all channels, or one for each: red, green and blue, or grey."""
Mirror = Literal["edge", "reflect", "symmetric"]
"""The picture's own pixels beside it: its edge, or the picture turned over with or without its edge."""


@dataclass(frozen=True)
class Frame:
    """A picture is resized to `size`; `window` of that is kept, and may reach out over its edges.

    Attributes:
        size: width and height that the whole picture is resized to.
        window: left, top, right, bottom in the resized picture.
        interpolation: how it is resized.
        fill: what is outside the picture.
    """

    size: Sides
    window: Window
    interpolation: str = "pil.bilinear"
    fill: Fill | Mirror = 0

    @property
    def sides(self) -> Sides:
        """Width and height of the result."""
        left, top, right, bottom = self.window
        return right - left, bottom - top

    @property
    def inside(self) -> Window:
        """The part of the window that shows the picture."""
        left, top, right, bottom = self.window
        width, height = self.size
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)

    @property
    def is_filled(self) -> bool:
        """Whether the window reaches out over the picture."""
        return self.inside != self.window

    @property
    def target(self) -> Window:
        """Where `inside` lies in the result."""
        left, top = self.window[:2]
        inside = self.inside
        return inside[0] - left, inside[1] - top, inside[2] - left, inside[3] - top

    def matrix(self, before: Sides) -> Array:
        """3 x 3: from a picture with these sides to the result."""
        return shifting(-self.window[0], -self.window[1]) @ scaling(before, self.size)

    @property
    def is_empty(self) -> bool:
        """Whether the window misses the picture."""
        left, top, right, bottom = self.inside
        return left >= right or top >= bottom

    def shown(self, image: Image.Image) -> Image.Image | None:
        """The pixels of `inside`; None where there are none."""
        if self.is_empty:
            return None
        return resample_part(image, self.interpolation, self.size, self.inside)

    def pixels(self, image: Image.Image) -> Array | None:
        """The same as uint8 of height x width x channels, in the picture's own order."""
        if self.is_empty:
            return None
        array = part_pixels(image, self.interpolation, self.size, self.inside)
        return array if array.ndim == 3 else array[:, :, None]

    def apply(self, image: Image.Image) -> Image.Image:
        """The result as a picture."""
        shown = self.shown(image)
        if shown is not None and not self.is_filled:
            return shown
        if isinstance(self.fill, str):
            return _mirrored(shown, self.target, self.sides, self.fill)
        result = Image.new(image.mode, self.sides, colour_of(self.fill, image.mode))
        if shown is not None:
            result.paste(shown, self.target[:2])
        return result

    def then(self, after: Frame, sides: Sides) -> Frame | None:
        """Both as one; None where that would show or resize other pixels.

        Args:
            sides: width and height between the two.
        """
        left, top, right, bottom = after.window
        is_whole = self.window == (0, 0, *self.size)
        stays = left >= 0 and top >= 0 and right <= sides[0] and bottom <= sides[1]
        if after.size != sides or not (is_whole or stays):
            return None
        across, down = self.window[:2]
        window = (left + across, top + down, right + across, bottom + down)
        return replace(self, window=window, fill=after.fill if is_whole else self.fill)


class Framed(Spatial):
    """A transform that resizes, and keeps an upright part of what comes of it or more than that."""

    @abstractmethod
    def frame(self, width: int, height: int) -> Frame:
        """What becomes of a picture with that width and height."""

    def apply(self, image: Image.Image) -> Image.Image:
        return self.frame(*image.size).apply(image)

    def sides(self, width: int, height: int) -> Sides:
        return self.frame(width, height).sides

    def matrix(self, width: int, height: int) -> Array:
        return self.frame(width, height).matrix((width, height))

    def wanted(self, width: int, height: int) -> Sides:
        return self.frame(width, height).size


def _mirrored(shown: Image.Image | None, target: Window, sides: Sides, mode: Mirror) -> Image.Image:
    if shown is None:
        raise UsageError(
            "Nothing of a picture is left to mirror", expected="a window that shows some of it"
        )
    left, top, right, bottom = target
    array = np.asarray(shown)
    margins = ((top, sides[1] - bottom), (left, sides[0] - right), (0, 0))
    return Image.fromarray(np.pad(array, margins[: array.ndim], mode=mode))


def levels(fill: Fill, channels: int) -> tuple[float, ...]:
    """One grey level to a channel."""
    return tuple(fill) if isinstance(fill, tuple) else (fill,) * channels


def check_fill(step: Spatial, channels: int, colour: str) -> None:
    """Raises UsageError where a transform fills other channels than pictures have."""
    fill = getattr(step, "fill", 0)
    if isinstance(fill, tuple) and len(fill) != channels:
        raise UsageError(
            f"The {getattr(step, 'kind', 'transform')} has {len(fill)} grey levels to fill with",
            expected=f"one, or {channels} for {colour} pictures",
        )


def colour_of(fill: Fill, mode: str) -> tuple[int, ...] | int:
    """As PIL takes it, rounded to whole grey levels."""
    found = tuple(round(level) for level in levels(fill, len(Image.new(mode, (1, 1)).getbands())))
    return found if len(found) > 1 else found[0]


def extent(size: int | tuple[int, int]) -> Sides:
    """Width and height of a size that is one number, or (height, width)."""
    return (size, size) if isinstance(size, int) else (size[1], size[0])
