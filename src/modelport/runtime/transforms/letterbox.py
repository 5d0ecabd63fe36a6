"""A resize that keeps the aspect ratio and fills the rest, as detectors want it."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from modelport.runtime.placement import Sides
from modelport.runtime.transforms.frames import Fill, Frame, Framed, extent
from modelport.runtime.transforms.resampling import Interpolation
from modelport.runtime.transforms.rounding import Rounding, halved, pixels


class Letterbox(Framed):
    """Resizes a picture so that all of it fits, and fills the rest.

    The defaults are those of the Ultralytics predictors. YOLOX has `anchor="top_left"` and
    `rounding="floor"`; MMDetection's `Resize(keep_ratio=True)` with `Pad(size=...)` has
    `anchor="top_left"` and `rounding="nearest"`.

    Attributes:
        size: one number for a square; or (height, width).
        fill: the grey level beside the picture, or one each for red, green and blue.
        anchor: where the picture lies: in the middle, or in the corner.
        upscale: whether smaller pictures are enlarged.
        interpolation: how a picture is resized; see `Resize`.
        enlarging: how one is enlarged, where that differs (YOLOv5 and MMYOLO shrink with `opencv.area` and
            enlarge with `opencv.linear` when they evaluate).
        rounding: of the sides of the resized picture.
        margin: of half a pixel of the left and upper margin. `floor` is what `round(d - 0.1)` of
            Ultralytics comes to.
        divisor: fills only up to the least width and height that are less than those of `size` by a
            multiple of this (`auto` of Ultralytics, with the largest stride of the model).
    """

    kind: Literal["letterbox"] = "letterbox"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    fill: Fill = 114
    anchor: Literal["center", "top_left"] = "center"
    upscale: bool = True
    interpolation: Interpolation = "opencv.linear"
    enlarging: Interpolation | None = None
    rounding: Rounding = "half-even"
    margin: Literal["floor", "ceil", "half-even"] = "floor"
    divisor: PositiveInt | None = None

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

    def frame(self, width: int, height: int) -> Frame:
        size = self.target(width, height)
        sides = self._whole(size)
        centred = self.anchor == "center"
        left = halved(sides[0] - size[0], self.margin) if centred else 0
        top = halved(sides[1] - size[1], self.margin) if centred else 0
        window = (-left, -top, sides[0] - left, sides[1] - top)
        return Frame(size, window, self._method(width, height), self.fill)

    def target(self, width: int, height: int) -> Sides:
        """Width and height of the resized picture alone."""
        most = extent(self.size)
        ratio = self._ratio(width, height)
        return (
            pixels(width * ratio, self.rounding, most[0]),
            pixels(height * ratio, self.rounding, most[1]),
        )

    def _ratio(self, width: int, height: int) -> float:
        wide, high = extent(self.size)
        ratio = min(high / height, wide / width)
        return ratio if self.upscale else min(ratio, 1.0)

    def _method(self, width: int, height: int) -> str:
        grows = self._ratio(width, height) > 1
        return self.enlarging if grows and self.enlarging else self.interpolation

    def _whole(self, size: Sides) -> Sides:
        """Width and height with what is filled."""
        most = extent(self.size)
        if self.divisor is None:
            return most
        across, down = ((most[axis] - size[axis]) % self.divisor for axis in (0, 1))
        return size[0] + across, size[1] + down
