"""Edits at the end of detectors and segmenters: the graph gives something else, the answers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport.bundle.read import Bundle
from modelport.errors import UsageError
from modelport.runtime.transforms import Decode, Layout, Letterbox, Normalize
from support import picture

FAST: dict[str, Any] = {"engines": ["onnxruntime"], "precisions": ["fp32"], "report": False}
SIDE = 64
STEPS = [Decode(), Letterbox(SIDE), Normalize(mean=(0.5,) * 3, std=(0.25,) * 3), Layout()]
PLACES = {"strides": (8,)}


class Head(nn.Module):
    """Boxes and class scores at each cell of 8 x 8 pixels, as rows or maps."""

    def __init__(self, order: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Conv2d(3, 16, 8, stride=8)
        self.boxes, self.scores = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)
        nn.init.normal_(self.scores.weight, std=0.8)
        self.order = order

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(image).tanh()
        boxes, scores = self.boxes(seen).exp(), self.scores(seen).sigmoid()
        if self.order == "maps_last":
            return boxes.permute(0, 2, 3, 1), scores.permute(0, 2, 3, 1)
        return boxes.flatten(2).transpose(1, 2), scores.flatten(2).transpose(1, 2)


class ScoresLast(Head):
    """The sigmoid after the transpose."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(image).tanh()
        rows = self.scores(seen).flatten(2).transpose(1, 2)
        return self.boxes(seen).exp().flatten(2).transpose(1, 2), rows.sigmoid()


def detector(model: nn.Module, **changes: Any) -> modelport.Source:
    parameters = {
        "boxes": {"output": "boxes"}, "scores": {"output": "scores"}, "code": "ltrb",
        "priors": PLACES, "nms": {"iou": 0.5}, "threshold": 0.6, **changes,
    }  # fmt: skip
    return modelport.Source(
        model.eval(), inputs=f"image=1x3x{SIDE}x{SIDE}", output_names=["boxes", "scores"],
        transforms=STEPS, task="detection", parameters=parameters,
    )  # fmt: skip


def deployed(folder: Path, source: modelport.Source, *edits: str) -> Bundle:
    return modelport.deploy(source, output=folder / "_".join(["b", *edits]), edits=edits, **FAST)


def answers(bundle: Bundle) -> list[Any]:
    with modelport.load(bundle.path, threads=1) as predictor:
        return [predictor(picture(seed, (90, 70))) for seed in range(4)]


def assert_same_objects(one: Bundle, other: Bundle) -> None:
    pairs = list(zip(answers(one), answers(other), strict=True))
    assert sum(len(mine.objects) for mine, _ in pairs) >= 4, "too few objects to prove anything"
    for mine, theirs in pairs:
        assert [each.index for each in mine.objects] == [each.index for each in theirs.objects]
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-2)
        np.testing.assert_allclose(
            [each.score for each in mine.objects],
            [each.score for each in theirs.objects],
            atol=1e-4,
        )


def operators(bundle: Bundle) -> dict[str, int]:
    return dict(bundle.manifest.provenance.operators_after)


def test_sigmoid(tmp_path: Path) -> None:
    source = detector(ScoresLast("rows"))
    plain, made = deployed(tmp_path, source), deployed(tmp_path, source, "strip_sigmoid")
    assert made.manifest.task.parameters["activation"] == "sigmoid"
    assert "Sigmoid" in operators(plain)
    assert "Sigmoid" not in operators(made)
    assert_same_objects(plain, made)


@pytest.mark.parametrize("order", ["rows", "maps_last"])
def test_transposes(order: str, tmp_path: Path) -> None:
    source = detector(Head(order), arrangement=order)
    plain, made = deployed(tmp_path, source), deployed(tmp_path, source, "strip_transpose")
    assert operators(plain)["Transpose"] == 2
    assert "Transpose" not in operators(made)
    assert_same_objects(plain, made)


