"""Presets of heads that answer at every place of a grid, and leave decoding and NMS to the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelport.runtime.decoding.anchors import anchors_of

Values = dict[str, Any]
Sides = Sequence[float]

COCO_ANCHORS = {
    "yolov3": (
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    ),
    "yolov5": (
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    ),
}
"""Widths and heights that the papers found on COCO, for strides 8, 16 and 32."""

RCNN_LIMIT = 4.135166556742356
"""log(1000 / 16), the largest exponent of a side in R-CNN and its kin."""


def yolox(strides: Sides = (8, 16, 32), output: int | str = 0) -> Values:
    """YOLOX without `--decode_in_inference`: 1 x places x (4 + 1 + classes), sigmoids applied."""
    return {
        "boxes": {"output": output, "count": 4},
        "objectness": {"output": output, "first": 4, "count": 1},
        "scores": {"output": output, "first": 5},
        "code": "deltas",
        "priors": {"strides": tuple(strides), "offset": 0.0},
        "nms": {"iou": 0.45},
        "threshold": 0.3,
    }


def yolov5(output: int | str = 0) -> Values:
    """YOLOv5, v6 and v7 as exported: 1 x places x (4 + 1 + classes), boxes decoded in the model."""
    return {
        "boxes": {"output": output, "count": 4},
        "objectness": {"output": output, "first": 4, "count": 1},
        "scores": {"output": output, "first": 5},
        "code": "cxcywh",
        "nms": {"iou": 0.45},
        "threshold": 0.25,
    }


def yolov5_raw(
    strides: Sides = (8, 16, 32),
    anchors: Sequence[Sequence[Sides]] = COCO_ANCHORS["yolov5"],
    outputs: Sequence[int | str] = (0, 1, 2),
) -> Values:
    """YOLOv5 without its last layer: 1 x anchors x height x width x (5 + classes) a level."""
    return {**_anchored(strides, anchors, outputs, "anchors_first"), "code": "yolov5"}


def yolov3(
    strides: Sides = (8, 16, 32),
    anchors: Sequence[Sequence[Sides]] = COCO_ANCHORS["yolov3"],
    outputs: Sequence[int | str] = (0, 1, 2),
) -> Values:
    """YOLOv3 and v4: 1 x (anchors * (5 + classes)) x height x width a level, nothing applied."""
    return {**_anchored(strides, anchors, outputs, "maps"), "code": "yolov3"}


def _anchored(
    strides: Sides,
    anchors: Sequence[Sequence[Sides]],
    outputs: Sequence[int | str],
    arrangement: str,
) -> Values:
    levels = tuple(outputs)
    return {
        "arrangement": arrangement,
        "boxes": {"output": levels, "count": 4},
        "objectness": {"output": levels, "first": 4, "count": 1},
        "scores": {"output": levels, "first": 5},
        "priors": {
            "strides": tuple(strides),
            "offset": 0.0,
            "anchors": tuple(tuple(tuple(sides) for sides in level) for level in anchors),
        },
        "activation": "sigmoid",
        "objectness_activation": "sigmoid",
        "nms": {"iou": 0.45},
        "threshold": 0.25,
    }


def yolov8(output: int | str = 0) -> Values:
    """YOLOv8, v9, 11 and 12 as exported: 1 x (4 + classes) x places, boxes decoded in the model."""
    return {
        "arrangement": "columns",
        "boxes": {"output": output, "count": 4},
        "scores": {"output": output, "first": 4},
        "code": "cxcywh",
        "nms": {"iou": 0.7},
        "threshold": 0.25,
        "most": 300,
    }


def yolov8_raw(
    strides: Sides = (8, 16, 32), outputs: Sequence[int | str] = (0, 1, 2), bins: int = 16
) -> Values:
    """YOLOv8's head without its decoding: 1 x (4 * bins + classes) x height x width a level."""
    levels = tuple(outputs)
    return {
        **yolov8(),
        "arrangement": "maps",
        "boxes": {"output": levels, "count": 4 * bins},
        "scores": {"output": levels, "first": 4 * bins},
        "bins": bins,
        "code": "ltrb",
        "priors": {"strides": tuple(strides), "offset": 0.5},
        "activation": "sigmoid",
    }


