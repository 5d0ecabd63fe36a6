"""Boxes in space: from points of a laser scanner, or from one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, PositiveInt, model_validator

from modelport.errors import FeedsError
from modelport.runtime.decoding.boxes_3d import AnchorGrid, decoded, directed, thinned, vertices
from modelport.runtime.decoding.monocular import (
    Lens,
    camera_boxes,
    camera_vertices,
    strongest_peaks,
)
from modelport.runtime.decoding.reading import TENSORS, not_nan, output_named, planes_of, sigmoid
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs

_EDGES = (
    (0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7),
)  # fmt: skip
_MARGIN = 0.05
Sizes = tuple[tuple[float, float, float], ...]
Extent = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Box3D:
    """One thing in space.

    Attributes:
        index, label: of its class.
        score: how sure the model is.
        place: of the middle of its lower face, in the unit of the model.
        sides: scanner: along its own x, y and z; camera: length, height and width.
        yaw: radians; scanner: around z from x to y; camera: around y, as KITTI.
    """

    index: int
    label: str
    score: float
    place: tuple[float, float, float]
    sides: tuple[float, float, float]
    yaw: float


@dataclass(frozen=True, eq=False)
class Boxes3D(Result):
    """Attributes:
    objects: the surest first.
    frame: whose axes they are told in: `scanner` (x forwards, y left, z up) or `camera` (x right, y
        down, z forwards).
    corners: objects x 8 x 3: the lower face around, then the upper one.
    outlines: objects x 8 x 2, the corners in the picture; None without a camera.
    """

    objects: tuple[Box3D, ...]
    frame: str
    corners: Array
    outlines: Array | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "frame": self.frame,
            "objects": [
                {**vars(each), "place": list(each.place), "sides": list(each.sides)}
                for each in self.objects
            ],
        }

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "index": each.index, "label": each.label, "score": each.score, "yaw": each.yaw,
                **dict(zip(("x", "y", "z"), each.place, strict=True)),
                **{f"side_{number}": side for number, side in enumerate(each.sides)},
            }
            for each in self.objects
        ]  # fmt: skip


class Detection3DParameters(Parameters):
    """Attributes:
    form: `anchors`: class scores, residuals and directions on a map seen from above (SECOND,
        PointPillars); or `camera`: a heatmap of classes and 8 numbers in every cell (SMOKE).
    outputs: names of the outputs that are read, in the order told here; by default the first ones.
    scores: `logits` (sigmoid follows) or `probabilities`.
    threshold: scores must be more than this.
    most: objects at most.
    classes: anchors: how many there are.
    extents: anchors: least x, y, z and largest x, y, z, one to a size.
    sizes: anchors: sides along x, y, z, one to a size; camera: usual length, height, width of a class.
    turns: anchors: yaws of each size.
    aligned: anchors: whether they stand in the middle of cells; else from edge to edge.
    candidates: anchors: as many of the best go into the thinning out.
    iou: anchors: of two boxes of a class that share more than this, seen from above, the better stays.
    direction_offset, direction_limit: anchors: of the classifier of directions; an empty third output
        name in `outputs` says that there is none.
    lens: camera: focal lengths across and down, and the x and y of its axis, in pixels of the picture.
    depth: camera: mean and deviation of depths.
    window: camera: side of the square in which a peak is the highest.
    """

    form: Literal["anchors", "camera"] = "anchors"
    outputs: tuple[str, ...] | None = None
    scores: Literal["logits", "probabilities"] = "logits"
    threshold: float = 0.1
    most: PositiveInt = 50
    classes: PositiveInt = 3
    extents: tuple[Extent, ...] = ()
    sizes: Sizes = Field(min_length=1)
    turns: tuple[float, ...] = (0.0, math.pi / 2)
    aligned: bool = True
    candidates: PositiveInt = 100
    iou: float = Field(default=0.01, ge=0, le=1)
    direction_offset: float = -math.pi / 4
    direction_limit: float = 0.0
    lens: tuple[float, float, float, float] | None = None
    depth: tuple[float, float] = (0.0, 1.0)
    window: PositiveInt = 3

    @model_validator(mode="after")
    def _fits(self) -> Detection3DParameters:
        if self.form == "anchors" and len(self.extents) != len(self.sizes):
            raise ValueError(f"{len(self.extents)} extents for {len(self.sizes)} sizes")
        if self.form == "camera" and self.lens is None:
            raise ValueError("a camera needs its lens")
        return self


class Detection3DTask(Task[Detection3DParameters, Boxes3D]):
    name: ClassVar[str] = "detection_3d"
    summary: ClassVar[str] = "boxes in space, from a scanner's points or one picture"
    Parameters: ClassVar[type[Parameters]] = Detection3DParameters

    def decode(self, outputs: Outputs, context: Context[Detection3DParameters]) -> Boxes3D:
        read = _from_anchors if context.parameters.form == "anchors" else _from_camera
        return read(outputs, context)

    def draw(self, image: Image.Image, result: Boxes3D) -> Image.Image:
        """The boxes in the picture; those of a scanner from above, on a sheet of the picture's size."""
        if result.outlines is None:
            return _from_above(image.size, result)
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for each, outline in zip(result.objects, result.outlines, strict=True):
            if not np.isfinite(outline).all():
                continue  # it reaches behind the camera
            for start, end in _EDGES:
                sheet.segment(outline[start], outline[end], colour_of(each.index))
            left, top = outline.min(0)
            sheet.words((left, top), f"{each.label} {each.score:.2f}", colour_of(each.index))
        return drawn

    def describe(self, result: Boxes3D) -> str:
        counts: dict[str, int] = {}
        for each in result.objects:
            counts[each.label] = counts.get(each.label, 0) + 1
        return ", ".join(f"{count} {label}" for label, count in counts.items()) or "nothing"


