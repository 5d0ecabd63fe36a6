"""Where lines of text are: the maps of DB and its kin become quads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, PositiveFloat, PositiveInt

from modelport.runtime.decoding.blobs import Blob, blobs_of
from modelport.runtime.decoding.quads import Quad, clockwise, mean_inside, smallest_rectangle
from modelport.runtime.decoding.reading import not_nan, planes_of, sigmoid
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class TextLine:
    """A line of text, or a word where the model finds words.

    Attributes:
        quad: four corners in the picture's pixels, clockwise from the upper left one.
        score: how sure the model is that text is there.
    """

    quad: Quad
    score: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The upright box around it: left, top, right, bottom."""
        across, down = zip(*self.quad, strict=True)
        return min(across), min(down), max(across), max(down)


@dataclass(frozen=True)
class TextLines(Result):
    """The lines of text in a picture, in the order they are read."""

    lines: tuple[TextLine, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "lines": [
                {"quad": [list(corner) for corner in line.quad], "score": line.score}
                for line in self.lines
            ]
        }

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                **{
                    f"{axis}{number}": value
                    for number, corner in enumerate(line.quad, start=1)
                    for axis, value in zip("xy", corner, strict=True)
                },
                "score": line.score,
            }
            for line in self.lines
        ]


class TextDetectionParameters(Parameters):
    """Attributes:
    scores: what the model gives: `probabilities`, or `logits` (a sigmoid follows).
    thresh: a pixel above it belongs to text.
    box_thresh: a line whose score is below it is left out.
    unclip_ratio: how far a line is grown, for models learn regions that are shrunk: by area x ratio /
        perimeter.
    max_candidates: at most so many regions are looked at.
    min_size: the shorter side of a region in pixels of the map, at least; and of a grown one, two more.
    min_side: the shorter side of a line in pixels of the picture must be larger.
    score_mode: `fast` takes the mean over the smallest rectangle around a region, `slow` over the
        region itself.
    dilate: whether regions grow by a pixel to the right and down first, which joins what nearly
        touches; PaddleOCR's `use_dilation`.
    """

    scores: Literal["probabilities", "logits"] = "probabilities"
    thresh: Share = 0.3
    box_thresh: Share = 0.6
    unclip_ratio: Annotated[float, Field(ge=0)] = 1.5
    max_candidates: PositiveInt = 1000
    min_size: PositiveFloat = 3.0
    min_side: Annotated[float, Field(ge=0)] = 3.0
    score_mode: Literal["fast", "slow"] = "fast"
    dilate: bool = False


class TextDetectionTask(Task[TextDetectionParameters, TextLines]):
    """Source: Liao et al., Real-time scene text detection with differentiable binarization, AAAI 2020."""

    name: ClassVar[str] = "text_detection"
    holds: ClassVar[type[Result] | None] = TextLines
    summary: ClassVar[str] = "lines of text as quads"
    Parameters: ClassVar[type[Parameters]] = TextDetectionParameters

    def decode(self, outputs: Outputs, context: Context[TextDetectionParameters]) -> TextLines:
        wanted = context.parameters
        chances = _map(next(iter(outputs.values())), wanted)
        mask = chances > wanted.thresh
        blobs = blobs_of(_dilated(mask) if wanted.dilate else mask)[: wanted.max_candidates]
        found = [line for blob in blobs if (line := _line(blob, chances, context)) is not None]
        return TextLines(tuple(in_reading_order(found)))

    def draw(self, image: Image.Image, result: TextLines) -> Image.Image:
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for number, line in enumerate(result.lines):
            sheet.polygon(line.quad, colour_of(number))
        return drawn

    def describe(self, result: TextLines) -> str:
        count = len(result.lines)
        return f"{count} line of text" if count == 1 else f"{count} lines of text"


def _map(output: Array, wanted: TextDetectionParameters) -> Array:
    """The map of probabilities, height x width: the first channel of the first output."""
    output = output[:, None] if output.ndim == 3 else output  # MMDeploy exports it without channels
    values = planes_of(output, "nchw", "a map of text")[0].astype(np.float32, copy=False)
    not_nan(values, "the map of text")
    return values if wanted.scores == "probabilities" else sigmoid(values)


def _dilated(mask: Array) -> Array:
    """Each pixel with its neighbours to the left, above, and between those."""
    wide = mask.copy()
    wide[:, 1:] |= mask[:, :-1]
    grown = wide.copy()
    grown[1:] |= wide[:-1]
    return grown


def _line(blob: Blob, chances: Array, context: Context[TextDetectionParameters]) -> TextLine | None:
    """The line of a region; None where it is too small or too unsure."""
    wanted = context.parameters
    inner = smallest_rectangle(blob.outline())
    if min(inner.sides) < wanted.min_size:
        return None
    fast = wanted.score_mode == "fast"
    score = mean_inside(chances, clockwise(inner.corners)) if fast else blob.mean(chances)
    outer = inner.unclipped(wanted.unclip_ratio)
    if score < wanted.box_thresh or min(outer.sides) < wanted.min_size + 2:
        return None
    corners = clockwise(_in_picture(outer.corners, chances, context))
    sides = [np.hypot(*(corners[0] - corners[to])) for to in (1, 3)]
    if min(sides) <= wanted.min_side:
        return None
    return TextLine(tuple((float(x), float(y)) for x, y in corners), score)


def _in_picture(corners: Array, chances: Array, context: Context[TextDetectionParameters]) -> Array:
    """From the map, which may be coarser than the tensor, to the picture, and not beyond it."""
    placement = context.placement
    if placement is None:
        return corners
    height, width = chances.shape
    coarse = np.array([placement.tensor[0] / width, placement.tensor[1] / height])
    placed = placement.points_to_picture(corners * coarse)
    return np.asarray(placed.clip(0, np.array(placement.picture, np.float64)))


def in_reading_order(lines: Sequence[TextLine]) -> list[TextLine]:
    """Rows from top to bottom, each from left to right.

    A line joins the row whose first line starts less than half of its own height above it.
    """
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: (line.quad[0][1], line.quad[0][0])):
        (_, top), (_, bottom) = line.quad[0], line.quad[3]
        if rows and top - rows[-1][0].quad[0][1] < abs(bottom - top) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.quad[0][0])]
