"""Detectors of transformers: our decoding beside the library's own, and what a folder declares."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from modelport.codebases import CODEBASES, open_codebase
from modelport.runtime.placement import Placement, scaling
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context

reason = CODEBASES.get("transformers").available() or CODEBASES.get("torchvision").available()
if reason is not None:
    pytest.skip(reason, allow_module_level=True)
CODEBASES.get("torchvision").library()  # image processors import it
transformers: Any = CODEBASES.get("transformers").library()

PICTURE, TENSOR = (640, 427), (320, 320)
"""Width and height."""

PROCESSORS = {
    "DetrImageProcessor": ("detr", {}),
    "YolosImageProcessor": ("detr", {}),
    "ConditionalDetrImageProcessor": ("deformable_detr", {"most": 100}),
    "DeformableDetrImageProcessor": ("deformable_detr", {"most": 100}),
    "RTDetrImageProcessor": ("deformable_detr", {"most": 60}),
}


@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.parametrize("name", PROCESSORS)
def test_objects_are_those_of_the_library(name: str, threshold: float) -> None:
    generator = torch.Generator().manual_seed(len(name))
    outputs = SimpleNamespace(
        logits=torch.randn(1, 60, 12, generator=generator) * 2 - 1,
        pred_boxes=torch.rand(1, 60, 4, generator=generator) * 0.5 + 0.25,
    )
    processor = getattr(transformers, name)()
    size = torch.tensor([[PICTURE[1], PICTURE[0]]])
    (theirs,) = processor.post_process_object_detection(
        outputs, threshold=threshold, target_sizes=size
    )
    preset, more = PROCESSORS[name]
    task = TASKS.get("detection")
    parameters = task.parameters({"preset": preset, "threshold": threshold, **more})
    placement = Placement.whole(*PICTURE).then(scaling(PICTURE, TENSOR), TENSOR)
    given = {key: value.numpy() for key, value in vars(outputs).items()}
    ours = task.decode(given, Context(parameters, None, placement))
    order = theirs["scores"].argsort(descending=True, stable=True)
    assert len(ours.objects) == len(order) >= 10
    scores = theirs["scores"][order].numpy()
    np.testing.assert_allclose([each.score for each in ours.objects], scores, rtol=1e-5)
    assert [each.index for each in ours.objects] == theirs["labels"][order].tolist()
    inside = theirs["boxes"][order].numpy().clip(0, [*PICTURE, *PICTURE])
    np.testing.assert_allclose(ours.boxes, inside, atol=1e-2)


def tiny(kind: str) -> Any:
    common = {"num_labels": 5}
    if kind == "Yolos":
        return transformers.YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            image_size=[64, 96], num_detection_tokens=20, architectures=["YolosForObjectDetection"],
            **common,
        )  # fmt: skip
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], out_indices=[2, 3, 4],
    )  # fmt: skip
    return transformers.DetrConfig(
        use_timm_backbone=False, backbone=None, use_pretrained_backbone=False, backbone_config=backbone,
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=15,
        architectures=["DetrForObjectDetection"], **common,
    )  # fmt: skip


@pytest.mark.parametrize(("kind", "most"), [("Yolos", 20), ("Detr", 15)])
def test_a_folder_declares_detection(kind: str, most: int, tmp_path: Path) -> None:
    tiny(kind).save_pretrained(tmp_path)
    source = open_codebase(f"transformers:{tmp_path}?pretrained=false", pretrained=False)
    assert source.task == "detection"
    assert dict(source.parameters) == {"preset": "detr", "most": most}
    assert source.labels is None, "they are only numbered"
    with torch.inference_mode():
        found = source.model.eval()(pixel_values=torch.rand(1, 3, 64, 96))
    task = TASKS.get("detection")
    parameters = task.parameters({**source.parameters, "size": (64, 96), "threshold": 0.0})
    outputs = {"logits": found.logits.numpy(), "pred_boxes": found.pred_boxes.numpy()}
    result = task.decode(outputs, Context(parameters))
    assert len(result.objects) == most
    assert all(0 <= each.index < 5 for each in result.objects)
