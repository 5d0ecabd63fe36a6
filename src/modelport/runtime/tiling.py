"""Runs pictures that are larger than the input in tiles, and blends what comes out.

Neighbouring tiles share pixels. A network that looks at a tile alone is wrong near the edges where the
tile was cut, as far as its receptive field reaches; there the neighbour knows better. What a tile is
trusted with falls off towards such edges, and the shares of all tiles add up to one.

Networks without padding give less than they take: nothing for a margin of what they see. Their tiles are
fed with that margin around them, and it counts neither in tiles nor in what they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator

from modelport.errors import FeedsError
from modelport.feeds import fill_batch
from modelport.types import Array, Dim, Outputs, TensorSpec

Run = Callable[[Mapping[str, Array]], Outputs]


class Tiling(BaseModel):
    """How a picture that is larger than the input is cut.

    Attributes:
        size: height and width of a tile, or one number for both; by default those of the input, where
            they are fixed.
        overlap: pixels that neighbours share at least.
        discard: pixels at each cut edge that do not count. From the radius of the receptive field on, the
            result is that of the whole picture. Twice as many may not be more than `overlap`.
        blend: `ramp` goes over from tile to tile in a straight line; `mean` gives all that overlap the
            same share, as MMSegmentation's sliding windows.
        multiple: tiles begin at multiples of it: of the stride of models that shrink what they see, whose
            results depend on where they begin.
        layout: of the input and of the outputs.
        margin: pixels of the input that the output lacks at each edge: of networks without padding. The
            picture is mirrored by as many beyond its edges, so small ones too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    overlap: NonNegativeInt = 32
    discard: NonNegativeInt = 8
    blend: Literal["ramp", "mean"] = "ramp"
    multiple: PositiveInt = 1
    layout: Literal["nchw", "nhwc"] = "nchw"
    margin: NonNegativeInt = 0

    @model_validator(mode="after")
    def _is_covered(self) -> Tiling:
        if 2 * self.discard > self.overlap:
            raise ValueError(
                f"an overlap of {self.overlap} cannot make up for {self.discard} pixels discarded "
                "on either side"
            )
        return self


@dataclass(frozen=True, eq=False)
class Span:
    """Where the tiles along one side begin, and the share that each has of its pixels.

    Attributes:
        starts: in pixels of the picture.
        extent: of a tile, without margins.
    """

    starts: tuple[int, ...]
    extent: int

    def shares(self, tiling: Tiling, scale: int) -> list[Array]:
        """float32, one array to a tile, over its pixels in the output; they add up to one everywhere."""
        length, places = self.extent * scale, [start * scale for start in self.starts]
        total = np.zeros(places[-1] + length)
        weights = []
        for number, start in enumerate(places):
            weight = np.ones(length)
            inner = (number > 0, number + 1 < len(places))
            for cut, side in zip(inner, (slice(None), slice(None, None, -1)), strict=True):
                if cut:
                    weight[side] *= _rise(length, tiling, scale)
            weights.append(weight)
            total[start : start + length] += weight
        return [
            (weight / total[start : start + length]).astype(np.float32)
            for weight, start in zip(weights, places, strict=True)
        ]


