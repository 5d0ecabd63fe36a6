"""Where the keypoints of people, hands or other things are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from modelport.runtime.decoding.heatmaps import Blur, Refinement, input_places, peaks, refined
from modelport.runtime.decoding.keypoint_codes import (
    Part,
    RowForm,
    chosen,
    from_numbers,
    from_simcc,
    in_rows,
)
from modelport.runtime.decoding.reading import not_nan, of_shape, output_named
from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.decoding.skeletons import SKELETONS, Skeleton, bone_colour
from modelport.runtime.placement import Placement
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.types import Array, Outputs


@dataclass(frozen=True, eq=False)
class Posed:
    """One thing with keypoints.

    Attributes:
        points: keypoints x 2 in the picture, float64; the middle of the first pixel is (0.5, 0.5).
        scores: of the keypoints.
        score: of the thing; the mean of those of its keypoints where the model gives none.
        label: of its class, where the model finds things itself.
        box: left, top, right, bottom, where the model gives one.
    """

    points: Array
    scores: Array
    score: float
    label: str | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Poses(Result):
    """Attributes:
    objects: the surest first.
    skeleton: names of keypoints, and which of them a bone joins.
    threshold: score from which on a keypoint is drawn.
    """

    objects: tuple[Posed, ...]
    skeleton: Skeleton
    threshold: float

    def name(self, index: int) -> str:
        names = self.skeleton.names
        return names[index] if index < len(names) else f"point {index}"

    def to_json(self) -> dict[str, Any]:
        return {
            "objects": [
                {
                    "score": each.score,
                    "label": each.label,
                    "box": None if each.box is None else list(each.box),
                    "keypoints": [
                        {"name": self.name(number), "x": x, "y": y, "score": score}
                        for number, ((x, y), score) in enumerate(
                            zip(each.points.tolist(), each.scores.tolist(), strict=True)
                        )
                    ],
                }
                for each in self.objects
            ]
        }

    def rows(self) -> list[dict[str, Any]]:
        """One to a keypoint."""
        return [
            {"object": place, **point}
            for place, each in enumerate(self.to_json()["objects"])
            for point in each["keypoints"]
        ]


class PoseParameters(Parameters):
    """Attributes:
    form: how the model writes keypoints: `heatmaps` (1 x keypoints x height x width), `simcc` (two
        outputs of 1 x keypoints x bins), `numbers` (coordinates), or `rows` (objects, each with a box,
        scores and keypoints: YOLO-pose, RTMO). All but rows are of one object: of the crop.
    outputs: names of the outputs that are read, in the order told here; by default the first ones.
    skeleton: `coco17`, `hand21`, `face5`, or names and pairs of their numbers.
    threshold: score from which on a keypoint is drawn.
    origin: where the number 0 lies in the first pixel: in its `middle` (models trained with OpenCV's
        warps: MMPose, HRNet, ViTPose), or at its `corner` (YOLO); by default the corner for rows.
    refine: heatmaps: `none`, `quarter`, `dark` or `dark_udp`; see `heatmaps.py`.
    udp: heatmaps: whether their first and last cell lie on the first and last pixel.
    blur, blur_sigma, blur_edge: heatmaps: of the two dark refinements: cells, their Gaussian's width (by
        default as OpenCV), and what is beyond the edge: `zeros` (MMPose) or `mirror` (transformers).
    split: simcc: bins to a pixel.
    joint: simcc: a score is the `least` (MMPose) or the `mean` of both axes'.
    normalised: numbers: whether they are 0..1 over the tensor; else pixels.
    dimensions: numbers: how many there are to a keypoint where they all stand in one row, whatever the
        axes of the output (MediaPipe); None where its last axis is that of a keypoint, or has pairs.
    confidence: numbers: what follows x and y, or is the second output: `none`, a `score`, or the
        spread of the distribution, `sigma` (RLE) or `sigma_logits` (before its sigmoid).
    parts: rows: the columns from left to right; several outputs stand side by side.
    classes: rows: columns of `scores`.
    keypoint_scores: rows: whether each keypoint has a score after x and y.
    box: rows: `centre` (middle x, middle y, width, height) or `corners`.
    rows_last: rows: whether the output is 1 x columns x rows.
    logits: rows: what still needs a sigmoid: `scores` of objects, `points` (scores of keypoints).
    score_threshold: rows: least score of an object.
    iou: rows: objects that overlap a better one by more are left out; None where the model did that.
    most: rows: objects at most.
    """

    form: Literal["heatmaps", "simcc", "numbers", "rows"] = "heatmaps"
    outputs: tuple[str, ...] | None = None
    skeleton: Literal["coco17", "hand21", "face5"] | Skeleton = "coco17"
    threshold: float = 0.3
    origin: Literal["middle", "corner"] | None = None
    refine: Refinement = "quarter"
    udp: bool = False
    blur: PositiveInt = 11
    blur_sigma: PositiveFloat | None = None
    blur_edge: Literal["zeros", "mirror"] = "zeros"
    split: PositiveFloat = 2.0
    joint: Literal["least", "mean"] = "least"
    normalised: bool = True
    dimensions: int | None = Field(default=None, ge=2)
    confidence: Literal["none", "score", "sigma", "sigma_logits"] = "none"
    parts: tuple[Part, ...] = ("box", "scores", "points")
    classes: PositiveInt = 1
    keypoint_scores: bool = True
    box: Literal["centre", "corners"] = "centre"
    rows_last: bool = True
    logits: tuple[Literal["scores", "points"], ...] = ()
    score_threshold: float = 0.25
    iou: float | None = Field(default=0.65, ge=0, le=1)
    most: NonNegativeInt = 300

    @model_validator(mode="after")
    def _fits(self) -> PoseParameters:
        if self.blur % 2 == 0:
            raise ValueError(f"blur is {self.blur}, and a kernel has an odd number of cells")
        if "points" not in self.parts:
            raise ValueError("parts lacks points")
        count = len(self.shape.names)
        if any(not 0 <= end < count for bone in self.shape.bones for end in bone):
            raise ValueError(f"a bone of the skeleton ends at none of the {count} keypoints")
        return self

    @property
    def shape(self) -> Skeleton:
        return SKELETONS[self.skeleton] if isinstance(self.skeleton, str) else self.skeleton


class PoseTask(Task[PoseParameters, Poses]):
    name: ClassVar[str] = "pose"
    summary: ClassVar[str] = "keypoints of people, hands or other things"
    Parameters: ClassVar[type[Parameters]] = PoseParameters

    def decode(self, outputs: Outputs, context: Context[PoseParameters]) -> Poses:
        wanted = context.parameters
        names = wanted.outputs
        count = 2 if wanted.form == "simcc" else len(names) if names else None
        given = [
            not_nan(output_named(outputs, names[place] if names else None, place), "keypoints")
            for place in range(count or len(outputs))
        ]
        found = _rows(given, context) if wanted.form == "rows" else (_alone(given, context),)
        return Poses(found, wanted.shape, wanted.threshold)

    def draw(self, image: Image.Image, result: Poses) -> Image.Image:
        drawn = image.convert("RGB")
        sheet = Sheet(drawn)
        for number, each in enumerate(result.objects):
            if each.box is not None:
                sheet.box(each.box, f"{each.label or ''} {each.score:.2f}", colour_of(number))
            _draw_bones(sheet, each, result)
        return drawn

    def describe(self, result: Poses) -> str:
        if len(result.objects) != 1:
            return f"{len(result.objects)} poses"
        (only,) = result.objects
        sure = int((only.scores >= result.threshold).sum())
        return f"{sure} of {len(only.scores)} keypoints, score {only.score:.2f}"


def _draw_bones(sheet: Sheet, each: Posed, result: Poses) -> None:
    shown = each.scores >= result.threshold
    names = result.skeleton.names
    for bone in result.skeleton.bones:
        if max(bone) < len(shown) and shown[list(bone)].all():
            start, end = (each.points[number] for number in bone)
            sheet.segment(start, end, bone_colour(names, bone))
    for number in np.flatnonzero(shown):
        sheet.point(each.points[number], bone_colour(names, (int(number), int(number))))


def _alone(given: list[Array], context: Context[PoseParameters]) -> Posed:
    """The one object of a crop."""
    wanted = context.parameters
    tensor = context.tensor
    if wanted.form == "heatmaps":
        places, scores = _from_heatmaps(given[0], context)
    elif wanted.form == "simcc":
        places, scores = from_simcc(given[0], given[1], wanted.split, wanted.joint)
    else:
        extra = given[1] if len(given) > 1 and wanted.confidence != "none" else None
        rows = in_rows(given[0], wanted.dimensions)
        places, scores = from_numbers(
            rows, extra, tensor or (1, 1), wanted.normalised, wanted.confidence
        )
    points = _in_picture(places, wanted.origin or "middle", context.placement)
    return Posed(points, scores.astype(np.float64), float(scores.mean()) if len(scores) else 0.0)


def _from_heatmaps(given: Array, context: Context[PoseParameters]) -> tuple[Array, Array]:
    wanted = context.parameters
    maps = of_shape(given, ("1", "keypoints", "height", "width"), "heatmaps")[0].astype(np.float64)
    cells, scores = peaks(maps)
    blur = Blur(wanted.blur, wanted.blur_sigma, wanted.blur_edge)
    places = refined(maps, cells, wanted.refine, blur)
    size = (maps.shape[2], maps.shape[1])
    return input_places(places, size, context.tensor or size, wanted.udp), scores


def _rows(given: list[Array], context: Context[PoseParameters]) -> tuple[Posed, ...]:
    wanted = context.parameters
    form = RowForm(
        wanted.parts,
        wanted.classes,
        len(wanted.shape.names),
        3 if wanted.keypoint_scores else 2,
        wanted.box,
        wanted.rows_last,
        wanted.logits,
    )
    found = chosen(form.read(given), wanted.score_threshold, wanted.iou, wanted.most)
    points = _in_picture(found.points, wanted.origin or "corner", context.placement)
    boxes = (
        found.boxes
        if context.placement is None
        else context.placement.boxes_to_picture(found.boxes)
    )
    return tuple(
        Posed(
            points[place],
            found.sure[place],
            float(found.scores[place]),
            context.label(int(found.classes[place])),
            (float(left), float(top), float(right), float(bottom)),
        )
        for place, (left, top, right, bottom) in enumerate(boxes)
    )


def _in_picture(places: Array, origin: str, placement: Placement | None) -> Array:
    """Places in the picture, of places in the tensor counted from that origin."""
    points = np.asarray(places, np.float64) + (0.5 if origin == "middle" else 0.0)
    return points if placement is None else placement.points_to_picture(points)
