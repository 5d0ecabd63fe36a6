"""Presets of the task `rotated_detection`."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.runtime.decoding.dense_presets import Sides, Values


def yolov8_obb(classes: int = 15, output: int | str = 0) -> Values:
    """YOLOv8 and 11 with turned boxes as exported: 1 x (4 + classes + 1) x places, decoded."""
    return {
        "arrangement": "columns",
        "boxes": {"output": output, "count": 4},
        "scores": {"output": output, "first": 4, "count": classes},
        "angle": {"part": {"output": output, "first": 4 + classes, "count": 1}},
        "code": "cxcywh",
        "nms": {"iou": 0.7},
        "threshold": 0.25,
        "most": 300,
    }


def rtmdet_rotated(
    scores: Sequence[int | str] = (0, 1, 2),
    boxes: Sequence[int | str] = (3, 4, 5),
    angles: Sequence[int | str] = (6, 7, 8),
    strides: Sides = (8, 16, 32),
) -> Values:
    """RTMDet-R's head: maps of classes, of distances in pixels along turned axes, and of angles."""
    return {
        "arrangement": "maps",
        "boxes": {"output": tuple(boxes), "count": 4},
        "scores": {"output": tuple(scores)},
        "angle": {"part": {"output": tuple(angles), "count": 1}},
        "code": "ltrb",
        "unit": "pixels",
        "priors": {"strides": tuple(strides), "offset": 0.0},
        "activation": "sigmoid",
        "multi_label": True,
        "candidates": 2000,
        "candidates_of": "level",
        "nms": {"iou": 0.1},
        "threshold": 0.05,
        "most": 2000,
    }
