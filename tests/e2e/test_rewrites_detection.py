"""Built-in rewrites for torchvision's detectors, each with a detector that needs it.

The detectors are tiny and untrained, with weights drawn so that boxes, labels and scores move with the
picture. What they find is compared as sets of boxes: equal scores have no order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from modelport.codebases.torchvision_operators import import_torchvision
from modelport.frontends import rewrites

if import_torchvision() is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch about itself

CHANNELS, CLASSES, SIZE = 32, 6, (64, 96)


class Pyramid(nn.Module):
    """Three levels of features, each half the size of the one before."""

    out_channels = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, CHANNELS, 3, 4, 1)
        self.levels = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, 2, 1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x, found = self.stem(x).relu(), {}
        for index, level in enumerate(self.levels):
            x = level(x).relu()
            found[str(index)] = x
        return found


@cache
def detection() -> Any:
    return import_torchvision().models.detection


def anchors(ratios: tuple[float, ...]) -> Any:
    generator = detection().anchor_utils.AnchorGenerator
    return generator(((16,), (24,), (40,)), (ratios,) * 3)


SCALES: dict[str, Any] = {"min_size": SIZE[0], "max_size": SIZE[1]}
RATIOS = (0.5, 1.0, 2.0)


def retinanet(threshold: float = 0.3) -> Any:
    return detection().RetinaNet(
        Pyramid(), CLASSES, anchor_generator=anchors(RATIOS), score_thresh=threshold, **SCALES
    )


def fcos() -> Any:
    return detection().FCOS(
        Pyramid(), CLASSES, anchor_generator=anchors((1.0,)), score_thresh=0.3, **SCALES
    )


def ssd() -> Any:
    boxes = detection().anchor_utils.DefaultBoxGenerator([[2], [2], [2]])
    head = detection().ssd.SSDHead([CHANNELS] * 3, [4] * 3, CLASSES)
    return detection().ssd.SSD(Pyramid(), boxes, SIZE, CLASSES, score_thresh=0.15, head=head)


def with_regions(name: str, threshold: float = 0.05, **heads: Any) -> Any:
    rcnn = detection().faster_rcnn
    return getattr(detection(), name)(
        Pyramid(),
        rpn_anchor_generator=anchors(RATIOS),
        rpn_pre_nms_top_n_test=60,
        rpn_post_nms_top_n_test=40,
        box_roi_pool=pool(4),
        box_head=rcnn.TwoMLPHead(CHANNELS * 16, 16),
        box_predictor=rcnn.FastRCNNPredictor(16, CLASSES),
        box_score_thresh=threshold,
        box_detections_per_img=20,
        **SCALES,
        **heads,
    )


def pool(cells: int) -> Any:
    """Boxes of these little pictures are spread over all levels."""
    levels = ["0", "1", "2"]
    pooler = import_torchvision().ops.MultiScaleRoIAlign
    return pooler(levels, cells, 2, canonical_scale=16, canonical_level=3)


def faster(threshold: float = 0.05) -> Any:
    return with_regions("FasterRCNN", threshold)


def mask(threshold: float = 0.05) -> Any:
    rcnn = detection().mask_rcnn
    return with_regions(
        "MaskRCNN",
        threshold,
        mask_roi_pool=pool(6),
        mask_head=rcnn.MaskRCNNHeads(CHANNELS, (8,), 1),
        mask_predictor=rcnn.MaskRCNNPredictor(8, 8, CLASSES),
    )


def keypoint(threshold: float = 0.05) -> Any:
    rcnn = detection().keypoint_rcnn
    return with_regions(
        "KeypointRCNN",
        threshold,
        keypoint_roi_pool=pool(6),
        keypoint_head=rcnn.KeypointRCNNHeads(CHANNELS, (8,)),
        keypoint_predictor=rcnn.KeypointRCNNPredictor(8, 5),
    )


DETECTORS: dict[str, tuple[Callable[..., nn.Module], str]] = {
    "ssd": (ssd, "detection_nms"),
    "fcos": (fcos, "detection_nms"),
    "retinanet": (retinanet, "detection_nms"),
    "faster": (faster, "detection_roi_align"),
    "mask": (mask, "detection_masks"),
    "keypoint": (keypoint, "detection_keypoints"),
}
"""Each with the rewrite that `test_needed` takes away."""


def built(make: Callable[..., nn.Module], *settings: float) -> nn.Module:
    module = make(*settings).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            wide = parameter.dim() > 1
            spread = 1.2 / parameter[0].numel() ** 0.5 if wide else 0.1
            parameter.normal_(0, spread, generator=generator)
    return module


def picture(seed: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(seed))


def captured(
    module: nn.Module, size: tuple[int, int] = SIZE, *extra: rewrites.Rewrite
) -> tuple[Any, Any]:
    with (
        torch.no_grad(),
        rewrites.applied(module, exporter="torch.export", extra=extra) as changes,
    ):
        program = torch.export.export(changes.module, ([picture(0, size)],), strict=False)
        return changes, changes.decompose(program)


def session(module: nn.Module, size: tuple[int, int] = SIZE) -> Any:
    changes, program = captured(module, size)
    written = torch.onnx.export(
        program, dynamo=True, opset_version=20, optimize=False, verbose=False,
        custom_translation_table=changes.translations,
    )  # fmt: skip
    assert written is not None
    return onnxruntime.InferenceSession(written.model_proto.SerializeToString())


def wanted(module: nn.Module, x: torch.Tensor) -> dict[str, Any]:
    with torch.no_grad():
        (found,) = module([x])
    return {key: value.numpy() for key, value in found.items()}


def found(run: Any, keys: list[str], x: torch.Tensor) -> dict[str, Any]:
    return dict(zip(keys, run.run(None, {run.get_inputs()[0].name: x.numpy()}), strict=True))


def assert_same_boxes(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Each detection of one is matched with its own nearest detection of the other."""
    assert {key: value.shape for key, value in one.items()} == {
        key: value.shape for key, value in other.items()
    }
    left = list(range(len(one["boxes"])))
    for index in range(len(left)):
        distances = [far(one, index, other, each) for each in left]
        best = int(np.argmin(distances))
        assert distances[best] < 1e-3
        left.pop(best)