def rtmdet(
    scores: Sequence[int | str] = (0, 1, 2),
    boxes: Sequence[int | str] = (3, 4, 5),
    strides: Sides = (8, 16, 32),
) -> Values:
    """RTMDet's head: class maps, then maps of distances in pixels; points in the cells' corners."""
    return {
        "arrangement": "maps",
        "boxes": {"output": tuple(boxes), "count": 4},
        "scores": {"output": tuple(scores)},
        "code": "ltrb",
        "unit": "pixels",
        "priors": {"strides": tuple(strides), "offset": 0.0},
        "activation": "sigmoid",
        "multi_label": True,
        "nms": {"iou": 0.65},
        "threshold": 0.3,
    }


def nanodet(
    strides: Sides = (8, 16, 32, 64), classes: int = 80, bins: int = 8, output: int | str = 0
) -> Values:
    """NanoDet-Plus: 1 x places x (classes + 4 * bins), class sigmoids applied."""
    return {
        "boxes": {"output": output, "first": classes, "count": 4 * bins},
        "scores": {"output": output, "count": classes},
        "bins": bins,
        "code": "ltrb",
        "priors": {"strides": tuple(strides), "offset": 0.0},
        "multi_label": True,
        "nms": {"iou": 0.6},
        "threshold": 0.3,
    }


def fcos(
    strides: Sides = (8, 16, 32, 64, 128),
    boxes: int | str = "bbox_regression",
    scores: int | str = "cls_logits",
    centerness: int | str = "bbox_ctrness",
) -> Values:
    """torchvision's FCOS head: places of all levels in a row, distances in strides."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores},
        "objectness": {"output": centerness, "count": 1},
        "code": "ltrb",
        "priors": {"strides": tuple(strides), "offset": 0.0},
        "activation": "sigmoid",
        "objectness_activation": "sigmoid",
        "joining": "root",
        "multi_label": True,
        "clip": True,
        "candidates": 1000,
        "candidates_of": "level",
        "nms": {"iou": 0.6},
        "threshold": 0.2,
    }


def retinanet(
    strides: Sides = (8, 16, 32, 64, 128),
    sizes: Sides = (32, 64, 128, 256, 512),
    boxes: int | str = "bbox_regression",
    scores: int | str = "cls_logits",
) -> Values:
    """torchvision's RetinaNet head: 9 anchors a place, plain deltas."""
    ratios = (0.5, 1.0, 2.0)
    octaves = [tuple(int(size * 2 ** (part / 3)) for part in range(3)) for size in sizes]
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores},
        "code": "deltas",
        "limit": RCNN_LIMIT,
        "priors": {
            "strides": tuple(strides),
            "offset": 0.0,
            "anchors": tuple(anchors_of(scales, ratios, rounded=True) for scales in octaves),
        },
        "activation": "sigmoid",
        "multi_label": True,
        "clip": True,
        "candidates": 1000,
        "candidates_of": "level",
        "nms": {"iou": 0.5},
        "threshold": 0.05,
        "most": 300,
    }


def ssd(
    anchors: Sequence[Sequence[Sides]],
    strides: Sides = (),
    grids: Sequence[Sequence[int]] = (),
    boxes: int | str = "bbox_regression",
    scores: int | str = "cls_logits",
) -> Values:
    """SSD: places of all levels in a row, deltas of variances 0.1 and 0.2, background first.

    Args:
        anchors: for each level, widths and heights as shares of the input's sides.
        strides, grids: of the levels; see `PriorGrid`.
    """
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores},
        "code": "deltas",
        "limit": RCNN_LIMIT,
        "variances": (0.1, 0.1, 0.2, 0.2),
        "priors": {
            "strides": tuple(strides),
            "grids": tuple(tuple(grid) for grid in grids),
            "anchors": tuple(tuple(tuple(sides) for sides in level) for level in anchors),
            "shares": True,
        },
        "activation": "softmax",
        "background": "first",
        "label_shift": 1,
        "multi_label": True,
        "clip": True,
        "candidates": 400,
        "candidates_of": "class",
        "nms": {"iou": 0.45},
        "threshold": 0.01,
        "most": 200,
    }


def centernet(
    heat: int | str = 0, size: int | str = 1, offset: int | str = 2, stride: float = 4
) -> Values:
    """CenterNet: maps of class scores, of sides and of offsets, both in cells."""
    return {
        "arrangement": "maps",
        "boxes": ({"output": offset, "count": 2}, {"output": size, "count": 2}),
        "scores": {"output": heat},
        "code": "centre_size",
        "priors": {"strides": (stride,), "offset": 0.0},
        "activation": "sigmoid",
        "multi_label": True,
        "peaks": 3,
        "threshold": 0.3,
    }
