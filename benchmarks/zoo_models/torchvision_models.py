"""torchvision's models for detection, segmentation, classification, flow and video, untrained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from zoo_models.case import Case, Inputs, pictures
from zoo_models.torchvision_shim import prepare

DETECTORS = {
    "fasterrcnn_resnet50_fpn": {},
    "fasterrcnn_mobilenet_v3_large_320_fpn": {"box_score_thresh": 0.02},
    "maskrcnn_resnet50_fpn": {},
    "keypointrcnn_resnet50_fpn": {"box_score_thresh": 0.001},
    "retinanet_resnet50_fpn": {},
    "fcos_resnet50_fpn": {"score_thresh": 0.001},
    "ssd300_vgg16": {},
    "ssdlite320_mobilenet_v3_large": {},
}
"""Detectors, with thresholds at which untrained ones find something."""

FIXED_SIZES = ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large")
"""These resize to a size of their own."""

SEGMENTERS = (
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "fcn_resnet50",
    "lraspp_mobilenet_v3_large",
)
CLASSIFIERS = {
    "alexnet": 96,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
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
    "mvit_v2_s": (16, 224),
    "r2plus1d_18": (8, 32),
    "r3d_18": (8, 32),
    "s3d": (16, 64),
    "swin3d_t": (8, 64),
}
"""Video networks with the number of frames and their side."""


def cases() -> list[Case]:
    return [*_detectors(), *_segmenters(), *_classifiers(), *_video(), *_flow()]


def _detectors() -> list[Case]:
    """One picture of a fixed size: what comes out is a list of boxes for each picture."""
    inputs = {"images": [pictures((3, 128, 160))]}
    return [
        Case(
            name,
            _detector(name, settings),
            inputs,
            compare="rows",
            liven=True,
        )
        for name, settings in DETECTORS.items()
    ]


def _detector(name: str, settings: dict[str, Any]) -> Callable[[], nn.Module]:
    sizes = {} if name in FIXED_SIZES else {"min_size": 128, "max_size": 160}
    return _maker(name, "detection", weights_backbone=None, **sizes, **settings)


def _segmenters() -> list[Case]:
    inputs = {"input": pictures((2, 3, 64, 96), (3, 3, 96, 64))}
    return [
        Case(name, _maker(name, "segmentation", weights_backbone=None), inputs, liven=True)
        for name in SEGMENTERS
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
            _maker(name, "video"),
            (pictures((2, 3, frames, side, side), (3, 3, frames, side, side)),),
            liven=True,
        )
        for name, (frames, side) in VIDEO.items()
    ]


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