def far(one: dict[str, Any], i: int, other: dict[str, Any], j: int) -> float:
    """Largest difference of anything of two detections; places count by their share of the picture."""
    weights = {"boxes": 1 / max(SIZE), "keypoints": 1 / max(SIZE)}
    return max(
        float(np.abs(one[key][i].astype(float) - other[key][j]).max()) * weights.get(key, 1)
        for key in one
    )


@pytest.mark.parametrize("name", list(DETECTORS))
def test_the_same_boxes(name: str) -> None:
    module = built(DETECTORS[name][0])
    before, after = wanted(module, picture(1)), wanted(module, picture(2))
    assert len(before["boxes"]) > 5
    assert len(np.unique(before["labels"])) > 1
    assert np.abs(before["boxes"][:5] - after["boxes"][:5]).max() > 1
    run = session(module)
    assert_same_boxes(before, found(run, list(before), picture(1)))
    assert_same_boxes(after, found(run, list(after), picture(2)))


def test_another_size_of_picture() -> None:
    """One that the detector resizes, so that boxes are scaled back and pictures padded."""
    module, size = built(mask), (70, 120)
    run, expected = session(module, size), wanted(module, picture(1, size))
    assert_same_boxes(expected, found(run, list(expected), picture(1, size)))


@pytest.mark.parametrize("make", [retinanet, faster, mask, keypoint])
def test_nothing_found(make: Callable[..., nn.Module]) -> None:
    module = built(make, 0.9999)
    expected = wanted(module, picture(1))
    assert expected["boxes"].shape == (0, 4)
    assert_same_boxes(expected, found(session(module), list(expected), picture(1)))


def without(name: str) -> rewrites.Rewrite:
    """One's own rewrite beats the built-in one, and this one leaves everything as it is."""

    @rewrites.function(rewrites.REWRITES.get(name).target)
    def untouched(original: Any, *_: Any, **__: Any) -> Any:
        return NotImplemented

    return untouched


@pytest.mark.parametrize("name", list(DETECTORS))
def test_needed(name: str) -> None:
    """Without `len` too: it keeps the number of boxes free, which alone gets some through."""
    make, needed = DETECTORS[name]
    with pytest.raises(Exception, match="data-dependent"):
        captured(built(make), SIZE, without(needed), without("len"))


def random_boxes(count: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=generator) * 200 - 50
    sides = torch.rand(count, 2, generator=generator) * 60 + 20
    scores = torch.randperm(count, generator=generator) / count
    labels = torch.randint(0, 91, (count,), generator=generator)
    return torch.cat([corners, corners + sides], 1), scores, labels


@pytest.fixture(scope="module")
def suppressed() -> Callable[..., Any]:
    """The function that stands in for batched_nms."""
    rewrite: Any = rewrites.REWRITES.get("detection_nms")
    return lambda *boxes: rewrite.replace(None, *boxes)


@pytest.mark.parametrize("count", [0, 1, 900, 1001, 3000])
def test_nms_of_few_and_of_many(suppressed: Callable[..., Any], count: int) -> None:
    """With more than 1000 boxes torchvision loops over classes; coordinates may be negative."""
    boxes = random_boxes(count)
    expected = import_torchvision().ops.batched_nms(*boxes, 0.5)
    assert suppressed(*boxes, 0.5).tolist() == expected.tolist()
    assert count < 2 or len(expected) < count
