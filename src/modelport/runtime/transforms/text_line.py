"""A resize to one height, for readers of text."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import PositiveInt

from modelport.runtime.transforms.frames import Fill, Frame, Framed
from modelport.runtime.transforms.resampling import Interpolation
from modelport.runtime.transforms.rounding import rounded


class TextLine(Framed):
    """Brings a line of text to a height; the width follows, and the right is filled.

    Without `width`, the tensor is as wide as the line. PaddleOCR has `TextLine(48, width=320)`, and
    `grow=True` where the model takes any width: longer lines are then no longer squeezed.

    Attributes:
        height: of every line.
        width: shorter lines are filled up to this width; longer ones are squeezed into it.
        grow: whether longer lines keep their aspect ratio instead, and make the tensor wider.
        least: a line is at least so wide itself.
        divisor: the width of a line is rounded to a multiple of this (MMOCR's `width_divisor`).
        rounding: of the width of a line: `ceil` as PaddleOCR and MMOCR, `floor` cuts.
        fill: the grey level right of the line; 127.5 is 0 after a usual normalisation.
        interpolation: how a line is resized; see `Resize`.
    """

    kind: Literal["text_line"] = "text_line"
    height: PositiveInt
    width: PositiveInt | None = None
    grow: bool = False
    least: PositiveInt = 1
    divisor: PositiveInt = 1
    rounding: Literal["ceil", "floor"] = "ceil"
    fill: Fill = 127.5
    interpolation: Interpolation = "opencv.linear"

    def __init__(self, height: int | None = None, **fields: object) -> None:
        super().__init__(**({} if height is None else {"height": height}), **fields)

    def frame(self, width: int, height: int) -> Frame:
        exact = self.height * (width / height)
        line = max(rounded(exact, self.rounding), self.least)
        if self.divisor > 1:
            line = max(1, round(line / self.divisor)) * self.divisor
        whole = self.width or line
        if line > whole and self.grow:
            # the width of the tensor is cut, and the line is then squeezed by less than a pixel
            whole = max(whole, math.floor(exact)) if self.divisor == 1 else line
        size = (min(line, whole), self.height)
        return Frame(size, (0, 0, whole, self.height), self.interpolation, self.fill)