def _read(outputs: Outputs, names: tuple[str, ...] | None, number: int, what: str) -> Array:
    name = names[number] if names and number < len(names) else None
    return planes_of(not_nan(output_named(outputs, name, number), what), "nchw", what)


def _columns(planes: Array, width: int, what: str) -> Array:
    """Rows of that many numbers: of each cell, anchor after anchor."""
    if len(planes) % width:
        raise FeedsError(
            f"The output with {what} has {len(planes)} channels",
            expected=f"a multiple of {width}",
            hint=TENSORS,
        )
    return np.moveaxis(planes, 0, -1).reshape(-1, width)


def _from_anchors(outputs: Outputs, context: Context[Detection3DParameters]) -> Boxes3D:
    wanted = context.parameters
    planes = _read(outputs, wanted.outputs, 0, "class scores")
    scores = _columns(planes, wanted.classes, "class scores").astype(np.float64)
    deltas = _columns(_read(outputs, wanted.outputs, 1, "residuals"), 7, "residuals")
    grid = AnchorGrid(wanted.extents, wanted.sizes, wanted.turns, wanted.aligned)
    anchors = grid.boxes(planes.shape[1], planes.shape[2])
    if not len(scores) == len(deltas) == len(anchors):
        raise FeedsError(
            f"The outputs have {len(scores)} scores and {len(deltas)} residuals",
            expected=f"{len(anchors)} of each, by the parameters' sizes and turns",
        )
    scores = sigmoid(scores) if wanted.scores == "logits" else scores
    few = np.argsort(-scores.max(1), kind="stable")[: wanted.candidates]
    boxes = decoded(deltas[few], anchors[few])
    pairs = thinned(boxes, scores[few], wanted.threshold, wanted.iou, wanted.most)
    chosen, classes = boxes[pairs[:, 0]], pairs[:, 1]
    names = wanted.outputs
    if len(outputs) > 2 and not (names and len(names) > 2 and not names[2]):
        ways = _columns(_read(outputs, names, 2, "directions"), 2, "directions")[few[pairs[:, 0]]]
        chosen[:, 6] = directed(
            chosen[:, 6], ways.argmax(1), wanted.direction_offset, wanted.direction_limit
        )
    found = _objects(chosen, classes, scores[few][pairs[:, 0], classes], context)
    return Boxes3D(found, "scanner", vertices(chosen))


def _from_camera(outputs: Outputs, context: Context[Detection3DParameters]) -> Boxes3D:
    wanted = context.parameters
    heat = _read(outputs, wanted.outputs, 0, "class scores").astype(np.float64)
    values = _read(outputs, wanted.outputs, 1, "numbers of boxes")
    if len(values) != 8 or len(heat) != len(wanted.sizes) or values.shape[1:] != heat.shape[1:]:
        raise FeedsError(
            f"The outputs have shapes {list(heat.shape)} and {list(values.shape)}",
            expected=f"{len(wanted.sizes)} classes by the parameter sizes, and 8 channels, on one map",
            hint=TENSORS,
        )
    heat = sigmoid(heat) if wanted.scores == "logits" else heat
    found = strongest_peaks(heat, values, wanted.most, wanted.threshold, wanted.window)
    height, width = heat.shape[1:]
    tensor = context.tensor or (width, height)
    # Maps and lenses count from the middle of the first pixel, placements from its corner.
    points = (found.cells + found.values[:, 1:3]) * (np.array(tensor) / (width, height)) + 0.5
    if context.placement is not None:
        points = context.placement.points_to_picture(points)
    assert wanted.lens is not None
    lens = Lens(wanted.lens[:2], wanted.lens[2:])
    boxes = camera_boxes(found, points - 0.5, lens, wanted.depth, wanted.sizes)
    corners = camera_vertices(boxes)
    objects = _objects(boxes, found.classes, found.scores, context)
    return Boxes3D(objects, "camera", corners, lens.seen(corners) + 0.5)


def _objects(
    boxes: Array, classes: Array, scores: Array, context: Context[Any]
) -> tuple[Box3D, ...]:
    return tuple(
        Box3D(
            int(index), context.label(int(index)), float(score),
            (row[0], row[1], row[2]), (row[3], row[4], row[5]), row[6],
        )
        for row, index, score in zip(boxes.tolist(), classes, scores, strict=True)
    )  # fmt: skip


def _from_above(size: tuple[int, int], result: Boxes3D) -> Image.Image:
    """Forwards is up, left is left."""
    drawn = Image.new("RGB", size, (24, 26, 32))
    if not result.objects:
        return drawn
    flat = -result.corners[:, :4, 1::-1]  # x to the top, y to the left
    least, most = flat.min((0, 1)), flat.max((0, 1))
    scale = float((np.array(size) * (1 - 2 * _MARGIN) / np.maximum(most - least, 1e-6)).min())
    middle = (least + most) / 2
    sheet = Sheet(drawn)
    for each, face in zip(result.objects, flat, strict=True):
        corners = (face - middle) * scale + np.array(size) / 2
        sheet.polygon(corners, colour_of(each.index))
        nose = (corners[0] + corners[3]) / 2
        sheet.segment(corners.mean(0), nose, colour_of(each.index))
        sheet.words(tuple(corners.min(0)), f"{each.label} {each.score:.2f}", colour_of(each.index))
    return drawn
