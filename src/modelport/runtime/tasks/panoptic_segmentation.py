"""Every pixel belongs to one thing, or to one kind of stuff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveInt

from modelport.runtime.decoding.fusion import Piece, fused, merged
from modelport.runtime.decoding.planes import Grid, resized_to, strongest
from modelport.runtime.decoding.queries import claimed, kept
from modelport.runtime.decoding.reading import not_nan, of_shape, output_named, planes_of, sigmoid
from modelport.runtime.decoding.regions import Palette, colour_from, counted, tinted
from modelport.runtime.decoding.rle import rle_from_mask
from modelport.runtime.decoding.sheet import colour_of
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs

_MASKS = ("1", "queries", "height", "width")


@dataclass(frozen=True)
class Segment:
    """One thing, or all the stuff of a kind.

    Attributes:
        id: its number in the map, from 1 on.
        index, label: of its class.
        score: how sure the model is; 1.0 where it does not tell.
        is_thing: whether it is one countable thing; else stuff, such as the sky.
        pixels: how many it has.
        share: of all pixels of the picture.
    """

    id: int
    index: int
    label: str
    score: float
    is_thing: bool
    pixels: int
    share: float


@dataclass(frozen=True, eq=False)
class Panoptic(Result):
    """A segment for every pixel.

    Attributes:
        map: height x width of the picture, int32: ids of segments; 0 where there is none.
        segments: in the order of their ids.
        palette: colours of stuff by class, of the parameters.
    """

    map: Array
    segments: tuple[Segment, ...]
    palette: Palette | None = None

    def mask(self, number: int) -> Array:
        """Where the segment of that id is: bool, height x width."""
        return np.asarray(self.map == number)

    def to_json(self) -> dict[str, Any]:
        """Size, and the segments with COCO's run lengths."""
        return {
            "size": list(self.map.shape),
            "segments": [
                {**vars(each), "rle": rle_from_mask(self.mask(each.id))} for each in self.segments
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        return [vars(each) for each in self.segments]


class PanopticSegmentationParameters(Parameters):
    """Attributes:
    form: `queries`: each query has class scores and a mask, as MaskFormer, Mask2Former, OneFormer
        and DETR; or `semantic_instances`: one output has scores (or labels) of classes, others the
        masks of things.
    classes, masks: names of the outputs; by default the first two. Queries: 1 x queries x (classes + 1)
        and 1 x queries x height x width, both logits. Instances: class numbers (1 x n) and masks
        (1 x n x height x width).
    scores: instances: name of the output with their scores, 1 x n; by default the third.
    semantic: instances: name of the output with scores (1 x classes x height x width) or numbers of
        classes (1 x height x width); by default the fourth.
    threshold: least score of a query or instance.
    mask_threshold: probability from which on a pixel counts for a mask.
    overlap: share of its own pixels that a segment must keep beside the others.
    rule: of queries: `transformers`, whose masks are weighed by their scores before they are measured,
        or `mask2former`, as the paper's own code and MMDetection: masks are measured alone, and a
        segment has the pixels of its mask only.
    middle: height and width that mask logits are brought to before the sigmoid; transformers does so
        with 384 x 384 for Mask2Former.
    stuff: class numbers of stuff: all of a class is one segment.
    stuff_area: instances: least pixels of a segment of stuff.
    thing_classes: instances: class number of the semantic output by class number of a thing, where
        the two count differently; a list.
    semantic_offset: instances: what is added to numbers of the semantic output.
    palette: red, green and blue by class, for stuff.
    """

    form: Literal["queries", "semantic_instances"] = "queries"
    classes: str | None = None
    masks: str | None = None
    scores: str | None = None
    semantic: str | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)
    mask_threshold: float = Field(default=0.5, ge=0, le=1)
    overlap: float = Field(default=0.8, ge=0, le=1)
    rule: Literal["transformers", "mask2former"] = "transformers"
    middle: tuple[PositiveInt, PositiveInt] | None = None
    stuff: tuple[NonNegativeInt, ...] = ()
    stuff_area: NonNegativeInt = 4096
    thing_classes: tuple[NonNegativeInt, ...] | None = None
    semantic_offset: int = 0
    palette: Palette | None = None


class PanopticSegmentationTask(Task[PanopticSegmentationParameters, Panoptic]):
    name: ClassVar[str] = "panoptic_segmentation"
    summary: ClassVar[str] = "a thing, or a kind of stuff, for every pixel"
    Parameters: ClassVar[type[Parameters]] = PanopticSegmentationParameters

    def decode(
        self, outputs: Outputs, context: Context[PanopticSegmentationParameters]
    ) -> Panoptic:
        wanted = context.parameters
        read = _from_queries if wanted.form == "queries" else _from_instances
        whole, pieces = read(outputs, context)
        counts = counted(whole)
        segments = tuple(
            Segment(
                number,
                piece.index,
                context.label(piece.index),
                piece.score,
                piece.index not in wanted.stuff,
                counts.get(number, 0),
                counts.get(number, 0) / whole.size,
            )
            for number, piece in enumerate(pieces, 1)
        )
        return Panoptic(whole, segments, wanted.palette)

    def draw(self, image: Image.Image, result: Panoptic) -> Image.Image:
        colours = {
            each.id: colour_of(each.id * 3 + 1)
            if each.is_thing
            else colour_from(result.palette, each.index)
            for each in result.segments
        }
        names = {
            each.id: f"{each.label} {each.score:.2f}" if each.is_thing else each.label
            for each in result.segments
        }
        return tinted(image, result.map, colours, names)

    def describe(self, result: Panoptic) -> str:
        counts: dict[str, int] = {}
        for each in result.segments:
            counts[each.label] = counts.get(each.label, 0) + 1
        found = [label if count == 1 else f"{count} {label}" for label, count in counts.items()]
        return ", ".join(found) or "no segment"


def _from_queries(
    outputs: Outputs, context: Context[PanopticSegmentationParameters]
) -> tuple[Array, list[Piece]]:
    wanted = context.parameters
    classes = not_nan(output_named(outputs, wanted.classes), "class scores")
    masks = not_nan(output_named(outputs, wanted.masks, 1), "masks")
    rows = of_shape(classes, ("1", "queries", "classes + 1"), "class scores")[0]
    found = kept(rows, of_shape(masks, _MASKS, "masks")[0], wanted.threshold)
    if wanted.middle is not None:
        found = replace(found, masks=resized_to(found.masks, wanted.middle))
    probabilities = sigmoid(found.masks).astype(np.float32)
    grid = Grid(context.placement, found.masks.shape[1:])
    claims = claimed(probabilities, found.scores, grid, wanted.mask_threshold, wanted.rule)
    return fused(claims, found, wanted.stuff, wanted.overlap)


def _from_instances(
    outputs: Outputs, context: Context[PanopticSegmentationParameters]
) -> tuple[Array, list[Piece]]:
    wanted = context.parameters
    classes = output_named(outputs, wanted.classes).reshape(-1).astype(int)
    masks = not_nan(output_named(outputs, wanted.masks, 1), "masks")
    scores = output_named(outputs, wanted.scores, 2).reshape(-1)
    semantic = not_nan(output_named(outputs, wanted.semantic, 3), "classes")
    if semantic.ndim == 4 and semantic.shape[1] > 1:
        planes = planes_of(semantic, "nchw", "scores of classes")
        labels = strongest(planes, Grid(context.placement, planes.shape[1:]))
    else:
        height, width = semantic.shape[-2:]
        plane = semantic.reshape(height, width)
        labels = Grid(context.placement, (height, width)).nearest(plane).astype(np.int32)
    things = of_shape(masks, ("1", "instances", "height", "width"), "masks")[0]
    grid = Grid(context.placement, things.shape[1:])
    order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= wanted.threshold]
    shapes = (
        grid.resized(things[index : index + 1].astype(np.float32))[0] >= wanted.mask_threshold
        for index in order
    )
    known: Mapping[int, int] = dict(enumerate(wanted.thing_classes or ()))
    pieces = [Piece(known.get(classes[i], int(classes[i])), float(scores[i])) for i in order]
    return merged(
        zip(shapes, pieces, strict=True),
        labels + wanted.semantic_offset,
        wanted.stuff,
        overlap=wanted.overlap,
        stuff_area=wanted.stuff_area,
    )
