"""Draws what tasks found on a picture: boxes, polygons, points, masks and words."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from modelport.types import Array

Colour = tuple[int, int, int]

_TURN = 0.61803398875
"""The golden ratio's fraction: neighbouring numbers get hues far apart."""
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_BRIGHT = 140


def colour_of(number: int) -> Colour:
    """One colour for each number, the same on every picture."""
    red, green, blue = colorsys.hsv_to_rgb((0.03 + number * _TURN) % 1.0, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


class Sheet:
    """A picture to draw on, in place; lines and letters grow with it.

    Args:
        image: an RGB picture, which the drawing changes.
    """

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.pen = ImageDraw.Draw(image)
        self.line = max(1, round(max(image.size) / 320))

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size=max(10, round(max(self.image.size) / 45)))

    def caption(self, text: str) -> None:
        """Words in the upper left corner."""
        self.words((0, 0), text, _BLACK)

    def words(self, corner: tuple[float, float], text: str, colour: Colour) -> None:
        """Words on a ground of that colour, moved into the picture."""
        left, top, right, bottom = self.pen.textbbox((0, 0), text, font=self.font)
        pad = self.line + 1
        wide, high = right - left + 2 * pad, bottom - top + 2 * pad
        x = max(0, min(corner[0], self.image.width - wide))
        y = max(0, min(corner[1], self.image.height - high))
        self.pen.rectangle((x, y, x + wide, y + high), fill=colour)
        dark = sum(colour) / 3 < _BRIGHT
        place = (x + pad - left, y + pad - top)
        self.pen.text(place, text, fill=_WHITE if dark else _BLACK, font=self.font)

    def box(self, box: Sequence[float], text: str, colour: Colour) -> None:
        """A box (left, top, right, bottom) with words above it."""
        left, top, right, bottom = box
        self.pen.rectangle((left, top, max(left, right), max(top, bottom)), None, colour, self.line)
        if text:
            high = self.pen.textbbox((0, 0), text, font=self.font)[3] + 2 * self.line
            self.words((left, top - high), text, colour)

    def polygon(self, points: Sequence[Sequence[float]], colour: Colour) -> None:
        corners = [(float(x), float(y)) for x, y in points]
        self.pen.line([*corners, corners[0]], colour, self.line, joint="curve")

    def point(self, place: Sequence[float], colour: Colour) -> None:
        x, y = float(place[0]), float(place[1])
        reach = self.line * 1.5
        self.pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def segment(self, start: Sequence[float], end: Sequence[float], colour: Colour) -> None:
        ends = (float(start[0]), float(start[1]), float(end[0]), float(end[1]))
        self.pen.line(ends, colour, self.line)

    def mask(self, mask: Array, colour: Colour, share: float = 0.45) -> None:
        """Tints where a bool array of the picture's height x width is true."""
        tint = Image.new("RGB", self.image.size, colour)
        veil = Image.fromarray(mask.astype(np.uint8) * round(255 * share))
        self.image.paste(tint, (0, 0), veil)
