"""The other ways in which models write keypoints: two distributions, numbers, and rows of objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from modelport.errors import FeedsError
from modelport.runtime.decoding.boxes import corners_of_centres
from modelport.runtime.decoding.nms import nms
from modelport.runtime.decoding.reading import TENSORS, of_shape, sigmoid
from modelport.types import Array

Part = Literal["box", "score", "class", "scores", "points"]


def from_simcc(across: Array, down: Array, split: float, joint: str) -> tuple[Array, Array]:
    """SimCC (Li et al. 2022), as RTMPose: the best bin of each axis.

    Args:
        across, down: 1 x keypoints x bins.
        split: bins to a pixel.
        joint: the score is the `least` or the `mean` of both axes' values.

    Returns:
        Places n x 2 in pixels of the tensor, 0 the middle of the first; and scores, n.
    """
    rows = [
        of_shape(axis, ("1", "keypoints", "bins"), "SimCC distributions")[0]
        for axis in (across, down)
    ]
    if len(rows[0]) != len(rows[1]):
        raise FeedsError(
            f"The outputs have {len(rows[0])} and {len(rows[1])} keypoints", expected="as many"
        )
    places = np.stack([row.argmax(1) for row in rows], -1) / split
    tops = np.stack([row.max(1) for row in rows], -1).astype(np.float64)
    return places, tops.min(-1) if joint == "least" else tops.mean(-1)


def in_rows(given: Array, dimensions: int | None) -> Array:
    """Numbers that all stand in one row as 1 x keypoints x dimensions.

    Raises:
        FeedsError: where the batch is not one, or they are no multiple.
    """
    if dimensions is None:
        return given
    if len(given) != 1 or given.size % dimensions:
        raise FeedsError(
            f"An output has shape {list(given.shape)}",
            expected=f"a batch of one, with {dimensions} numbers to a keypoint by the parameters",
            hint=TENSORS,
        )
    return given.reshape(1, -1, dimensions)


def from_numbers(
    given: Array, extra: Array | None, tensor: tuple[int, int], normalised: bool, confidence: str
) -> tuple[Array, Array]:
    """Coordinates as they are, as regression models give them (RLE: Li et al. 2021).

    Args:
        given: 1 x keypoints x (2 or more), or 1 x (keypoints * 2): x, y and what else there is.
        extra: what else there is, where it is an output of its own.
        tensor: its width and height, for `normalised` coordinates of 0..1.
        confidence: see the task's parameter.
    """
    values = given.reshape(len(given), -1, 2) if given.ndim == 2 else given
    rows = of_shape(values, ("1", "keypoints", "x and y"), "keypoints")[0].astype(np.float64)
    places = rows[:, :2] * (np.array(tensor) if normalised else 1.0)
    if confidence == "none":
        return places, np.ones(len(places))
    rest = rows[:, 2:] if extra is None else extra.reshape(len(rows), -1).astype(np.float64)
    if not rest.shape[1]:
        raise FeedsError(
            f"The output has {rows.shape[1]} numbers to a keypoint, and the parameter confidence "
            f"is {confidence}",
            expected="more numbers, or another output with them",
            hint="Set confidence to none",
        )
    if confidence == "score":
        return places, rest[:, 0]
    spread = sigmoid(rest) if confidence == "sigma_logits" else rest
    return places, 1 - spread.mean(1)


@dataclass(frozen=True, eq=False)
class Rows:
    """Objects with their keypoints, in pixels of the tensor, 0 its upper left corner.

    Attributes:
        boxes: n x 4, corners.
        scores, classes: n.
        points: n x keypoints x 2.
        sure: n x keypoints, the scores of keypoints.
    """

    boxes: Array
    scores: Array
    classes: Array
    points: Array
    sure: Array

    def take(self, chosen: Array) -> Rows:
        return Rows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class RowForm:
    """Attributes:
    parts: what stands in a row, from left to right.
    classes: how many columns `scores` has.
    keypoints: how many there are.
    dimensions: numbers to a keypoint: 2, or 3 with a score.
    box: `corners`, or `centre` (middle x, middle y, width, height).
    rows_last: whether the output is 1 x columns x rows.
    logits: parts whose scores still need a sigmoid.
    """

    parts: Sequence[Part]
    classes: int
    keypoints: int
    dimensions: int
    box: str
    rows_last: bool
    logits: Sequence[Literal["scores", "points"]]

    def read(self, outputs: Sequence[Array]) -> Rows:
        """The rows of one output, or of several side by side."""
        tables = [self._table(output) for output in outputs]
        if len({len(table) for table in tables}) != 1:
            raise FeedsError(
                f"The outputs have {', '.join(str(len(table)) for table in tables)} rows",
                expected="as many",
                hint=TENSORS,
            )
        columns = self._columns(np.concatenate(tables, 1))
        scores = columns.get("scores", columns.get("score"))
        points = columns["points"].reshape(len(columns["points"]), self.keypoints, self.dimensions)
        count = len(points)
        scores = np.ones((count, 1)) if scores is None else scores
        scores = sigmoid(scores) if "scores" in self.logits else scores
        best = scores.argmax(1) if count else np.zeros(0, np.intp)
        classes = columns["class"][:, 0].astype(np.intp) if "class" in columns else best
        sure = points[..., 2] if self.dimensions == 3 else np.ones(points.shape[:2])
        boxes = columns.get("box")
        if boxes is None:
            boxes = np.concatenate([points[..., :2].min(1), points[..., :2].max(1)], -1)
        elif self.box == "centre":
            boxes = corners_of_centres(boxes)
        return Rows(
            boxes,
            scores[np.arange(count), best],
            classes,
            points[..., :2],
            sigmoid(sure) if "points" in self.logits and self.dimensions == 3 else sure,
        )

    def _table(self, output: Array) -> Array:
        """Rows x columns of one output."""
        sample = output[0] if output.ndim > 2 and len(output) == 1 else output
        if output.shape[1:] == (self.keypoints, self.dimensions):
            sample = output  # objects x keypoints x numbers, of torchvision's detectors
        if output.ndim == 1 and not self.rows_last:
            sample = output[:, None]
        if sample.ndim < 2:
            raise FeedsError(
                f"An output has shape {list(output.shape)}",
                expected="1 x rows x columns",
                hint=TENSORS,
            )
        flat = sample.reshape(len(sample), -1) if sample.size else sample.reshape(len(sample), 0)
        return np.asarray(flat.T if self.rows_last else flat, np.float64)

    def _columns(self, table: Array) -> dict[str, Array]:
        widths = {
            "box": 4,
            "score": 1,
            "class": 1,
            "scores": self.classes,
            "points": self.keypoints * self.dimensions,
        }
        wanted = sum(widths[part] for part in self.parts)
        if not len(table):
            table = np.zeros((0, wanted))
        if table.shape[1] != wanted:
            said = " + ".join(f"{widths[part]} ({part})" for part in self.parts)
            raise FeedsError(
                f"Rows of the output have {table.shape[1]} numbers",
                expected=f"{wanted} by the parameters: {said}",
                hint=TENSORS,
            )
        ends = np.cumsum([widths[part] for part in self.parts])
        return {
            part: table[:, end - widths[part] : end]
            for part, end in zip(self.parts, ends, strict=True)
        }


def chosen(rows: Rows, threshold: float, iou: float | None, most: int) -> Rows:
    """Those that are sure enough, without the doubles that overlap by more than `iou`; best first."""
    rows = rows.take(np.flatnonzero(rows.scores >= threshold))
    if iou is not None:
        return rows.take(nms(rows.boxes, rows.scores, iou, classes=rows.classes, most=most))
    return rows.take(np.argsort(-rows.scores, kind="stable")[:most])
