"""Their tasks and outputs in our words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.networks import fixed_size, picture_input
from modelport.runtime.foreign.poses import skeleton_of
from modelport.runtime.foreign.ultralytics.metadata import Metadata
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Resize,
    Transform,
)
from modelport.types import Signature

GREY = 114
"""Beside the picture in a letterbox."""

CORNERS, SCORE, CLASS = 4, 1, 1
"""Numbers of a final box, before those of keypoints and the like."""


@dataclass(frozen=True)
class Found:
    task: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def transforms_of(
    metadata: Metadata, signature: Signature, where: Path
) -> tuple[list[Transform], list[str]]:
    """What their predictors do to a picture, and what was assumed."""
    spec = picture_input(signature, where)
    if spec.dtype != "float32":
        raise BundleFormatError(
            f"{where} takes pictures of {spec.dtype}",
            expected="float32",
            hint="Export the model again without half",
        )
    fixed = fixed_size(spec)
    size = fixed or metadata.size
    notes = []
    if size is None:
        size = (640, 640)
        notes.append("the file does not say its size, so 640x640 is assumed")
    if metadata.channels not in (1, 3):
        raise BundleFormatError(
            f"{where} takes pictures of {metadata.channels} channels", expected="1 or 3"
        )
    grey = metadata.channels == 1
    decode = Decode(colour="grey" if grey else "rgb", orientation="exif")
    channels = 1 if grey else 3
    normalize = Normalize(mean=(0.0,) * channels, std=(1.0,) * channels, scale=1 / 255)
    steps = _square(size, where) if metadata.task == "classify" else _boxed(metadata, size, fixed)
    return [decode, *steps, normalize, Layout()], notes


def _square(size: tuple[int, int], where: Path) -> list[Transform]:
    """Classifiers see the middle of a picture."""
    if size[0] != size[1]:
        raise BundleFormatError(
            f"{where} is a classifier of {size[0]}x{size[1]} pictures", expected="a square"
        )
    return [Resize(size[0], interpolation="pil.bilinear"), CenterCrop(size[0])]


def _boxed(
    metadata: Metadata, size: tuple[int, int], fixed: tuple[int, int] | None
) -> list[Transform]:
    """Others see all of it; where the size is free, only the last stride is filled up."""
    divisor = metadata.stride if fixed is None and metadata.free else None
    return [Letterbox(size, fill=GREY, divisor=divisor)]


def task_of(metadata: Metadata, signature: Signature, where: Path) -> Found:
    """Our task with its parameters.

    Raises:
        BundleFormatError: where there is none for theirs, or the outputs are not those of the task.
    """
    if metadata.task not in TASKS:
        raise BundleFormatError(
            f"{where}: the task {metadata.task!r} has no counterpart in modelport",
            expected=f"one of {', '.join(name for name in TASKS if name)}",
            hint="Make a bundle of the file with modelport deploy; with --task tensors it gives its "
            "outputs as they are",
        )
    return TASKS[metadata.task](metadata, signature, where)


def _demand(signature: Signature, where: Path, place: int, channels: int, axis: int) -> None:
    """Raises BundleFormatError where an output has not so many channels; free sizes pass."""
    spec = signature.outputs[place] if place < len(signature.outputs) else None
    fits = spec is not None and (not spec.shape or len(spec.shape) == 3)
    if fits and spec is not None and spec.shape:
        size = spec.shape[axis]
        fits = not isinstance(size, int) or size == channels
    if not fits:
        given = ", ".join(map(str, signature.outputs))
        raise BundleFormatError(
            f"{where} gives {given}",
            expected=f"output {place} of three dimensions with {channels} channels on axis {axis}, for "
            "that is what its metadata says",
        )


def _classify(metadata: Metadata, signature: Signature, where: Path) -> Found:
    return Found("classification", {"scores": "probabilities", "top": 5})


def _detect(metadata: Metadata, signature: Signature, where: Path) -> Found:
    if metadata.final:
        _demand(signature, where, 0, CORNERS + SCORE + CLASS, axis=2)
        return Found("detection", {"preset": "end_to_end"})
    _demand(signature, where, 0, CORNERS + len(metadata.names), axis=1)
    return Found("detection", {"preset": "yolov8"})


def _yolov5(metadata: Metadata, signature: Signature, where: Path) -> Found:
    """Files of YOLOv5 do not say their task: rows of box, objectness and classes are a detector's."""
    _demand(signature, where, 0, CORNERS + 1 + len(metadata.names), axis=2)
    return Found("detection", {"preset": "yolov5"})


def _segment(metadata: Metadata, signature: Signature, where: Path) -> Found:
    """Boxes with coefficients, and the prototypes that these mix into masks."""
    count = _prototypes(signature, where)
    classes = len(metadata.names)
    if not metadata.final:
        _demand(signature, where, 0, CORNERS + classes + count, axis=1)
        return Found("instance_segmentation", {"preset": "yolov8_seg", "classes": classes})
    _demand(signature, where, 0, CORNERS + SCORE + CLASS + count, axis=2)
    masks = {
        "output": 1,
        "kind": "prototypes",
        "coefficients": {"output": 0, "first": CORNERS + SCORE + CLASS},
        "threshold": 0.0,
    }
    return Found("instance_segmentation", {"preset": "end_to_end", "masks": masks})


def _prototypes(signature: Signature, where: Path) -> int:
    """How many there are: the channels of the second output."""
    shape = signature.outputs[1].shape if len(signature.outputs) > 1 else ()
    count = shape[1] if len(shape) == 4 else None
    if not isinstance(count, int):
        raise BundleFormatError(
            f"{where} gives {', '.join(map(str, signature.outputs))}",
            expected="a second output of prototypes: 1 x channels x height x width",
        )
    return count


def _pose(metadata: Metadata, signature: Signature, where: Path) -> Found:
    """Boxes with keypoints, each of x, y and in most models a score."""
    if metadata.keypoints is None:
        raise BundleFormatError(
            f"{where}: the metadata has no kpt_shape", expected="how many keypoints there are"
        )
    count, numbers = metadata.keypoints
    classes = len(metadata.names)
    common = {
        "form": "rows",
        "skeleton": skeleton_of(count),
        "keypoint_scores": numbers == 3,
        "score_threshold": 0.25,
    }
    if metadata.final:
        _demand(signature, where, 0, CORNERS + SCORE + CLASS + count * numbers, axis=2)
        rows = {"parts": ("box", "score", "class", "points"), "box": "corners", "rows_last": False}
        return Found("pose", {**common, **rows, "iou": None})
    _demand(signature, where, 0, CORNERS + classes + count * numbers, axis=1)
    return Found("pose", {**common, "classes": classes, "rows_last": True, "iou": 0.7})


def _obb(metadata: Metadata, signature: Signature, where: Path) -> Found:
    """Boxes with an angle, which is the last channel."""
    if metadata.final:
        raise BundleFormatError(
            f"{where} gives final turned boxes, which modelport does not read",
            expected="the boxes before the NMS",
            hint="Export the model again without nms",
        )
    classes = len(metadata.names)
    _demand(signature, where, 0, CORNERS + classes + 1, axis=1)
    return Found("rotated_detection", {"preset": "yolov8_obb", "classes": classes})


TASKS: dict[str, Callable[[Metadata, Signature, Path], Found]] = {
    "": _yolov5,
    "classify": _classify,
    "detect": _detect,
    "segment": _segment,
    "pose": _pose,
    "obb": _obb,
}
