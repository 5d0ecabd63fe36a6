"""How the decode steps of tasks are written in the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from modelport.endtoend.canvas import Canvas
from modelport.endtoend.detecting import detected, undetectable
from modelport.endtoend.segmenting import (
    expected_labels,
    labels_differ,
    segmented,
    unsegmentable,
)
from modelport.frontends.network import Tensor
from modelport.runtime.decoding.boxes import overlaps
from modelport.runtime.tasks.base import Result
from modelport.runtime.tasks.classification import Classification, ClassificationParameters
from modelport.runtime.tasks.detection import Detections
from modelport.runtime.tasks.tensors import Tensors
from modelport.types import Array, Outputs

Tensors_ = Mapping[str, Tensor]


@dataclass(frozen=True)
class Answer:
    """Attributes:
    write: from the canvas, the model's outputs and the task's parameters to the results by name.
    expected: the same results from a result of the predictor.
    differs: how two such results differ, in words; None where they agree.
    refuses: why the decode step cannot be written in the graph, or None.
    """

    write: Callable[[Canvas, Tensors_, Any], dict[str, Tensor]]
    expected: Callable[[Any], Outputs]
    differs: Callable[[Outputs, Outputs], str | None]
    refuses: Callable[[Any], str | None] = lambda parameters: None


# --- outputs as they are ------------------------------------------------------------------------


def _tensors(canvas: Canvas, outputs: Tensors_, parameters: Any) -> dict[str, Tensor]:
    return dict(outputs)


def _expected_tensors(result: Tensors) -> Outputs:
    return dict(result.outputs)


CLOSE = 0.02
"""Of the largest value: what a grey level here and there may move an output."""


def _tensors_differ(want: Outputs, got: Outputs) -> str | None:
    for name, array in want.items():
        if array.shape != got[name].shape:
            return f"{name} has shape {list(got[name].shape)}, and {list(array.shape)} is right"
        error = _relative(array, got[name])
        if error > CLOSE:
            return f"{name} differs by {error:.2%} of its largest value"
    return None


def _relative(want: Array, got: Array) -> float:
    wide, other = want.astype(np.float64), got.astype(np.float64)
    if wide.size == 0:
        return 0.0
    return float(np.abs(wide - other).max() / max(np.abs(wide).max(), 1e-12))


# --- classification -----------------------------------------------------------------------------


def _classification(
    canvas: Canvas, outputs: Tensors_, parameters: ClassificationParameters
) -> dict[str, Tensor]:
    net = canvas.net
    row = net.cast(next(iter(outputs.values())), "float32")
    scores = net.softmax(row) if parameters.scores == "logits" else row
    count = row.shape[1]
    top = min(parameters.top, count) if isinstance(count, int) else parameters.top
    _, index = net.topk(row, top, -1)
    chosen = cast(Tensor, net.op.GatherElements(scores, index, axis=1))
    return {"index": net.squeeze(index, 0), "score": net.squeeze(chosen, 0)}


def _expected_classes(result: Classification) -> Outputs:
    return {
        "index": np.array([each.index for each in result.classes], np.int64),
        "score": np.array([each.score for each in result.classes], np.float32),
    }


_SCORE = 0.02
"""Two scores that lie closer may change places."""


def _classes_differ(want: Outputs, got: Outputs) -> str | None:
    """Places may change between near ties; the scores themselves, in their order, may not."""
    if want["index"].shape != got["index"].shape:
        return f"{len(got['index'])} classes, and {len(want['index'])} are right"
    error = float(np.abs(want["score"] - got["score"]).max(initial=0))
    if error > _SCORE:
        return f"scores differ by {error:.3f}"
    known = dict(zip(got["index"].tolist(), got["score"].tolist(), strict=True))
    least = float(got["score"].min(initial=1))
    for index, score in zip(want["index"].tolist(), want["score"].tolist(), strict=True):
        if abs(known.get(index, least) - score) > _SCORE:
            return f"class {index} has {known.get(index, least):.3f}, and {score:.3f} is right"
    return None


# --- detection ----------------------------------------------------------------------------------


def _expected_objects(result: Detections) -> Outputs:
    return {
        "boxes": result.boxes.astype(np.float32),
        "scores": np.array([each.score for each in result.objects], np.float32),
        "classes": np.array([each.index for each in result.objects], np.int64),
    }


_OVERLAP, _SURE = 0.9, 0.05
"""Boxes that overlap by so much are the same; scores may differ by so much."""


def _objects_differ(want: Outputs, got: Outputs) -> str | None:
    """Every object that is sure enough is found on the other side, whichever order they stand in."""
    for one, other, side in ((want, got, "misses"), (got, want, "invents")):
        least = float(min(one["scores"].min(initial=1), other["scores"].min(initial=1)))
        for box, score, index in zip(one["boxes"], one["scores"], one["classes"], strict=True):
            if score > least + _SURE and not _has(other, box, float(score), int(index)):
                return f"it {side} class {index} with {score:.2f} at {np.round(box).tolist()}"
    return None


def _has(objects: Outputs, box: Array, score: float, index: int) -> bool:
    same = (objects["classes"] == index) & (np.abs(objects["scores"] - score) <= _SURE)
    return bool((overlaps(box[None], objects["boxes"])[0] >= _OVERLAP)[same].any())


ANSWERS: dict[str, Answer] = {
    "detection": Answer(detected, _expected_objects, _objects_differ, undetectable),
    "semantic_segmentation": Answer(segmented, expected_labels, labels_differ, unsegmentable),
    "tensors": Answer(_tensors, _expected_tensors, _tensors_differ),
    "classification": Answer(_classification, _expected_classes, _classes_differ),
}


def expected(task: str, result: Result) -> Outputs:
    """What the graph must give, from the predictor's result."""
    return ANSWERS[task].expected(result)
