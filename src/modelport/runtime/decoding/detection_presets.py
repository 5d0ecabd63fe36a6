"""Usual heads by name: functions that return parameters of the tasks that find boxes.

    Source(..., task="detection", parameters=presets.yolox() | {"threshold": 0.4})

Each describes the outputs as the model's own export script leaves them. Where yours differ, change
the parameters that differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from modelport.runtime.decoding.dense_presets import (
    COCO_ANCHORS,
    RCNN_LIMIT,
    Values,
    centernet,
    fcos,
    nanodet,
    retinanet,
    rtmdet,
    ssd,
    yolov3,
    yolov5,
    yolov5_raw,
    yolov8,
    yolov8_raw,
    yolox,
)
from modelport.runtime.decoding.face_presets import (
    blazeface,
    centerface,
    mtcnn_faces,
    mtcnn_refined,
    mtcnn_windows,
    retinaface,
    scrfd,
    yunet,
)
from modelport.runtime.decoding.finished_presets import (
    deformable_detr,
    detr,
    end_to_end,
    mmdeploy,
    onnx_nms,
    paddle,
    tensorflow,
    tensorrt_nms,
    torchvision,
)
from modelport.runtime.decoding.mask_presets import (
    mmdeploy_masks,
    torchvision_masks,
    yolov5_seg,
    yolov8_seg,
)
from modelport.runtime.decoding.rotated_presets import rtmdet_rotated, yolov8_obb
from modelport.runtime.tasks.base import Parameters

_FUNCTIONS: tuple[Callable[..., Values], ...] = (
    yolox, yolov5, yolov5_raw, yolov3, yolov8, yolov8_raw, rtmdet, nanodet, fcos, retinanet, ssd,
    centernet, detr, deformable_detr, end_to_end, torchvision, mmdeploy, tensorflow, tensorrt_nms,
    onnx_nms, paddle, yolov8_seg, yolov5_seg, torchvision_masks, mmdeploy_masks,
    blazeface, centerface, mtcnn_windows, mtcnn_refined, mtcnn_faces, retinaface, scrfd, yunet, yolov8_obb,
    rtmdet_rotated,
)  # fmt: skip
PRESETS: dict[str, Callable[..., Values]] = {each.__name__: each for each in _FUNCTIONS}

__all__ = ["COCO_ANCHORS", "PRESETS", "RCNN_LIMIT", "expanded", *PRESETS]


def expanded(given: Mapping[str, Any]) -> Values:
    """Parameters in place of the key `preset`; those of its function go to it, others replace.

    Raises:
        ValueError: where there is no such preset, or it lacks an argument.
    """
    rest = dict(given)
    name = rest.pop("preset")
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}, only {', '.join(sorted(PRESETS))}")
    known = inspect.signature(PRESETS[name]).parameters
    # A word of both, `boxes` say, is an argument where it names an output, and a parameter as a part.
    own = [key for key in rest if key in known and not _is_part(rest[key])]
    arguments = {key: rest.pop(key) for key in own}
    missing = [key for key, each in known.items() if each.default is each.empty and key not in own]
    if missing:
        raise ValueError(f"the preset {name} wants {', '.join(missing)}")
    return {**PRESETS[name](**arguments), **rest}


def _is_part(value: Any) -> bool:
    first = value[0] if isinstance(value, (list, tuple)) and value else value
    return isinstance(first, (Mapping, Parameters))
