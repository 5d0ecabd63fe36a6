"""The postprocessing of `pipeline.json` as tasks of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Folder
from modelport.runtime.foreign.mmdeploy.asking import Asked, Component, Found
from modelport.runtime.foreign.mmdeploy.keypoints import (
    HEATMAPS,
    from_heatmaps,
    from_numbers,
    from_simcc,
)
from modelport.runtime.foreign.mmdeploy.lines import attention, ctc, db_head
from modelport.types import Signature

MOST = 300
"""Objects in a result, where the parameters do not say: MMDeploy gives every row of the network."""


def meaning_of(component: Component, signature: Signature, folder: Folder, colour: str) -> Found:
    """Our task for a component.

    Raises:
        BundleFormatError: naming a component that has no counterpart, or a parameter of it.
    """
    if component.name not in COMPONENTS:
        raise BundleFormatError(
            f"{folder.path}: the component {component.name or '?'} of {component.module} has no "
            "counterpart in modelport",
            expected=f"one of {', '.join(COMPONENTS)}",
            hint="Make a bundle of the network with modelport deploy; with --task tensors it gives "
            "its outputs as they are",
        )
    return COMPONENTS[component.name](Asked(component, signature, folder, colour))


# --- one function for each of theirs ----------------------------------------------------------------


def _linear_head(asked: Asked) -> Found:
    """`LinearClsHead`: MMDeploy exports the softmax with the network unless it says otherwise."""
    asked.first("output")
    softmax = asked.fields.flag("softmax", False)
    return Found(
        "classification",
        {
            "scores": "logits" if softmax else "probabilities",
            "top": asked.fields.whole("topk", 1),
        },
    )


def _multi_label_head(asked: Asked) -> Found:
    """`MultiLabelLinearClsHead` gives every class; ours says which apply, as MMPretrain does."""
    asked.first("output")
    threshold = asked.fields.number("thr", 0.5) if "thr" in asked.fields else 0.5
    classes = asked.fields.whole("num_classes", 5)
    return Found(
        "classification",
        {
            "scores": "probabilities",
            "multi_label": True,
            "threshold": threshold,
            "top": classes,
        },
    )


def _boxes(asked: Asked) -> dict[str, Any]:
    """What `ResizeBBox` and its kin share."""
    asked.output("dets")
    asked.output("labels")
    fields = asked.fields
    least = fields.number("min_bbox_size", 0.0)
    if least > 0:
        raise asked.no_counterpart("min_bbox_size", "0")
    key = "conf_thr" if "conf_thr" in fields else "score_thr"
    return {
        "preset": "mmdeploy",
        "threshold": fields.number(key, 0.0),
        "most": max(1, fields.whole("max_per_img", MOST)),
    }


def _resize_bbox(asked: Asked) -> Found:
    return Found("detection", _boxes(asked))


def _resize_rbbox(asked: Asked) -> Found:
    """`ResizeRBBox`: middle, sides, angle in radians and score."""
    dets, labels = asked.output("dets"), asked.output("labels")
    parameters = {
        "boxes": {"output": dets, "count": 4},
        "code": "cxcywh",
        "angle": {"part": {"output": dets, "first": 4, "count": 1}},
        "scores": {"output": dets, "first": 5, "count": 1},
        "labels": {"output": labels, "arrangement": "values"},
        "threshold": asked.fields.number("score_thr", 0.05),
        "most": max(1, asked.fields.whole("max_per_img", MOST)),
    }
    return Found("rotated_detection", parameters)


def _resize_instance_mask(asked: Asked) -> Found:
    """`ResizeInstanceMask`: of Mask R-CNN's kin, masks that fill their boxes."""
    fields = asked.fields
    if "rcnn" not in fields:
        raise asked.no_counterpart(
            "rcnn", "parameters of a two-stage detector, whose masks fill boxes"
        )
    if not fields.flag("is_resize_mask", True):
        raise asked.no_counterpart("is_resize_mask", "true")
    masks = {
        "output": asked.output("masks"),
        "kind": "box",
        "threshold": fields.number("mask_thr_binary", 0.5),
    }
    return Found("instance_segmentation", {**_boxes(asked), "masks": masks})


def _resize_mask(asked: Asked) -> Found:
    """`ResizeMask`: a map of classes, or of scores to be chosen from."""
    asked.output("output")
    best = asked.fields.flag("with_argmax", True)
    return Found(
        "semantic_segmentation", {"output": "output", "gives": "labels" if best else "scores"}
    )


def _tensor_to_img(asked: Asked) -> Found:
    """`TensorToImg`: a picture of numbers from 0 to 1, its colours in the order of the input."""
    scale = _scale(asked)
    colour = "bgr" if asked.colour == "bgr" else "rgb"
    parameters = {"output": asked.output("output"), "colour": colour, "scale": scale}
    return Found("restoration", parameters, has_labels=False)


def _scale(asked: Asked) -> int:
    """How much larger the output is, where the network's sizes say it."""
    taken = asked.signature.inputs[0].shape
    given = next(spec.shape for spec in asked.signature.outputs if spec.name == "output")
    sizes = [shape[-1] for shape in (given, taken) if len(shape) == 4]
    if len(sizes) == 2 and all(isinstance(size, int) for size in sizes):
        large, small = int(str(sizes[0])), int(str(sizes[1]))
        if large % small == 0:
            return large // small
    raise BundleFormatError(
        f"{asked.folder.path}: nothing says how much larger the network makes a picture",
        expected="a network of fixed sizes, whose output is a multiple of its input",
        hint="Export it with a static configuration of MMDeploy, or make a bundle with the parameter "
        "scale",
    )


COMPONENTS: dict[str, Callable[[Asked], Found]] = {
    "LinearClsHead": _linear_head,
    "ConformerHead": _linear_head,
    "VisionTransformerClsHead": _linear_head,
    "MultiLabelLinearClsHead": _multi_label_head,
    "ResizeBBox": _resize_bbox,
    "ResizeInstanceMask": _resize_instance_mask,
    "ResizeMask": _resize_mask,
    "ResizeRBBox": _resize_rbbox,
    "TensorToImg": _tensor_to_img,
    "CTCConvertor": ctc,
    "AttnConvertor": attention,
    "DBHead": db_head,
    **dict.fromkeys(HEATMAPS, from_heatmaps),
    "SimCCLabelDecode": from_simcc,
    "DeepposeRegressionHeadDecode": from_numbers,
}
