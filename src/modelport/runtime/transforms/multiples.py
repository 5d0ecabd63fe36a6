"""Resizes to sides that the strides of a model divide."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from modelport.runtime.placement import Sides
from modelport.runtime.transforms.frames import Frame, Framed
from modelport.runtime.transforms.resampling import Interpolation
from modelport.runtime.transforms.rounding import Rounding, rounded


class ResizeToMultiple(Framed):
    """Resizes a picture, and brings both sides to multiples of a number, each alone.

    Attributes:
        divisor: what divides both sides.
        size: the length of one edge, the aspect ratio kept but for the multiples; or (height, width); None
            keeps the picture's own sides.
        edge: which edge a single length is of.
        only: `shrink` resizes no smaller pictures, `enlarge` no larger ones: PaddleOCR's `limit_type` of
            `max` and `min`. The sides become multiples all the same.
        keep_ratio: of a size of (height, width), only the one of the two that changes the picture less counts
            (the depth models of transformers).
        rounding: to multiples; at least one.
        whole: whether sides are cut to whole pixels before, as PaddleOCR does.
        interpolation: how it is resized; see `Resize`.
    """

    kind: Literal["resize_to_multiple"] = "resize_to_multiple"
    divisor: PositiveInt
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    edge: Literal["shorter", "longer"] = "longer"
    only: Literal["shrink", "enlarge"] | None = None
    keep_ratio: bool = False
    rounding: Rounding = "half-even"
    whole: bool = False
    interpolation: Interpolation = "opencv.linear"

    def frame(self, width: int, height: int) -> Frame:
        size = self.target(width, height)
        return Frame(size, (0, 0, *size), self.interpolation)

    def target(self, width: int, height: int) -> Sides:
        """Width and height after resizing."""
        across, down = self._factors(width, height)
        return self._multiple(width * across), self._multiple(height * down)

    def _factors(self, width: int, height: int) -> tuple[float, float]:
        if isinstance(self.size, tuple):
            across, down = self.size[1] / width, self.size[0] / height
            if not self.keep_ratio:
                return across, down
            return (across,) * 2 if abs(1 - across) < abs(1 - down) else (down,) * 2
        if self.size is None:
            return 1.0, 1.0
        factor = self.size / (max if self.edge == "longer" else min)(width, height)
        if (self.only == "shrink" and factor > 1) or (self.only == "enlarge" and factor < 1):
            factor = 1.0
        return factor, factor

    def _multiple(self, length: float) -> int:
        length = int(length) if self.whole else length
        return max(1, rounded(length / self.divisor, self.rounding)) * self.divisor
