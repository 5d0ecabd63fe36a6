"""torchvision's models for detection, segmentation, classification, flow and video, untrained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import nn

from zoo_models.case import Case, Inputs, pictures
from zoo_models.liven import liven
from zoo_models.torchvision_shim import prepare

FEW_REGIONS = {
    "rpn_pre_nms_top_n_test": 60,
    "rpn_post_nms_top_n_test": 40,
    "box_detections_per_img": 20,
}
"""Of a thousand proposals of an untrained network many score alike to the last bit, and which of them
survive is chance even from one run of the eager module to the next."""

FEW_BOXES = {"topk_candidates": 40, "detections_per_img": 30}

DETECTORS: dict[str, dict[str, float]] = {
    "fasterrcnn_resnet50_fpn": {**FEW_REGIONS, "box_score_thresh": 0.02},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {**FEW_REGIONS, "box_score_thresh": 0.02},
    "maskrcnn_resnet50_fpn": {**FEW_REGIONS, "box_score_thresh": 0.02},
    "keypointrcnn_resnet50_fpn": {**FEW_REGIONS, "box_score_thresh": 0.001},
    "retinanet_resnet50_fpn": {"score_thresh": 0.005, "detections_per_img": 50},
    "fcos_resnet50_fpn": {"score_thresh": 0.001},
    "ssd300_vgg16": FEW_BOXES,
    "ssdlite320_mobilenet_v3_large": FEW_BOXES,
}
"""Detectors, with thresholds at which untrained ones find something."""

FIXED_SIZES = ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large")
"""These resize to a size of their own."""

SEGMENTERS = {
    "deeplabv3_mobilenet_v3_large": "x",
    "deeplabv3_resnet50": "x",
    "fcn_resnet50": "x",
    "lraspp_mobilenet_v3_large": "input",
}
"""Segmenters with the name of their argument."""

CLASSIFIERS = {
    "alexnet": 96,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 128,
    "efficientnet_v2_s": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11_bn": 64,
    "vit_b_32": 224,
}
"""Classifiers with the side of their pictures."""

VIDEO = {
    "mc3_18": (8, 32),
    "mvit_v2_s": (16, 64),
    "r2plus1d_18": (8, 32),
    "r3d_18": (8, 32),
    "s3d": (16, 224),
    "swin3d_t": (8, 64),
}
"""Video networks with the number of frames and their side."""


def cases() -> list[Case]:
    return [*_detectors(), *_segmenters(), *_classifiers(), *_video(), *_flow()]


def _detectors() -> list[Case]:
    """One picture of a fixed size: what comes out is a list of boxes for each picture."""
    inputs = {"images": [pictures((3, 128, 160))]}
    return [
        Case(name, _detector(name, settings, inputs), inputs, compare="rows")
        for name, settings in DETECTORS.items()
    ]


def _detector(name: str, settings: dict[str, Any], inputs: Inputs) -> Callable[[], nn.Module]:
    sizes = {} if name in FIXED_SIZES else {"min_size": 128, "max_size": 160}
    make = _maker(name, "detection", weights_backbone=None, **sizes, **settings)

    def build() -> nn.Module:
        module = make().eval()
        liven(module, Case(name, make, inputs).feeds(seed=100))
        return _calmed(module)

    return build


CALMER = {
    "bbox_pred": 0.1,
    "cls_score": 0.15,
    "mask_fcn_logits": 0.3,
    "classification_head.module_list": 0.15,
}
"""Layers that decide where the second stage looks, and how sure it is."""


def _calmed(detector: nn.Module) -> nn.Module:
    """Weights under which noise of the last bit stays small.

    Features of an untrained network change from pixel to pixel, so a second stage that looks at a
    box a thousandth of a pixel away sees something else.
    """
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            factor = next((CALMER[part] for part in CALMER if part in name), 1.0)
            parameter.mul_(factor)
    return detector


def _segmenters() -> list[Case]:
    sizes = pictures((2, 3, 64, 96), (3, 3, 96, 64))
    return [
        Case(name, _maker(name, "segmentation", weights_backbone=None), {entry: sizes}, liven=True)
        for name, entry in SEGMENTERS.items()
    ]


def _classifiers() -> list[Case]:
    found = []
    for name, side in CLASSIFIERS.items():
        auxiliary = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        init = {"init_weights": False} if auxiliary else {}
        inputs: Inputs = (pictures((2, 3, side, side), (3, 3, side, side)),)
        found.append(Case(name, _maker(name, **auxiliary, **init), inputs, liven=True))
    return found


def _video() -> list[Case]:
    return [
        Case(
            name,
            _small_mvit(side) if name == "mvit_v2_s" else _maker(name, "video"),
            (pictures((2, 3, frames, side, side), (3, 3, frames, side, side)),),
            liven=True,
        )
        for name, (frames, side) in VIDEO.items()
    ]


def _small_mvit(side: int) -> Callable[[], nn.Module]:
    """It holds tables of positions for its side, and its own function takes no other than 224."""

    def build() -> nn.Module:
        prepare()
        from torchvision.models.video import mvit

        plain = mvit._mvit

        def smaller(**settings: Any) -> nn.Module:
            return plain(**{**settings, "spatial_size": (side, side)})

        with mock.patch.object(mvit, "_mvit", smaller):
            return mvit.mvit_v2_s(weights=None)

    return build


def _flow() -> list[Case]:
    picture = pictures((1, 3, 128, 136))
    inputs = {"image1": picture, "image2": picture, "num_flow_updates": 3}
    return [Case("raft_small", _maker("raft_small", "optical_flow"), inputs, liven=True)]


def _maker(name: str, room: str = "", **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        prepare()
        import torchvision

        models = torchvision.models
        return getattr(getattr(models, room) if room else models, name)(weights=None, **settings)

    return build
