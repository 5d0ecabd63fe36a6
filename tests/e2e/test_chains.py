"""Detect, then classify: YOLOX-Nano finds things in photos, and MobileNetV2 names each crop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import modelport
from modelport import transforms
from modelport.runtime.pipeline import Crops, Pipeline, Stage
from support import ROOT, shared_model

LABELS = [f"class {index}" for index in range(80)]
LABELS[0], LABELS[15], LABELS[16] = "person", "cat", "dog"
CATS = range(281, 288)
"""Classes of ImageNet, from the tabby to the lynx."""


@pytest.fixture(scope="module")
def photos() -> list[Path]:
    folder = ROOT.parent / "shared" / "data" / "images"
    if not folder.is_dir():
        pytest.skip(f"there are no photos in {folder.parent.name}/{folder.name}")
    return sorted(folder.glob("*.jpg"))[:6]


@pytest.fixture(scope="module")
def chain(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    pytest.importorskip("cv2", reason="OpenCV is not installed, which YOLOX resizes with")
    folder = tmp_path_factory.mktemp("chain")
    finder = modelport.Source(
        model=shared_model("yolox_nano.onnx"),
        transforms=[
            transforms.Decode(colour="bgr"),
            transforms.Letterbox(416, anchor="top_left", rounding="floor"),
            transforms.Layout(),
        ],
        task="detection",
        parameters={"preset": "yolox", "threshold": 0.3, "nms": {"iou": 0.45}},
        labels=LABELS,
    )
    modelport.deploy(
        finder, output=folder / "finder", engines=["onnxruntime"], precisions=["fp32"], threads=1,
        report=False,
    )  # fmt: skip
    modelport.deploy(
        f"{ROOT / 'examples' / 'mobilenet_v2.py'}:build",
        output=folder / "namer",
        weights=demo_data / "mobilenet_v2.pth",
        labels=demo_data / "labels.txt",
        engines=["onnxruntime"],
        precisions=["fp32"],
        threads=1,
        report=False,
    )
    crops = Crops("things", scale=1.1, min_score=0.4)
    stages = [
        Stage("things", folder / "finder"),
        Stage("kind", folder / "namer", crops),
        Stage("scene", folder / "namer"),
    ]
    with Pipeline(stages, threads=1, name="things and their kinds") as pipeline:
        yield pipeline


def test_a_cat_is_found_and_named(chain: Pipeline, demo_data: Path) -> None:
    found = chain(demo_data / "calibration" / "chelsea.png")
    cats = [part for part in found.each("things") if part.thing.label == "cat"]
    assert len(cats) == 1
    assert cats[0]["kind"].index in CATS
    assert "cat 0." in chain.describe(found)
    assert found["scene"].index in CATS


def test_each_crop_is_named_as_if_it_were_a_photo(chain: Pipeline, photos: list[Path]) -> None:
    """The crop is made here by hand, and the classifier called on it alone."""
    namer = chain.steps[1].predictor
    named = 0
    for photo, found in zip(photos, chain(photos), strict=True):
        image = Image.open(photo).convert("RGB")
        assert isinstance(found, modelport.runtime.pipeline.Chained)
        for part in found.each("things"):
            assert ("kind" in part) == (part.thing.score >= 0.4)
            if "kind" not in part:
                continue
            left, top, right, bottom = part.thing.box
            wide, high = (right - left) * 0.05, (bottom - top) * 0.05
            edges = [left - wide, top - high, right + wide, bottom + high]
            low = np.floor(edges[:2]).clip(0)
            far = np.ceil(edges[2:]).clip(None, image.size)
            alone = namer(image.crop((*low.astype(int), *far.astype(int))))
            assert part["kind"].label == alone.label
            assert part["kind"].score == pytest.approx(alone.score, abs=1e-4)
            named += 1
        assert found["scene"].label == namer(photo).label
    assert named >= 10


def test_places_are_those_of_the_detector_alone(chain: Pipeline, photos: list[Path]) -> None:
    finder = chain.steps[0].predictor
    for photo, found in zip(photos, chain(photos), strict=True):
        assert found["things"] == finder(photo)  # type: ignore[index]
