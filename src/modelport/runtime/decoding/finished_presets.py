"""Presets of models whose outputs are objects already: queries, or an NMS in the graph."""

from __future__ import annotations

from modelport.runtime.decoding.dense_presets import Values


def end_to_end(output: int | str = 0) -> Values:
    """YOLOv10, YOLO26 and others that need no NMS: 1 x N x (corners, score, class)."""
    return {
        "boxes": {"output": output, "count": 4},
        "scores": {"output": output, "first": 4, "count": 1},
        "labels": {"output": output, "first": 5, "count": 1},
        "most": 300,
    }


def detr(scores: int | str = "logits", boxes: int | str = "pred_boxes") -> Values:
    """DETR, YOLOS, Conditional DETR of softmaxes: the last class is no object."""
    return {
        **_queries(scores, boxes),
        "activation": "softmax",
        "background": "last",
        "threshold": 0.5,
    }


def deformable_detr(scores: int | str = "logits", boxes: int | str = "pred_boxes") -> Values:
    """Deformable DETR, DINO, RT-DETR and D-FINE: sigmoids, the best pairs of query and class."""
    return {
        **_queries(scores, boxes),
        "activation": "sigmoid",
        "multi_label": True,
        "threshold": 0.5,
    }


def _queries(scores: int | str, boxes: int | str) -> Values:
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores},
        "code": "cxcywh",
        "normalised": True,
    }


def torchvision(
    boxes: int | str = "boxes", labels: int | str = "labels", scores: int | str = "scores"
) -> Values:
    """torchvision's whole detectors, with the NMS in the graph."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "arrangement": "values"},
        "labels": {"output": labels, "arrangement": "values"},
        "threshold": 0.05,
        "most": 300,
    }


def mmdeploy(dets: int | str = "dets", labels: int | str = "labels") -> Values:
    """What MMDeploy exports: 1 x N x (corners, score), and 1 x N labels."""
    return {
        "boxes": {"output": dets, "count": 4},
        "scores": {"output": dets, "first": 4, "count": 1},
        "labels": {"output": labels, "arrangement": "values"},
        "threshold": 0.05,
    }


def tensorflow(
    boxes: int | str = "detection_boxes",
    labels: int | str = "detection_classes",
    scores: int | str = "detection_scores",
    count: int | str = "num_detections",
) -> Values:
    """TensorFlow's Object Detection API and TFLite's post-processing: shares, y before x."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "arrangement": "values"},
        "labels": {"output": labels, "arrangement": "values"},
        "counts": {"output": count},
        "vertical_first": True,
        "normalised": True,
    }


def tensorrt_nms(
    count: int | str = 0, boxes: int | str = 1, scores: int | str = 2, labels: int | str = 3
) -> Values:
    """Outputs of TensorRT's EfficientNMS."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "arrangement": "values"},
        "labels": {"output": labels, "arrangement": "values"},
        "counts": {"output": count},
    }


def onnx_nms(
    boxes: int | str = 0, scores: int | str = 1, selected: int | str = 2, code: str = "xyxy"
) -> Values:
    """Boxes 1 x N x 4, scores 1 x classes x N, and what ONNX's NonMaxSuppression selected of them."""
    return {
        "boxes": {"output": boxes, "count": 4},
        "scores": {"output": scores, "arrangement": "columns"},
        "selected": {"output": selected, "count": 3},
        "code": code,
    }


def paddle(output: int | str = 0) -> Values:
    """PaddleDetection with its NMS: N x (class, score, corners)."""
    return {
        "boxes": {"output": output, "first": 2, "count": 4},
        "scores": {"output": output, "first": 1, "count": 1},
        "labels": {"output": output, "count": 1},
    }
