"""Tiny detectors of torchvision as bundles: file in, objects in the picture out, as torch has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import modelport
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.transforms.picture import PicturePreprocessor

if import_torchvision() is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)
pytest.importorskip("cv2", reason="OpenCV is not installed, which the transforms resize with")

from modelport.codebases.detection import for_one_picture
from modelport.codebases.torchvision_heads import meaning_of_detector, recipe_of_detector

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch about itself
SIDE = 96
LABELS = ["__background__", "ant", "bee", "cat"]


class Pyramid(nn.Module):
    """Two levels of features."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 8, 1)
        self.next = nn.Conv2d(32, 32, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x).relu()
        return {"0": x, "1": self.next(x).relu()}


def lively(module: nn.Module) -> nn.Module:
    """Weights with which what is found moves with the picture."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            spread = 1.2 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.1
            parameter.normal_(0, spread, generator=generator)
    return module.eval()


def fcos() -> nn.Module:
    parts: Any = import_torchvision().models.detection
    anchors = parts.anchor_utils.AnchorGenerator(((16,), (32,)), ((1.0,),) * 2)
    sizes = {"min_size": SIDE, "max_size": SIDE}
    return parts.FCOS(Pyramid(), 4, anchor_generator=anchors, score_thresh=0.3, **sizes)


def mask_rcnn() -> nn.Module:
    parts: Any = import_torchvision().models.detection
    pooler = import_torchvision().ops.MultiScaleRoIAlign
    anchors = parts.anchor_utils.AnchorGenerator(((16,), (32,)), ((0.5, 1.0, 2.0),) * 2)
    return parts.MaskRCNN(
        Pyramid(), rpn_anchor_generator=anchors, rpn_pre_nms_top_n_test=40,
        rpn_post_nms_top_n_test=20, box_roi_pool=pooler(["0", "1"], 4, 2),
        box_head=parts.faster_rcnn.TwoMLPHead(32 * 16, 16),
        box_predictor=parts.faster_rcnn.FastRCNNPredictor(16, 4), box_score_thresh=0.1,
        box_detections_per_img=8, mask_roi_pool=pooler(["0", "1"], 6, 2),
        mask_head=parts.mask_rcnn.MaskRCNNHeads(32, (8,), 1),
        mask_predictor=parts.mask_rcnn.MaskRCNNPredictor(8, 8, 4),
        min_size=SIDE, max_size=SIDE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blurred noise of 192 x 120, which comes to 96 x 60 in the tensor."""
    file = tmp_path_factory.mktemp("photo") / "photo.png"
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((192, 120)).save(file)
    return file


def assert_same(objects: Any, theirs: dict[str, torch.Tensor]) -> list[int]:
    """The objects of the picture beside those of the tensor; gives the place of each in `theirs`."""
    wanted = (theirs["boxes"].numpy() * 2).clip(0, [192, 120, 192, 120])
    assert len(objects) == len(wanted) >= 3
    scores = theirs["scores"].numpy()
    np.testing.assert_allclose([each.score for each in objects], scores, atol=1e-3)
    places = []
    for each in objects:  # equal scores have no order
        far = np.abs(wanted - each.box).max(1)
        far[theirs["labels"].numpy() != LABELS.index(each.label)] = np.inf
        places.append(int(far.argmin()))
        assert far.min() < 0.1
    return places


def test_a_detector_from_file_to_objects(tmp_path: Path, pictures: Path, photo: Path) -> None:
    model = for_one_picture(lively(fcos()))
    task, parameters = meaning_of_detector(model)
    source = modelport.Source(
        model=model,
        inputs=f"image=1x3x{SIDE}x{SIDE}",
        transforms=recipe_of_detector(model, (SIDE, SIDE)).transforms,
        task=task,
        parameters=parameters,
        labels=LABELS,
    )
    bundle = modelport.deploy(
        source, output=tmp_path / "bundle", calibration=pictures, engines=["onnxruntime"],
        precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    with Predictor(bundle, threads=1) as predictor:
        result = predictor(photo)
        tensor = torch.from_numpy(predictor.prepare(photo).first)
    with torch.no_grad():
        theirs = model(tensor)
    assert_same(result.objects, theirs)


def test_masks_of_a_detector_are_placed_in_the_picture(photo: Path) -> None:
    """What Mask R-CNN itself gives, decoded: at twice the size of the tensor, cut off below."""
    model = for_one_picture(lively(mask_rcnn()))
    name, parameters = meaning_of_detector(model)
    prepared = PicturePreprocessor(recipe_of_detector(model, (SIDE, SIDE)).transforms).prepare(
        photo
    )
    with torch.no_grad():
        theirs = model(torch.from_numpy(prepared.first))
    task = TASKS.get(name)
    outputs = {key: value.numpy() for key, value in theirs.items()}
    result = task.decode(outputs, Context(task.parameters(parameters), LABELS, prepared.placement))
    filled = 0
    for each, place in zip(result.objects, assert_same(result.objects, theirs), strict=True):
        larger = nn.functional.interpolate(
            theirs["masks"][place][None], scale_factor=2, mode="bilinear"
        )
        wanted = (larger[0, 0] > 0.5).numpy()[:120]
        assert each.mask.shape == (120, 192)
        assert np.count_nonzero(each.mask != wanted) <= 0.02 * wanted.sum() + 4
        filled += int(wanted.sum())
    assert filled > 500
