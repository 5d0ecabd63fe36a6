"""Presets of the task `face_detection`."""

from __future__ import annotations

from collections.abc import Sequence

from modelport.runtime.tasks.dense_presets import Sides, Values

Names = Sequence[int | str]


def centerface(
    heat: int | str = 0, scale: int | str = 1, offset: int | str = 2, landmarks: int | str = 3
) -> Values:
    """CenterFace: maps at stride 4, y before x, sides as logarithms of cells."""
    return {
        "arrangement": "maps",
        "boxes": ({"output": offset, "count": 2}, {"output": scale, "count": 2}),
        "scores": {"output": heat, "count": 1},
        "code": "deltas",
        "vertical_first": True,
        "priors": {"strides": (4,), "offset": 0.5},
        "nms": {"iou": 0.3},
        "threshold": 0.5,
        "landmarks": {"part": {"output": landmarks}, "code": "box", "vertical_first": True},
    }


def retinaface(
    strides: Sides = (8, 16, 32),
    anchors: Sequence[Sides] = ((16, 32), (64, 128), (256, 512)),
    boxes: int | str = 0,
    scores: int | str = 1,
    landmarks: int | str = 2,
) -> Values:
    """RetinaFace: squares of two sizes at each place, softmaxes applied, face second."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "first": 1, "count": 1},
        "code": "deltas",
        "variances": (0.1, 0.1, 0.2, 0.2),
        "priors": {
            "strides": tuple(strides),
            "anchors": tuple(tuple((side, side) for side in level) for level in anchors),
        },
        "nms": {"iou": 0.4},
        "threshold": 0.5,
        "landmarks": {"part": {"output": landmarks}, "code": "deltas", "variance": 0.1},
    }


def scrfd(
    strides: Sides = (8, 16, 32),
    anchors: int = 2,
    scores: Names = (0, 1, 2),
    boxes: Names = (3, 4, 5),
    landmarks: Names = (6, 7, 8),
) -> Values:
    """SCRFD of InsightFace: for each level scores, distances and landmarks, all in strides."""
    return {
        "boxes": {"output": tuple(boxes), "count": 4},
        "scores": {"output": tuple(scores), "count": 1},
        "code": "ltrb",
        "priors": {
            "strides": tuple(strides),
            "offset": 0.0,
            "anchors": tuple(((stride, stride),) * anchors for stride in strides),
        },
        "nms": {"iou": 0.4},
        "threshold": 0.5,
        "landmarks": {"part": {"output": tuple(landmarks)}, "code": "strides"},
    }


def yunet(
    strides: Sides = (8, 16, 32),
    scores: Names = ("cls_8", "cls_16", "cls_32"),
    objectness: Names = ("obj_8", "obj_16", "obj_32"),
    boxes: Names = ("bbox_8", "bbox_16", "bbox_32"),
    landmarks: Names = ("kps_8", "kps_16", "kps_32"),
) -> Values:
    """YuNet of OpenCV's zoo: the root of two scores; boxes as YOLOX's."""
    return {
        "boxes": {"output": tuple(boxes), "count": 4},
        "scores": {"output": tuple(scores), "count": 1},
        "objectness": {"output": tuple(objectness), "count": 1},
        "joining": "root",
        "code": "deltas",
        "priors": {"strides": tuple(strides), "offset": 0.0},
        "nms": {"iou": 0.3},
        "threshold": 0.6,
        "landmarks": {"part": {"output": tuple(landmarks)}, "code": "strides"},
    }