class Tiler:
    """Cuts the first input of a model, and puts its outputs together again.

    Args:
        tiling: the parameters.
        spec: of the first input, which has a batch axis and two of pixels.

    Raises:
        FeedsError: where nobody says how large a tile is.
    """

    def __init__(self, tiling: Tiling, spec: TensorSpec) -> None:
        self.tiling = tiling
        self.spec = spec
        self._axes = (2, 3) if tiling.layout == "nchw" else (1, 2)
        self.tile = self._size()

    def cuts(self, tensor: Array) -> bool:
        """Whether the model cannot, or shall not, take it as it is."""
        sides = [tensor.shape[axis] for axis in self._axes]
        fixed = [not isinstance(self.spec.shape[axis], Dim) for axis in self._axes]
        return self.tiling.margin > 0 or any(
            side > tile or (known and side != tile)
            for side, tile, known in zip(sides, self.tile, fixed, strict=True)
        )

    def run(self, run: Run, feeds: Mapping[str, Array], batch: int = 1) -> Outputs:
        """The outputs for the whole picture.

        Args:
            run: runs the model on feeds.
            feeds: the first input with a batch of one and any height and width; others go to every tile.
            batch: tiles that one run may take.
        """
        name = self.spec.name
        given = feeds[name][:1]  # a batch of fixed size was filled up with copies
        sides = [given.shape[axis] for axis in self._axes]
        extents = self._extents(sides)
        whole = self._padded(given, extents)
        spans = [
            self._span(whole.shape[axis] - 2 * self.tiling.margin, extent)
            for axis, extent in zip(self._axes, extents, strict=True)
        ]
        corners = list(product(*(range(len(span.starts)) for span in spans)))
        canvas = Canvas(self._axes, self.tiling, spans)
        for at in range(0, len(corners), batch):
            group = corners[at : at + batch]
            tiles = np.concatenate([self._tile(whole, spans, corner) for corner in group])
            outputs = run({**feeds, name: fill_batch(tiles, self.spec)})
            for number, corner in enumerate(group):
                canvas.add(corner, {key: array[number] for key, array in outputs.items()})
        return canvas.outputs(sides)

    def middle(self, tensor: Array) -> Array:
        """One tile from the middle of the picture: what the model sees when it is tested."""
        extents = self._extents([tensor.shape[axis] for axis in self._axes])
        whole = self._padded(tensor, extents)
        for axis, extent in zip(self._axes, extents, strict=True):
            tile = extent + 2 * self.tiling.margin
            start = (whole.shape[axis] - tile) // 2
            whole = whole.take(range(start, start + tile), axis)
        return whole

    def _size(self) -> tuple[int, int]:
        if len(self.spec.shape) != 4:
            raise FeedsError(
                f"The input {self.spec} cannot be tiled", expected="an input with four axes"
            )
        size = self.tiling.size
        given = (size, size) if isinstance(size, int) or size is None else size
        found = []
        for axis, side in zip(self._axes, given, strict=True):
            own = self.spec.shape[axis]
            wanted = side if isinstance(own, Dim) else own
            if wanted is None or side not in (None, wanted):
                raise FeedsError(
                    f"The input is {self.spec}, and the tiling says tiles of {side or 'no size'}",
                    expected="the size of the input, or one for an input of free sizes",
                    hint="Set the task's parameter tiling.size",
                )
            found.append(wanted)
        if min(found) - 2 * self.tiling.margin <= self.tiling.overlap:
            margin = self.tiling.margin
            around = f" inside a margin of {margin}" if margin else ""
            raise FeedsError(
                f"Tiles are {found[0]}x{found[1]}, and neighbours share {self.tiling.overlap} pixels{around}",
                expected="a smaller overlap than tile",
                hint="Set the task's parameter tiling.overlap",
            )
        return found[0], found[1]

    def _extents(self, sides: Sequence[int]) -> list[int]:
        """Height and width of a tile without its margin.

        A picture that a model of free sizes takes at once, but for the margin, is one tile of its own size.
        """
        inner = [tile - 2 * self.tiling.margin for tile in self.tile]
        free = all(isinstance(self.spec.shape[axis], Dim) for axis in self._axes)
        whole = [-(-side // self.tiling.multiple) * self.tiling.multiple for side in sides]
        fits = all(side <= most for side, most in zip(whole, inner, strict=True))
        return whole if self.tiling.margin and free and fits else inner

    def _padded(self, tensor: Array, extents: Sequence[int]) -> Array:
        """The picture, mirrored beyond its right and lower edge until whole tiles cover it, and around
        that by the margin.
        """
        margins = [(0, 0)] * tensor.ndim
        for axis, extent in zip(self._axes, extents, strict=True):
            spare = tensor.shape[axis] - extent
            lacks = -spare if spare < 0 else -spare % self.tiling.multiple
            margins[axis] = (self.tiling.margin, self.tiling.margin + lacks)
        return np.pad(tensor, margins, mode="reflect") if any(map(any, margins)) else tensor

    def _span(self, side: int, extent: int) -> Span:
        """As few tiles as cover a side; the last one ends with the picture."""
        multiple = self.tiling.multiple
        step = max(multiple, (extent - self.tiling.overlap) // multiple * multiple)
        starts = list(range(0, side - extent, step))
        return Span((*starts, side - extent), extent)

    def _tile(self, whole: Array, spans: Sequence[Span], corner: tuple[int, ...]) -> Array:
        index = [slice(None)] * whole.ndim
        for axis, span, number in zip(self._axes, spans, corner, strict=True):
            tile = span.extent + 2 * self.tiling.margin
            index[axis] = slice(span.starts[number], span.starts[number] + tile)
        return np.asarray(whole[tuple(index)])


def tiler_of(parameters: BaseModel, inputs: Sequence[TensorSpec]) -> Tiler | None:
    """For the first input, where the parameters of the task say that it is tiled."""
    tiling = getattr(parameters, "tiling", None)
    return None if tiling is None else Tiler(tiling, inputs[0])


class Canvas:
    """Where the outputs of tiles are put together."""

    def __init__(self, axes: tuple[int, int], tiling: Tiling, spans: Sequence[Span]) -> None:
        self._axes = axes
        self._tiling = tiling
        self._spans = spans
        self._sums: dict[str, Array] = {}
        self._scales: dict[str, int] = {}
        self._shares: dict[int, list[list[Array]]] = {}

    def add(self, corner: tuple[int, ...], outputs: Outputs) -> None:
        """Adds the outputs of one tile, without a batch axis."""
        for name, array in outputs.items():
            if name not in self._sums:
                self._open(name, array)
            scale = self._scales[name]
            index: list[slice] = [slice(None)] * array.ndim
            weighted = array
            for axis, span, shares, number in self._sides(scale, corner):
                start = span.starts[number] * scale
                index[axis] = slice(start, start + span.extent * scale)
                shape = [1] * array.ndim
                shape[axis] = -1
                weighted = weighted * shares[number].reshape(shape)
            self._sums[name][tuple(index)] += weighted

    def outputs(self, sides: Sequence[int]) -> Outputs:
        """The outputs for a picture of that height and width, with a batch of one."""
        found = {}
        for name, array in self._sums.items():
            index: list[slice] = [slice(None)] * array.ndim
            for axis, side in zip(self._axes, sides, strict=True):
                index[axis - 1] = slice(side * self._scales[name])
            found[name] = array[tuple(index)][None]
        return found

    def _sides(
        self, scale: int, corner: tuple[int, ...]
    ) -> Iterator[tuple[int, Span, list[Array], int]]:
        shares = self._shares.setdefault(
            scale, [span.shares(self._tiling, scale) for span in self._spans]
        )
        for axis, span, share, number in zip(self._axes, self._spans, shares, corner, strict=True):
            yield axis - 1, span, share, number

    def _open(self, name: str, array: Array) -> None:
        """Room for an output, and how many pixels it has for one of the input."""
        scales = {
            array.shape[axis - 1] / span.extent if array.ndim == 3 else 0.0
            for axis, span in zip(self._axes, self._spans, strict=True)
        }
        scale = scales.pop()
        if scales or scale < 1 or not scale.is_integer():
            tile = "x".join(str(span.extent + 2 * self._tiling.margin) for span in self._spans)
            raise FeedsError(
                f"The output {name!r} has shape {list(array.shape)} for a tile of {tile}",
                expected="as many pixels as the tile without its margin, or a multiple of them on both sides",
                hint="Set tiling.margin to what the output lacks at each edge; or resize it inside the "
                "model, or leave out the parameter tiling",
            )
        self._scales[name] = int(scale)
        shape = list(array.shape)
        for axis, span in zip(self._axes, self._spans, strict=True):
            shape[axis - 1] = (span.starts[-1] + span.extent) * int(scale)
        self._sums[name] = np.zeros(shape, np.float32)


def _rise(length: int, tiling: Tiling, scale: int) -> Array:
    """Trust in the pixels of a tile from a cut edge on: none, then more and more, then all."""
    if tiling.blend == "mean":
        return (np.arange(length) >= tiling.discard * scale).astype(np.float64)
    ramp = max(1, (tiling.overlap - 2 * tiling.discard) * scale)
    return np.clip((np.arange(length) - tiling.discard * scale + 0.5) / ramp, 0, 1)
