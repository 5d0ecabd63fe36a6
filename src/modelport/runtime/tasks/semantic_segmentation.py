"""A class for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from modelport.errors import FeedsError
from modelport.runtime.decoding.planes import Grid, strongest
from modelport.runtime.decoding.reading import (
    TENSORS,
    logit,
    not_nan,
    of_shape,
    output_named,
    planes_of,
)
from modelport.runtime.decoding.regions import Palette, colour_from, counted, tinted
from modelport.runtime.decoding.rle import rle_from_mask
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.tiling import Tiling
from modelport.types import Array, Outputs

_NARROW = 255
"""The most classes that fit beside the number for none in 8 bits."""


@dataclass(frozen=True)
class ClassRegion:
    """The pixels of one class.

    Attributes:
        share: of all pixels of the picture, 0..1.
        pixels: how many there are.
    """

    index: int
    label: str
    share: float
    pixels: int


@dataclass(frozen=True, eq=False)
class Segmentation(Result):
    """A class for every pixel of the picture.

    Attributes:
        labels: height x width of the picture, class numbers; uint8, or int32 where there are more
            classes than 255.
        void: the number in `labels` that stands for no class: 255, or -1 in int32.
        classes: those in the picture, the largest first.
        hidden: class numbers that are not drawn and get no run lengths.
        palette: colours by class, of the parameters.
    """

    labels: Array
    void: int
    classes: tuple[ClassRegion, ...]
    hidden: frozenset[int] = frozenset()
    palette: Palette | None = None

    def mask(self, wanted: int | str) -> Array:
        """Where a class is, by number or label: bool, height x width."""
        if isinstance(wanted, int):
            return np.asarray(self.labels == wanted)
        numbers = [each.index for each in self.classes if each.label == wanted]
        return np.isin(self.labels, numbers)

    def to_json(self) -> dict[str, Any]:
        """Size, and the classes with their share and COCO's run lengths."""
        height, width = self.labels.shape
        return {
            "size": [height, width],
            "classes": [{**vars(each), **self._lengths(each.index)} for each in self.classes],
        }

    def rows(self) -> list[dict[str, Any]]:
        return [vars(each) for each in self.classes]

    def _lengths(self, index: int) -> dict[str, Any]:
        return {} if index in self.hidden else {"rle": rle_from_mask(self.labels == index)}


class SemanticSegmentationParameters(Parameters):
    """Attributes:
    output: name of the output; by default the first.
    gives: `scores` (a plane to a class; logits or probabilities), or `labels` (class numbers).
    layout: of scores: `nchw` or `nhwc`.
    resize: `scores` are brought to the picture's size (bilinear) before the best class is chosen, as
        transformers, torchvision's recipes and MMSegmentation do; `labels` chooses first and takes
        the nearest cell, which is coarser.
    align_corners: of that resize, as in PyTorch; MMSegmentation's decode heads say which.
    threshold: where there is one plane: the probability from which on a pixel is of class 1.
    scores: where there is one plane: `logits` (sigmoid follows) or `probabilities`.
    void: number in an output of labels that stands for no class.
    hidden: class numbers that are no news, such as the background: not drawn, without run lengths.
    palette: red, green and blue by class.
    tiling: how a picture that is larger than the input is cut; see `Tiling`.
    """

    output: str | None = None
    gives: Literal["scores", "labels"] = "scores"
    layout: Literal["nchw", "nhwc"] = "nchw"
    resize: Literal["scores", "labels"] = "scores"
    align_corners: bool = False
    threshold: float = Field(default=0.5, ge=0, le=1)
    scores: Literal["logits", "probabilities"] = "logits"
    void: int | None = None
    hidden: tuple[int, ...] = ()
    palette: Palette | None = None
    tiling: Tiling | None = None


class SemanticSegmentationTask(Task[SemanticSegmentationParameters, Segmentation]):
    name: ClassVar[str] = "semantic_segmentation"
    summary: ClassVar[str] = "a class for every pixel"
    Parameters: ClassVar[type[Parameters]] = SemanticSegmentationParameters

    def decode(
        self, outputs: Outputs, context: Context[SemanticSegmentationParameters]
    ) -> Segmentation:
        wanted = context.parameters
        given = output_named(outputs, wanted.output)
        labels, grid = (
            _given_labels(given, context) if wanted.gives == "labels" else _chosen(given, context)
        )
        seen = grid.seen()
        if wanted.void is not None:
            known = labels != wanted.void
            seen = known if seen is None else seen & known
        return segmentation_of(labels, seen, context, hidden=wanted.hidden, palette=wanted.palette)

    def draw(self, image: Image.Image, result: Segmentation) -> Image.Image:
        shown = [each for each in result.classes if each.index not in result.hidden]
        colours = {each.index: colour_from(result.palette, each.index) for each in shown}
        return tinted(image, result.labels, colours, {each.index: each.label for each in shown})

    def describe(self, result: Segmentation) -> str:
        return ", ".join(f"{each.label} {each.share:.0%}" for each in result.classes) or "no class"


def segmentation_of(
    labels: Array,
    seen: Array | None,
    context: Context[Any],
    *,
    hidden: tuple[int, ...] = (),
    palette: Palette | None = None,
) -> Segmentation:
    """The result for a map of class numbers, of which only those that are seen count."""
    known = labels if seen is None else np.where(seen, labels, 0)
    largest = max(int(known.max(initial=0)), len(context.labels or ()) - 1)
    void = _NARROW if largest < _NARROW else -1
    whole = known.astype(np.uint8 if void == _NARROW else np.int32)
    if seen is not None:
        whole[~seen] = void
    counts = counted(whole)
    counts.pop(void, None)
    classes = tuple(
        ClassRegion(index, context.label(index), pixels / whole.size, pixels)
        for index, pixels in counts.items()
    )
    return Segmentation(whole, void, classes, frozenset(hidden), palette)


def _chosen(given: Array, context: Context[SemanticSegmentationParameters]) -> tuple[Array, Grid]:
    """The best class of each pixel, from a plane of scores to a class."""
    wanted = context.parameters
    planes = not_nan(planes_of(given, wanted.layout, "scores"), "scores")
    grid = Grid(context.placement, planes.shape[1:], align_corners=wanted.align_corners)
    resize_first = wanted.resize == "scores"
    if len(planes) > 1:
        return strongest(planes, grid, resize_first=resize_first), grid
    least = logit(wanted.threshold) if wanted.scores == "logits" else wanted.threshold
    values = grid.resized(planes, "bilinear" if resize_first else "nearest")[0]
    return (values > least).astype(np.int32), grid


def _given_labels(
    given: Array, context: Context[SemanticSegmentationParameters]
) -> tuple[Array, Grid]:
    """The class of each pixel, where the graph has chosen it."""
    plane = given
    while plane.ndim > 2 and 1 in (plane.shape[0], plane.shape[-1]):
        plane = plane[0] if plane.shape[0] == 1 else plane[..., 0]
    of_shape(plane[None], ("1", "height", "width"), "class numbers")
    if np.issubdtype(plane.dtype, np.floating) and (plane != np.rint(plane)).any():
        raise FeedsError(
            "The output has fractions, and the parameters say that it gives labels",
            expected="class numbers; for scores, the parameter gives: scores",
            hint=TENSORS,
        )
    grid = Grid(context.placement, (plane.shape[0], plane.shape[1]))
    return grid.nearest(plane).astype(np.int32), grid
