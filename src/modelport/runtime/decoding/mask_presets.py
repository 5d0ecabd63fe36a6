"""Presets of the task `instance_segmentation`."""

from __future__ import annotations

from modelport.runtime.decoding.dense_presets import Values, yolov5, yolov8
from modelport.runtime.decoding.finished_presets import mmdeploy, torchvision


def yolov8_seg(classes: int = 80, output: int | str = 0, prototypes: int | str = 1) -> Values:
    """YOLOv8 and 11 with masks as exported: 1 x (4 + classes + 32) x places, and 1 x 32 x h x w.

    Values are resized before they are compared with zero, the sigmoid of which is one half.
    """
    return {
        **yolov8(output),
        "scores": {"output": output, "first": 4, "count": classes},
        "masks": {
            "output": prototypes,
            "kind": "prototypes",
            "coefficients": {"output": output, "first": 4 + classes},
            "threshold": 0.0,
        },
    }


def yolov5_seg(classes: int = 80, output: int | str = 0, prototypes: int | str = 1) -> Values:
    """YOLOv5 and v7 with masks as exported: 1 x places x (5 + classes + 32), and 1 x 32 x h x w."""
    return {
        **yolov5(output),
        "scores": {"output": output, "first": 5, "count": classes},
        "masks": {
            "output": prototypes,
            "kind": "prototypes",
            "coefficients": {"output": output, "first": 5 + classes},
            "threshold": 0.0,
        },
    }


def torchvision_masks(masks: int | str = "masks") -> Values:
    """torchvision's Mask R-CNN, which puts its masks into the tensor."""
    return {**torchvision(), "masks": {"output": masks, "kind": "full"}}


def mmdeploy_masks(masks: int | str = "masks") -> Values:
    """What MMDeploy exports of Mask R-CNN: probabilities that fill the boxes."""
    return {**mmdeploy(), "masks": {"output": masks, "kind": "box"}}
