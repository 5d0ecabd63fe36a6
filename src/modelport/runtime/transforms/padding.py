"""Pictures with something around them, and fixed parts of pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from typing_extensions import Self

from modelport.runtime.placement import Sides
from modelport.runtime.transforms.frames import Fill, Frame, Framed, Mirror, extent
from modelport.runtime.transforms.rounding import halved

Number = int | FiniteFloat


class Pad(Framed):
    """Puts something around a picture. Nothing is ever cut off.

    Attributes:
        size: at least so large: one number for a square; or (height, width).
        divisor: up to the next multiple of this.
        always: whether sides that are multiples already grow by one more `divisor` (Swin2SR).
        square: up to the longer edge.
        margins: left, top, right and bottom, before the others.
        anchor: where the picture lies in what `size`, `divisor` and `square` ask for.
        margin: rounding of half a pixel of the left and upper margin.
        fill: a grey level, or one each for red, green and blue; or `edge`, `reflect` (the edge itself is
            not repeated) or `symmetric` (it is) for the picture's own pixels.
    """

    kind: Literal["pad"] = "pad"
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    divisor: PositiveInt | None = None
    always: bool = False
    square: bool = False
    margins: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt] = (0, 0, 0, 0)
    anchor: Literal["center", "top_left"] = "top_left"
    margin: Literal["floor", "ceil", "half-even"] = "floor"
    fill: Fill | Mirror = 0

    def frame(self, width: int, height: int) -> Frame:
        left, top, right, bottom = self.margins
        own = (width + left + right, height + top + bottom)
        sides = self._whole(own)
        if self.anchor == "center":
            left += halved(sides[0] - own[0], self.margin)
            top += halved(sides[1] - own[1], self.margin)
        window = (-left, -top, sides[0] - left, sides[1] - top)
        return Frame((width, height), window, fill=self.fill)

    def _whole(self, own: Sides) -> Sides:
        wide, high = own
        if self.square:
            wide = high = max(own)
        if self.size is not None:
            least = extent(self.size)
            wide, high = max(wide, least[0]), max(high, least[1])
        step, more = self.divisor or 1, 1 if self.always and self.divisor else 0
        return (-(-(wide + more) // step)) * step, (-(-(high + more) // step)) * step


class Crop(Framed):
    """The same part of every picture: what a fixed camera should look at.

    Attributes:
        box: left, top, right and bottom in pixels; or as fractions of the width and height. What lies
            outside of a picture is filled.
        unit: what the numbers of the box are.
        fill: the grey level outside, or one each for red, green and blue.
    """

    kind: Literal["crop"] = "crop"
    box: tuple[Number, Number, Number, Number]
    unit: Literal["pixels", "fractions"] = "pixels"
    fill: Fill = 0

    def __init__(
        self, box: tuple[float, float, float, float] | None = None, **fields: object
    ) -> None:
        super().__init__(**({} if box is None else {"box": box}), **fields)

    @model_validator(mode="after")
    def _has_area(self) -> Self:
        left, top, right, bottom = self.box
        if not (left < right and top < bottom):
            raise ValueError("the box is left, top, right, bottom and must have an area")
        if self.unit == "pixels" and any(edge != round(edge) for edge in self.box):
            raise ValueError("pixels are whole numbers")
        return self

    def frame(self, width: int, height: int) -> Frame:
        across, down = (width, height) if self.unit == "fractions" else (1, 1)
        left, right = round(self.box[0] * across), round(self.box[2] * across)
        top, bottom = round(self.box[1] * down), round(self.box[3] * down)
        window = (left, top, max(right, left + 1), max(bottom, top + 1))
        return Frame((width, height), window, fill=self.fill)
