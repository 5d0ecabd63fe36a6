"""Faces with their boxes and landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from modelport.errors import FeedsError
from modelport.runtime.decoding.boxes import FAR, centres_of_corners
from modelport.runtime.decoding.detection_head import Found, extras, find
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.head_parts import Part
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.tasks.detection import Box, boxes_in_picture, priors_in_picture
from modelport.types import Array, Outputs

FIVE = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""The usual five, left and right as the picture shows them."""


class Landmarks(Parameters):
    """Places on a face.

    Attributes:
        part: their numbers, two for each place.
        code: what these mean. `pixels` and `shares` of the tensor; `strides` from the point of the
            cell; `deltas` in sides of the prior; `box` in sides of the box, from its left and top.
        variance: that deltas are multiplied by.
        vertical_first: whether y stands before x.
        apart: whether the one of x and y stands for all places before the other one; else place by
            place.
        names: of the places.
    """

    part: Part | tuple[Part, ...]
    code: Literal["pixels", "shares", "strides", "deltas", "box"] = "pixels"
    variance: float = 1.0
    vertical_first: bool = False
    apart: bool = False
    names: tuple[str, ...] = FIVE


class FaceParameters(HeadParameters):
    """Those of a detector, and its landmarks.

    Attributes:
        landmarks: None where the model finds boxes alone.
    """

    landmarks: Landmarks | None = None


@dataclass(frozen=True)
class Face:
    """One face.

    Attributes:
        box: left, top, right, bottom in pixels of the picture.
        landmarks: x and y by name, in pixels of the picture; they may lie beyond its edges.
        prior: the box that the model looked at when it found this one, where `with_priors` keeps it.
    """

    box: Box
    score: float
    landmarks: dict[str, tuple[float, float]]
    prior: Box | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "box": list(self.box),
            "score": self.score,
            "landmarks": {name: list(place) for name, place in self.landmarks.items()},
        }


@dataclass(frozen=True)
class Faces(Result):
    """The faces of a picture, the surest first."""

    objects: tuple[Face, ...]

    def __len__(self) -> int:
        return len(self.objects)

    def to_json(self) -> dict[str, Any]:
        return {"objects": [each.to_json() for each in self.objects]}

    def rows(self) -> list[dict[str, Any]]:
        """One for each face."""
        return [_row(each) for each in self.objects]


def _row(face: Face) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("left", "top", "right", "bottom"), face.box, strict=True))
    row["score"] = face.score
    for name, (x, y) in face.landmarks.items():
        row |= {f"{name}_x": x, f"{name}_y": y}
    return row


class FaceDetectionTask(Task[FaceParameters, Faces]):
    name: ClassVar[str] = "face_detection"
    summary: ClassVar[str] = "faces with their boxes and landmarks"
    Parameters: ClassVar[type[FaceParameters]] = FaceParameters
    holds: ClassVar[type[Result] | None] = Faces

    def decode(self, outputs: Outputs, context: Context[FaceParameters]) -> Faces:
        found = find(outputs, context)
        how = context.parameters.landmarks
        names = () if how is None else how.names
        points = np.zeros((len(found), 0, 2)) if how is None else _placed(outputs, context, found)
        boxes = boxes_in_picture(found.boxes, context).tolist()
        priors = priors_in_picture(found, context)
        parts = zip(boxes, found.scores.tolist(), points.tolist(), priors, strict=True)
        return Faces(
            tuple(
                Face(
                    (box[0], box[1], box[2], box[3]),
                    score,
                    {name: (x, y) for name, (x, y) in zip(names, places, strict=True)},
                    prior,
                )
                for box, score, places, prior in parts
            )
        )

    def draw(self, image: Image.Image, result: Faces) -> Image.Image:
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for number, each in reversed(list(enumerate(result.objects))):
            sheet.box(each.box, f"{each.score:.2f}", colour_of(number))
            for place in each.landmarks.values():
                sheet.point(place, colour_of(number))
        return drawn

    def describe(self, result: Faces) -> str:
        if not result.objects:
            return "no face"
        count = f"{len(result)} face{'' if len(result) == 1 else 's'}"
        return f"{count}, the surest {result.objects[0].score:.2f}"


def _placed(outputs: Outputs, context: Context[FaceParameters], found: Found) -> Array:
    """Landmarks in the picture, faces x places x 2."""
    how = context.parameters.landmarks
    assert how is not None
    numbers = extras(how.part, outputs, context.parameters, found)
    if numbers.shape[1] != 2 * len(how.names):
        raise FeedsError(
            f"The model gives {numbers.shape[1]} numbers for the landmarks of a face",
            expected=f"{2 * len(how.names)}, two for each of {', '.join(how.names)}",
        )
    count = len(how.names)
    if how.apart:
        pairs = numbers.reshape(len(numbers), 2, count).swapaxes(1, 2)
    else:
        pairs = numbers.reshape(len(numbers), count, 2)
    if how.vertical_first:
        pairs = pairs[:, :, ::-1]
    points = _in_tensor(pairs, how, found, context).clip(-FAR, FAR)
    if context.placement is None:
        return points.astype(np.float64)
    return context.placement.points_to_picture(points)


def _in_tensor(
    pairs: Array, how: Landmarks, found: Found, context: Context[FaceParameters]
) -> Array:
    if how.code == "pixels":
        return pairs
    if how.code == "shares":
        return np.asarray(pairs * np.array(_sides(context), pairs.dtype))
    if how.code == "box":
        sides = centres_of_corners(found.boxes)[:, None, 2:]
        return np.asarray(found.boxes[:, None, :2] + pairs * sides)
    if found.priors is None:
        raise FeedsError(
            f"Landmarks coded as {how.code} are relative to priors", expected="`priors` in the task"
        )
    if how.code == "strides":
        reach = found.priors.strides[:, None]
    else:
        reach = found.priors.sides[:, None] * np.float32(how.variance)
    return np.asarray(found.priors.centres[:, None] + pairs * reach)


def _sides(context: Context[FaceParameters]) -> tuple[int, int]:
    """Width and height of the tensor."""
    size = context.parameters.size
    if size is not None and context.placement is None:
        return size[1], size[0]
    sides = context.tensor
    if sides is None:
        raise FeedsError(
            "Nothing tells the size of the tensor, and landmarks are shares of it",
            hint="Give the parameter `size`, or the feeds to `decode`",
        )
    return sides
