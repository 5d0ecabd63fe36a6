"""Raw heads of torchvision's detectors: our decoding beside the library's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.decoding import detection_presets as presets
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.detection import Detections

if import_torchvision() is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

Array = np.ndarray[Any, Any]
SIZE = (256, 320)
"""Height and width."""


def detection() -> Any:
    return import_torchvision().models.detection


def built(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    builder = getattr(detection(), name)
    return builder(weights=None, weights_backbone=None, **options).eval()


def maps(strides: Mapping[int, int] | list[int]) -> list[torch.Tensor]:
    """Features of which only the sizes count."""
    return [torch.zeros(1, 1, -(-SIZE[0] // s), -(-SIZE[1] // s)) for s in strides]


def anchors_of(model: Any, features: list[torch.Tensor], size: tuple[int, int]) -> Any:
    image_list = import_torchvision().models.detection.image_list.ImageList
    return model.anchor_generator(image_list(torch.zeros(1, 3, *size), [size]), features)


def random_head(
    places: int, seed: int, **channels: tuple[int, float, float]
) -> dict[str, torch.Tensor]:
    """Numbers of a mean and a deviation, 1 x places x channels, for each output."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(1, places, count, generator=generator) * deviation + mean
        for name, (count, mean, deviation) in channels.items()
    }  # fmt: skip


def ours(head: Mapping[str, torch.Tensor], parameters: Mapping[str, Any]) -> Detections:
    task = TASKS.get("detection")
    outputs = {name: array.numpy() for name, array in head.items()}
    return task.decode(outputs, Context(task.parameters(parameters)))


def assert_same(found: Detections, theirs: Mapping[str, torch.Tensor], least: int) -> None:
    assert len(found) >= least, "so few objects prove little"
    np.testing.assert_allclose(
        [each.score for each in found.objects], theirs["scores"].numpy(), rtol=1e-5
    )
    assert [each.index for each in found.objects] == theirs["labels"].tolist()
    np.testing.assert_allclose(found.boxes, theirs["boxes"].numpy(), atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_fcos(seed: int) -> None:
    model = built("fcos_resnet50_fpn", num_classes=20)
    features = maps([8, 16, 32, 64, 128])
    anchors = anchors_of(model, features, SIZE)
    counts = [feature.shape[2] * feature.shape[3] for feature in features]
    head = random_head(
        sum(counts), seed,
        cls_logits=(20, -3, 1.5), bbox_regression=(4, 2, 1), bbox_ctrness=(1, 0, 2),
    )  # fmt: skip
    split = {name: list(each.split(counts, 1)) for name, each in head.items()}
    (theirs,) = model.postprocess_detections(split, [list(anchors[0].split(counts))], [SIZE])
    found = ours(head, {**presets.fcos(), "size": SIZE})
    assert_same(found, theirs, 100)


@pytest.mark.parametrize("seed", range(3))
def test_retinanet(seed: int) -> None:
    model = built("retinanet_resnet50_fpn", num_classes=20)
    features = maps([8, 16, 32, 64, 128])
    anchors = anchors_of(model, features, SIZE)
    counts = [feature.shape[2] * feature.shape[3] * 9 for feature in features]
    head = random_head(
        sum(counts), seed, cls_logits=(20, -6, 1.2), bbox_regression=(4, 0, 0.4)
    )  # fmt: skip
    split = {name: list(each.split(counts, 1)) for name, each in head.items()}
    (theirs,) = model.postprocess_detections(split, [list(anchors[0].split(counts))], [SIZE])
    found = ours(head, {**presets.retinanet(), "size": SIZE})
    assert_same(found, theirs, 100)


def test_retinanet_whose_sides_explode() -> None:
    """Exponents beyond the library's limit."""
    model = built("retinanet_resnet50_fpn", num_classes=2)
    features = maps([8, 16, 32, 64, 128])
    anchors = anchors_of(model, features, SIZE)
    counts = [feature.shape[2] * feature.shape[3] * 9 for feature in features]
    head = random_head(sum(counts), 5, cls_logits=(2, -4, 1), bbox_regression=(4, 0, 5))
    split = {name: list(each.split(counts, 1)) for name, each in head.items()}
    (theirs,) = model.postprocess_detections(split, [list(anchors[0].split(counts))], [SIZE])
    assert_same(ours(head, {**presets.retinanet(), "size": SIZE}), theirs, 20)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_ssd(name: str, seed: int) -> None:
    from modelport.codebases.torchvision_heads import ssd_priors

    model = built(name, num_classes=21)
    side = int(model.transform.fixed_size[0])
    sizes = [38, 19, 10, 5, 3, 1] if side == 300 else [20, 10, 5, 3, 2, 1]
    features = [torch.zeros(1, 1, each, each) for each in sizes]
    anchors = anchors_of(model, features, (side, side))
    head = random_head(
        len(anchors[0]), seed, cls_logits=(21, 0, 1.5), bbox_regression=(4, 0, 1)
    )  # fmt: skip
    head["cls_logits"][..., 0] += 5  # mostly background
    (theirs,) = model.postprocess_detections(head, anchors, [(side, side)])
    parameters = presets.ssd(**ssd_priors(model)) | {
        "size": (side, side),
        "threshold": model.score_thresh,
        "nms": {"iou": model.nms_thresh},
        "candidates": model.topk_candidates,
        "most": model.detections_per_img,
    }
    assert_same(ours(head, parameters), theirs, 50)
