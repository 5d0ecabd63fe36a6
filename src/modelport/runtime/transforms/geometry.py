"""Transforms that change where pixels are: the resize and the crop that most models want."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt, model_validator
from typing_extensions import Self

from modelport.runtime.placement import Sides
from modelport.runtime.transforms.frames import Fill, Frame, Framed, extent
from modelport.runtime.transforms.resampling import Interpolation
from modelport.runtime.transforms.rounding import Rounding, halved, multiple, pixels, rounded


class Resize(Framed):
    """Resizes a picture.

    Attributes:
        size: the length of one edge, the aspect ratio kept; or (height, width).
        edge: which edge that length is of.
        limit: the longer edge is at most so long, and the shorter one then gives way.
        only: `shrink` leaves smaller pictures as they are, `enlarge` larger ones.
        interpolation: library and method. The libraries differ: PIL widens its filter when it
            shrinks (antialiasing), OpenCV's linear and cubic do not, so neither can stand in for the
            other; `torch.area` is torch's `interpolate(mode="area")`.
        rounding: of the other edge: `floor` as torchvision and MMPretrain's `ResizeEdge`, `nearest` as
            MMCV's `Resize(keep_ratio=True)`.
        limit_rounding: of the shorter edge where the limit holds (`half-even` in DETR); None rounds it as
            torchvision does, down from the rounded longer edge.
        by: `edge` makes the one edge exact and rounds `size * other / edge`. `factor` multiplies both edges
            by one number and rounds both; with `floor` they may come out a pixel less.
        divisor: both sides then become multiples of this, each alone.
        divisor_rounding: to multiples; at least one.
    """

    kind: Literal["resize"] = "resize"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    edge: Literal["shorter", "longer", "height", "width"] = "shorter"
    limit: PositiveInt | None = None
    only: Literal["shrink", "enlarge"] | None = None
    interpolation: Interpolation = "pil.bilinear"
    rounding: Rounding = "floor"
    limit_rounding: Rounding | None = None
    by: Literal["edge", "factor"] = "edge"
    divisor: PositiveInt | None = None
    divisor_rounding: Rounding = "half-even"

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.limit is not None and (self.edge != "shorter" or not isinstance(self.size, int)):
            raise ValueError("a limit of the longer edge belongs to a size of the shorter one")
        if self.only is not None and not isinstance(self.size, int):
            raise ValueError("`only` belongs to a size of one edge")
        return self

    def frame(self, width: int, height: int) -> Frame:
        size = self.target(width, height)
        return Frame(size, (0, 0, *size), self.interpolation)

    def target(self, width: int, height: int) -> Sides:
        """Width and height after resizing."""
        wide, high = self._resized(width, height)
        if self.divisor is None:
            return wide, high
        how = self.divisor_rounding
        return multiple(wide, self.divisor, how), multiple(high, self.divisor, how)

    def _resized(self, width: int, height: int) -> Sides:
        """The same before the multiples."""
        if not isinstance(self.size, int):
            return extent(self.size)
        edge = self._edge(width, height)
        if (self.only == "shrink" and edge <= self.size) or (
            self.only == "enlarge" and edge >= self.size
        ):
            return width, height
        if self.by == "factor":
            return self._by_factor(width, height, self.size / edge)
        return self._by_edge(width, height, self.size)

    def _edge(self, width: int, height: int) -> int:
        """The length of the edge that `size` is about."""
        if self.edge in ("shorter", "longer"):
            return min(width, height) if self.edge == "shorter" else max(width, height)
        return width if self.edge == "width" else height

    def _by_factor(self, width: int, height: int, factor: float) -> Sides:
        if self.limit is not None:
            factor = min(factor, self.limit / max(width, height))
        return pixels(width * factor, self.rounding), pixels(height * factor, self.rounding)

    def _by_edge(self, width: int, height: int, size: int) -> Sides:
        first = width == self._edge(width, height)
        own, other = (width, height) if first else (height, width)
        length = pixels(size * other / own, self.rounding)
        if self.limit is not None:
            size, length = self._limited(own, other, size, length, self.limit)
        return (size, length) if first else (length, size)

    def _limited(self, own: int, other: int, size: int, length: int, limit: int) -> Sides:
        """Shorter and longer edge after the limit: torchvision rounds twice, DETR once."""
        if self.limit_rounding is None:
            if length <= limit:
                return size, length
            return pixels(limit * size / length, self.rounding), limit
        if other / own * size <= limit:
            return size, length
        exact = limit * own / other
        size = rounded(exact, self.limit_rounding)
        if size == own:
            return own, other
        return max(1, size), pixels(exact * other / own, self.rounding)


class CenterCrop(Framed):
    """Cuts out the middle; where the picture is smaller, black or another colour surrounds it.

    Attributes:
        size: one number for a square; or (height, width).
        rounding: of an odd margin: `half-even` as the `round` of torchvision and MMCV, `floor`
            as plain integer division (transformers), also where something lacks.
        fill: the grey level around a smaller picture, or one each for red, green and blue.
    """

    kind: Literal["center_crop"] = "center_crop"
    size: PositiveInt | tuple[PositiveInt, PositiveInt]
    rounding: Literal["half-even", "floor"] = "half-even"
    fill: Fill = 0

    def __init__(self, size: int | tuple[int, int] | None = None, **fields: object) -> None:
        super().__init__(**({} if size is None else {"size": size}), **fields)

    def frame(self, width: int, height: int) -> Frame:
        left, top = self.corner(width, height)
        wide, high = self.extent()
        return Frame((width, height), (left, top, left + wide, top + high), fill=self.fill)

    def extent(self) -> Sides:
        """Width and height after cropping."""
        return extent(self.size)

    def corner(self, width: int, height: int) -> tuple[int, int]:
        """Left and top of the crop in a picture of that size; negative where it is smaller."""
        wide, high = self.extent()
        return self._margin(width - wide), self._margin(height - high)

    def _margin(self, spare: int) -> int:
        if self.rounding == "floor":
            return spare // 2
        # Where something lacks, torchvision pads left and top with half of it, rounded down.
        return halved(spare, self.rounding) if spare >= 0 else -(-spare // 2)
