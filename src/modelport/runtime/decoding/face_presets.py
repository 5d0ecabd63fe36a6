"""Presets of the task `face_detection`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from modelport.runtime.decoding.dense_presets import Sides, Values

Names = Sequence[int | str]

SIX = ("left_eye", "right_eye", "nose", "mouth", "left_ear", "right_ear")
"""BlazeFace's, left and right as the picture shows them; its authors speak of the face's own right first."""


def blazeface(
    size: int = 128,
    strides: Sequence[int] = (8, 16, 16, 16),
    anchors: int = 2,
    boxes: int | str = 0,
    scores: int | str = 1,
    names: Sequence[str] = SIX,
) -> Values:
    """BlazeFace of MediaPipe, short range: shifts, sides and landmarks in pixels of the input.

    Full range has `size=192, strides=(4,), anchors=1`. Layers of one stride share their cells. MediaPipe
    cuts logits off at 100, where a sigmoid is 1 in 32 bits anyway; and it takes the mean of boxes that
    overlap, weighted by score, where the best one stays here.

    Args:
        size: of the square input.
        strides: of the layers.
        anchors: in each cell of a layer.
        names: of the landmarks.
    """
    layers = [(stride, len(list(same))) for stride, same in groupby(strides)]
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "count": 1},
        "activation": "sigmoid",
        "code": "linear",
        "variances": (1 / size,) * 4,
        "priors": {
            "strides": tuple(stride for stride, _ in layers),
            "anchors": tuple(((1.0, 1.0),) * (anchors * count) for _, count in layers),
            "shares": True,
        },
        "nms": {"iou": 0.3},
        "threshold": 0.5,
        "landmarks": {
            "part": {"output": boxes, "first": 4, "count": 2 * len(names)},
            "code": "deltas",
            "variance": 1 / size,
            "names": tuple(names),
        },
    }


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


def mtcnn_windows(
    boxes: int | str = 0, scores: int | str = 1, window: int = 12, stride: int = 2
) -> Values:
    """P-Net, the first network of MTCNN: maps over windows of a scaled picture; softmax applied.

    Windows overlap by what they are, not by the boxes found in them. Their first and last pixels are
    counted from 1, as MTCNN was trained, so a window of 12 pixels is a prior with sides of 11 from 1 on.
    """
    middle, side = (window + 1) / 2, window - 1
    return {
        "arrangement": "maps",
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "first": 1, "count": 1},
        "code": "edges",
        "priors": {
            "strides": (stride,),
            "offset": middle / stride,
            "anchors": (((side, side),),),
        },
        "nms": {"iou": 0.5, "by": "priors"},
        "counting": "pixels",
        "threshold": 0.6,
        "most": 5000,
        "beyond": True,
        "with_priors": True,
    }


def mtcnn_refined(boxes: int | str = 0, scores: int | str = 1) -> Values:
    """R-Net, the second network of MTCNN: the one prior is the whole crop that it is shown."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "first": 1, "count": 1},
        "code": "edges",
        "priors": {"grids": ((1, 1),)},
        "threshold": 0.7,
        "beyond": True,
        "with_priors": True,
    }


def mtcnn_faces(boxes: int | str = 0, landmarks: int | str = 1, scores: int | str = 2) -> Values:
    """O-Net, the third network of MTCNN: as R-Net, with landmarks, all x before all y."""
    return {
        **mtcnn_refined(boxes, scores),
        "landmarks": {"part": {"output": landmarks}, "code": "shares", "apart": True},
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