def test_both(tmp_path: Path) -> None:
    source = detector(ScoresLast("rows"))
    with pytest.raises(UsageError, match="'scores' does not come from a Transpose to rows"):
        deployed(tmp_path, source, "strip_transpose")
    made = deployed(tmp_path, source, "strip_sigmoid", "strip_transpose")
    assert not {"Sigmoid", "Transpose"} & set(operators(made))
    assert_same_objects(deployed(tmp_path, source), made)


class Segmenter(nn.Module):
    def __init__(self, last: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.net = nn.Conv2d(3, 5, 7, stride=4, padding=3)
        self.last = last

    def forward(self, image: Tensor) -> Tensor:
        planes = self.net(image)
        return planes.permute(0, 2, 3, 1).argmax(3).int() if self.last else planes.argmax(1, True)


@pytest.mark.parametrize("last", [False, True])
def test_argmax(last: bool, tmp_path: Path) -> None:
    source = modelport.Source(
        Segmenter(last).eval(), inputs=f"image=1x3x{SIDE}x{SIDE}", transforms=STEPS,
        task="semantic_segmentation", parameters={"gives": "labels"},
    )  # fmt: skip
    plain, made = deployed(tmp_path, source), deployed(tmp_path, source, "strip_argmax")
    assert "ArgMax" not in operators(made)
    assert made.signature.outputs[0].dtype == "float32"
    for mine, theirs in zip(answers(plain), answers(made), strict=True):
        assert len(mine.classes) > 1
        assert (mine.labels != theirs.labels).mean() < 0.01


class Enlarging(nn.Module):
    """Scores of a coarse grid, enlarged as most segmenters do at their end."""

    def __init__(self, **how: Any) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.net = nn.Conv2d(3, 5, 7, stride=4, padding=3)
        self.how = {"mode": "bilinear", **how}

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(self.net(image), image.shape[2:], **self.how)


def segmenter(model: nn.Module, **parameters: Any) -> modelport.Source:
    return modelport.Source(
        model.eval(), inputs=f"image=1x3x{SIDE}x{SIDE}", transforms=STEPS,
        task="semantic_segmentation", parameters=parameters,
    )  # fmt: skip


def test_resize(tmp_path: Path) -> None:
    source = segmenter(Enlarging())
    plain, made = deployed(tmp_path, source), deployed(tmp_path, source, "strip_resize")
    assert "Resize" in operators(plain)
    assert "Resize" not in operators(made)
    assert made.signature.outputs[0].shape == (1, 5, SIDE // 4, SIDE // 4)
    with (
        modelport.load(plain.path, threads=1) as one,
        modelport.load(made.path, threads=1) as other,
    ):
        for side, most in (((SIDE, SIDE), 0.001), ((90, 70), 0.02), ((200, 130), 0.02)):
            for seed in range(3):
                mine, theirs = (each(picture(seed, side)) for each in (one, other))
                assert len(mine.classes) > 1
                assert mine.labels.shape == theirs.labels.shape == side[::-1]
                assert (mine.labels != theirs.labels).mean() < most


@pytest.mark.parametrize(
    ("how", "parameters", "reason"),
    [
        ({"align_corners": True}, {}, "and not linear and half_pixel"),
        ({"mode": "nearest"}, {}, "has mode=nearest"),
        ({}, {"resize": "labels"}, "does not enlarge the scores as the Resize does"),
        ({}, {"gives": "labels"}, "set gives=scores, or strip_argmax first"),
    ],
)
def test_resizes_that_stay(
    how: dict[str, Any], parameters: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        deployed(tmp_path, segmenter(Enlarging(**how), **parameters), "strip_resize")


@pytest.mark.parametrize(
    ("edit", "changes", "reason"),
    [
        ("strip_sigmoid", {"activation": "sigmoid"}, "takes the sigmoid of the scores itself"),
        ("strip_transpose", {"arrangement": "columns"}, "no output stands in rows"),
        ("strip_argmax", {}, "set gives=labels"),
    ],
)
def test_what_cannot_be_done(
    edit: str, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        deployed(tmp_path, detector(ScoresLast("rows"), **changes), edit)
