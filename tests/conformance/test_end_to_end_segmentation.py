"""Segmenters in one file: the class of every pixel of the picture, as the predictor has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.endtoend.segmenting import labels_differ
from modelport.errors import UsageError, VerificationError
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Resize,
)
from support import picture

SIDE = 48
NORMAL = Normalize(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
STRETCHED = [Decode(), Resize((SIDE, SIDE)), NORMAL, Layout()]
BOXED = [Decode(), Letterbox(SIDE), NORMAL, Layout()]
CROPPED = [Decode(), Resize(60), CenterCrop(SIDE), NORMAL, Layout()]


class Segmenter(nn.Module):
    """Smooth scores on a grid of 4 x 4 pixels to a cell."""

    def __init__(self, classes: int, form: str) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.net = nn.Sequential(
            nn.Conv2d(3, 8, 9, stride=4, padding=4), nn.Tanh(), nn.Conv2d(8, classes, 1)
        )
        nn.init.normal_(self.net[2].weight, std=2.0)
        self.form = form

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.net(image)
        if self.form == "labels":
            return scores.argmax(1)
        return scores.permute(0, 2, 3, 1) if self.form == "nhwc" else scores


def deployed(folder: Path, form: str, steps: list[Any], classes: int = 4, **how: Any) -> Any:
    source = modelport.Source(
        Segmenter(classes, form).eval(), inputs=f"image=1x3x{SIDE}x{SIDE}", transforms=steps,
        task="semantic_segmentation", parameters=how,
    )  # fmt: skip
    return modelport.deploy(
        source, output=folder / "bundle", engines=["onnxruntime"], precisions=["fp32"],
        threads=1, report=False,
    )  # fmt: skip


FORMS: dict[str, tuple[str, list[Any], int, dict[str, Any]]] = {
    "scores, stretched": ("nchw", STRETCHED, 4, {}),
    "scores, letterbox": ("nchw", BOXED, 4, {}),
    "scores, crop": ("nchw", CROPPED, 4, {}),
    "channels last": ("nhwc", BOXED, 4, {"layout": "nhwc"}),
    "chosen first": ("nchw", BOXED, 4, {"resize": "labels"}),
    "labels": ("labels", CROPPED, 4, {"gives": "labels"}),
    "one plane": ("nchw", BOXED, 1, {"threshold": 0.4}),
    "one plane of probabilities": ("nchw", STRETCHED, 1, {"scores": "probabilities"}),
    "many classes": ("nchw", CROPPED, 300, {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_pixel_has_the_class_that_the_predictor_gives(name: str, tmp_path: Path) -> None:
    form, steps, classes, how = FORMS[name]
    bundle = deployed(tmp_path, form, steps, classes, **how)
    found = modelport.export_end_to_end(bundle, tmp_path / "one.onnx")
    assert found.proof is not None
    assert found.proof.pictures >= 6
    session = ort.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    with modelport.load(bundle.path, threads=1) as predictor:
        for seed, size in enumerate([(90, 70), (33, 120), (48, 48), (200, 131)]):
            image = picture(seed, size)
            want = predictor(image)
            assert len(want.classes) > 1
            (got,) = session.run(["labels"], {"image": np.asarray(image)})
            assert got.shape == size[::-1]
            seen = want.labels != want.void
            assert (seen == (got != (255 if got.dtype == np.uint8 else -1))).all()
            assert (got[seen] != want.labels[seen]).mean() < 0.02
    assert got.dtype == (np.int32 if classes > 254 or form == "labels" else np.uint8)


def test_wrong_labels_are_found() -> None:
    want = {"labels": np.arange(100, dtype=np.uint8).reshape(10, 10)}
    assert labels_differ(want, want) is None
    assert labels_differ(want, {"labels": want["labels"].astype(np.int32)}) is None
    moved = {"labels": np.roll(want["labels"], 1, 0)}
    assert labels_differ(want, moved) == "100.0% of the pixels have another class"
    turned = {"labels": want["labels"][:5]}
    assert labels_differ(want, turned) == "labels has shape [5, 10], and [10, 10] is right"


def test_labels_that_are_off_by_a_cell_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelport.endtoend import segmenting

    bundle = deployed(tmp_path, "nchw", BOXED)
    whole = segmenting._places

    def off(*given: Any) -> Any:
        found = whole(*given)
        return type(found)(found.far, found.far, found.part, found.seen)

    monkeypatch.setattr(segmenting, "_places", off)
    with pytest.raises(VerificationError, match="of the pixels have another class"):
        modelport.export_end_to_end(bundle, tmp_path / "one.onnx")
    assert not (tmp_path / "one.onnx").exists()


def test_what_has_no_form_is_named(tmp_path: Path) -> None:
    bundle = deployed(tmp_path, "nchw", STRETCHED, align_corners=True)
    with pytest.raises(UsageError, match="parameter align_corners has no form in the graph"):
        modelport.export_end_to_end(bundle, tmp_path / "one.onnx")
