"""A resize to sides that the strides of a model divide, as depth models want it."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from modelport.runtime.placement import Sides
from modelport.runtime.transforms.frames import Frame, Framed
from modelport.runtime.transforms.resampling import Interpolation
from modelport.runtime.transforms.rounding import Rounding, multiple


class ResizeToMultiple(Framed):
    """Brings both sides to multiples of a number, each alone, with no whole pixels in between.

    `Resize(divisor=...)` rounds to whole pixels first, which gives another multiple now and then.

    Attributes:
        divisor: what divides both sides.
        size: (height, width); None keeps the picture's own sides.
        keep_ratio: only the one of height and width that changes the picture less counts, and the aspect
            ratio is kept but for the multiples (MiDaS, DPT, Depth Anything).
        rounding: to multiples; at least one.
        interpolation: how it is resized; see `Resize`.
    """

    kind: Literal["resize_to_multiple"] = "resize_to_multiple"
    divisor: PositiveInt
    size: tuple[PositiveInt, PositiveInt] | None = None
    keep_ratio: bool = False
    rounding: Rounding = "half-even"
    interpolation: Interpolation = "pil.bicubic"

    def frame(self, width: int, height: int) -> Frame:
        size = self.target(width, height)
        return Frame(size, (0, 0, *size), self.interpolation)

    def target(self, width: int, height: int) -> Sides:
        """Width and height after resizing."""
        across, down = self._factors(width, height)
        return (
            multiple(width * across, self.divisor, self.rounding),
            multiple(height * down, self.divisor, self.rounding),
        )

    def _factors(self, width: int, height: int) -> tuple[float, float]:
        if self.size is None:
            return 1.0, 1.0
        across, down = self.size[1] / width, self.size[0] / height
        if not self.keep_ratio:
            return across, down
        nearer = across if abs(1 - across) < abs(1 - down) else down
        return nearer, nearer
