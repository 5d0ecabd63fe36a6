"""Objects with turned boxes: ships and planes from above, parts on a belt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from modelport.errors import EngineError, FeedsError
from modelport.runtime.decoding.detection_head import Found, extras, find
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.head_parts import Part
from modelport.runtime.decoding.rotated_boxes import (
    Convention,
    corners_of_rotated,
    regular,
    rotated_nms,
    rotated_of_corners,
)
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.tasks.detection import described
from modelport.types import Array, Outputs

_ALL = 2**31 - 1
_CENTRED = ("cxcywh", "deltas", "linear", "yolov3", "yolov5", "centre_size")


class Angle(Parameters):
    """Where the angle of a box stands.

    Attributes:
        part: one number for each box.
        unit: of the number.
        convention: how results are written; see `modelport.runtime.decoding.rotated_boxes`.
    """

    part: Part
    unit: Literal["radians", "degrees"] = "radians"
    convention: Convention = "le90"


class RotatedParameters(HeadParameters):
    """Those of a detector, and the angle of its boxes.

    The `code` of the boxes is one of a middle and sides. `ltrb` is measured along the turned axes from
    its point, as in RTMDet-R and Ultralytics' boxes. The overlap of the `nms` is that of turned boxes.

    Attributes:
        angle: where it stands, and what it means.
    """

    angle: Angle


@dataclass(frozen=True)
class RotatedDetection:
    """One object.

    Attributes:
        centre: x and y in pixels of the picture.
        width, height: of the rectangle, before it is turned.
        angle: in degrees, clockwise on the picture.
    """

    centre: tuple[float, float]
    width: float
    height: float
    angle: float
    label: str
    index: int
    score: float

    @property
    def corners(self) -> Array:
        """4 x 2, clockwise from the rectangle's own upper left."""
        turned = [*self.centre, self.width, self.height, math.radians(self.angle)]
        return np.asarray(corners_of_rotated(np.array([turned]))[0])

    def to_json(self) -> dict[str, Any]:
        return {
            "centre": list(self.centre),
            "width": self.width,
            "height": self.height,
            "angle": self.angle,
            "corners": self.corners.tolist(),
            "label": self.label,
            "index": self.index,
            "score": self.score,
        }


@dataclass(frozen=True)
class RotatedDetections(Result):
    """The objects of a picture, the surest first."""

    objects: tuple[RotatedDetection, ...]

    def __len__(self) -> int:
        return len(self.objects)

    def to_json(self) -> dict[str, Any]:
        return {"objects": [each.to_json() for each in self.objects]}

    def rows(self) -> list[dict[str, Any]]:
        """One for each object."""
        return [
            {
                "x": each.centre[0],
                "y": each.centre[1],
                "width": each.width,
                "height": each.height,
                "angle": each.angle,
                "label": each.label,
                "index": each.index,
                "score": each.score,
            }
            for each in self.objects
        ]


class RotatedDetectionTask(Task[RotatedParameters, RotatedDetections]):
    name: ClassVar[str] = "rotated_detection"
    summary: ClassVar[str] = "objects with turned boxes"
    Parameters: ClassVar[type[RotatedParameters]] = RotatedParameters

    def decode(self, outputs: Outputs, context: Context[RotatedParameters]) -> RotatedDetections:
        how = context.parameters
        found, boxes = _found(outputs, context)
        if how.nms is not None:
            classes = None if how.nms.agnostic else found.classes
            kept = rotated_nms(boxes, found.scores, how.nms.iou, classes=classes, most=how.most)
            found, boxes = found.take(kept), boxes[kept]
        else:
            found, boxes = found.take(np.arange(min(len(found), how.most))), boxes[: how.most]
        if context.placement is not None:
            corners = context.placement.points_to_picture(corners_of_rotated(boxes))
            boxes = rotated_of_corners(corners)
        boxes = regular(boxes, how.angle.convention)
        rows = zip(boxes.tolist(), found.classes.tolist(), found.scores.tolist(), strict=True)
        return RotatedDetections(
            tuple(
                RotatedDetection(
                    (x, y), width, height, math.degrees(angle), context.label(index), index, score
                )
                for (x, y, width, height, angle), index, score in rows
            )
        )

    def draw(self, image: Image.Image, result: RotatedDetections) -> Image.Image:
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for each in reversed(result.objects):
            corners = each.corners
            sheet.polygon(corners.tolist(), colour_of(each.index))
            top = corners[corners[:, 1].argmin()]
            words = f"{each.label} {each.score:.2f}"
            sheet.words((float(top[0]), float(top[1])), words, colour_of(each.index))
        return drawn

    def describe(self, result: RotatedDetections) -> str:
        return described(result.objects)


def _found(outputs: Outputs, context: Context[RotatedParameters]) -> tuple[Found, Array]:
    """All that pass the threshold, and their N x 5 in pixels of the tensor, before the NMS."""
    how = context.parameters
    if how.code not in _CENTRED and how.code != "ltrb":
        raise FeedsError(
            f"Turned boxes coded as {how.code} have no middle to turn around",
            expected=f"one of {', '.join((*_CENTRED, 'ltrb'))}",
        )
    upright = how.model_copy(update={"nms": None, "most": _ALL})
    found = find(outputs, Context(upright, context.labels, context.placement))
    turns = extras(how.angle.part, outputs, how, found)[:, 0].astype(np.float64)
    if np.isnan(turns).any():
        raise EngineError("The angles of the model hold a NaN", expected="numbers")
    turns = np.deg2rad(turns) if how.angle.unit == "degrees" else turns
    boxes = found.boxes.astype(np.float64)
    sides = boxes[:, 2:] - boxes[:, :2]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    if how.code == "ltrb" and found.priors is not None:
        middles = _turned_around(found.priors.centres, middles, turns)
    return found, np.column_stack([middles, sides, turns])


def _turned_around(points: Array, middles: Array, turns: Array) -> Array:
    """Middles that were found along the upright axes from a point, along turned ones."""
    x, y = (middles - points).T
    cos, sin = np.cos(turns), np.sin(turns)
    return np.asarray(points + np.stack([x * cos - y * sin, x * sin + y * cos], -1))
