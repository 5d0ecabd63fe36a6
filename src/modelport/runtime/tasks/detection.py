"""Objects with upright boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from modelport.runtime.decoding.detection_head import Found, find
from modelport.runtime.decoding.detection_parameters import HeadParameters
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.tasks.base import Context, Result, Task
from modelport.types import Array, Outputs

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the picture."""

FIRST_PIXEL = np.array([1.0, 1.0, 0.0, 0.0])
"""From the first and last pixel, counted from 1, to the edges around both."""

SHOWN = 4
"""Objects that a description names."""


@dataclass(frozen=True)
class Detection:
    """One object.

    Attributes:
        box: left, top, right, bottom; the picture's upper left corner is (0, 0).
        prior: the box that the model looked at when it found this one, where `with_priors` keeps it.
    """

    box: Box
    label: str
    index: int
    score: float
    prior: Box | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "box": list(self.box),
            "label": self.label,
            "index": self.index,
            "score": self.score,
        }


@dataclass(frozen=True)
class Detections(Result):
    """The objects of a picture, the surest first."""

    objects: tuple[Detection, ...]

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def boxes(self) -> Array:
        """N x 4, float64."""
        return np.array([each.box for each in self.objects], np.float64).reshape(-1, 4)

    def to_json(self) -> dict[str, Any]:
        return {"objects": [each.to_json() for each in self.objects]}

    def rows(self) -> list[dict[str, Any]]:
        """One for each object."""
        return [row_of(each) for each in self.objects]


def row_of(found: Any) -> dict[str, Any]:
    """Box, label, index and score of an object, for a table."""
    sides = dict(zip(("left", "top", "right", "bottom"), found.box, strict=True))
    return {**sides, "label": found.label, "index": found.index, "score": found.score}


class DetectionTask(Task[HeadParameters, Detections]):
    name: ClassVar[str] = "detection"
    summary: ClassVar[str] = "objects with their boxes"
    Parameters: ClassVar[type[HeadParameters]] = HeadParameters
    holds: ClassVar[type[Result] | None] = Detections

    def decode(self, outputs: Outputs, context: Context[HeadParameters]) -> Detections:
        found = find(outputs, context)
        return Detections(detections_of(found, context))

    def draw(self, image: Image.Image, result: Detections) -> Image.Image:
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for each in reversed(result.objects):  # the surest one last, on top
            sheet.box(each.box, f"{each.label} {each.score:.2f}", colour_of(each.index))
        return drawn

    def describe(self, result: Detections) -> str:
        return described(result.objects)


def boxes_in_picture(boxes: Array, context: Context[Any]) -> Array:
    """Corners in the picture; those of the tensor where nobody placed one.

    They are cut off at the edges of the picture, unless the parameters let them reach `beyond`.
    """
    return _placed(boxes, context, clip=not getattr(context.parameters, "beyond", False))


def priors_in_picture(found: Found, context: Context[Any]) -> list[Box | None]:
    """The prior of each box, where the parameters keep them; never cut off."""
    if found.priors is None or not context.parameters.with_priors:
        return [None] * len(found)
    corners = _placed(found.priors.corners, context, clip=False)
    return [(left, top, right, bottom) for left, top, right, bottom in corners.tolist()]


def _placed(corners: Array, context: Context[Any], *, clip: bool) -> Array:
    if context.placement is None:
        placed = corners.astype(np.float64)
    else:
        placed = context.placement.boxes_to_picture(corners, clip=clip)
    if getattr(context.parameters, "counting", "edges") == "edges":
        return placed
    placed = placed - FIRST_PIXEL
    return np.asarray(np.maximum(placed, 0)) if clip else placed


def detections_of(found: Found, context: Context[Any]) -> tuple[Detection, ...]:
    """With labels, in pixels of the picture."""
    rows = boxes_in_picture(found.boxes, context).tolist()
    priors = priors_in_picture(found, context)
    parts = zip(rows, found.classes.tolist(), found.scores.tolist(), priors, strict=True)
    return tuple(
        Detection((box[0], box[1], box[2], box[3]), context.label(index), index, score, prior)
        for box, index, score, prior in parts
    )


def described(objects: Any) -> str:
    """`2 objects: person 0.91, dog 0.85`."""
    if not objects:
        return "nothing"
    named = [f"{each.label} {each.score:.2f}" for each in objects[:SHOWN]]
    more = ", ..." if len(objects) > SHOWN else ""
    count = f"{len(objects)} object{'' if len(objects) == 1 else 's'}"
    return f"{count}: {', '.join(named)}{more}"
