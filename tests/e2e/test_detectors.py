"""Detectors: real weights on photos, and libraries' own decoding of the same outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import modelport
from modelport import transforms
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.detection import Detections
from support import ROOT, shared_model

Array = np.ndarray[Any, Any]
PHOTOS = ROOT.parent / "shared" / "data" / "images"
COCO = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign "
    "parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella "
    "handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove "
    "skateboard surfboard tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple "
    "sandwich orange broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed "
    "dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink "
    "refrigerator book clock vase scissors teddy_bear hair_drier toothbrush"
).replace("_", "\n").split(" ")  # fmt: skip
LABELS = [name.replace("\n", " ") for name in COCO]


@pytest.fixture(scope="module")
def photos() -> list[Path]:
    if not PHOTOS.is_dir():
        pytest.skip(f"there are no photos in {PHOTOS.parent.name}/{PHOTOS.name}")
    return sorted(PHOTOS.glob("*.jpg"))[:12]


@pytest.fixture(scope="module")
def yolox(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Predictor:
    """YOLOX-Nano as a bundle."""
    pytest.importorskip("cv2", reason="OpenCV is not installed, which YOLOX resizes with")
    source = modelport.Source(
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
    bundle = modelport.deploy(
        source,
        output=tmp_path_factory.mktemp("bundles") / "yolox",
        calibration=photos[0].parent,
        engines=["onnxruntime"],
        precisions=["fp32"],
        threads=1,
        report=False,
    )
    return Predictor(bundle, threads=1)


def by_hand(session: Any, photo: Path) -> list[tuple[int, float, list[float]]]:
    """Class, score and box of each object, as a script with OpenCV and numpy would find them."""
    import cv2

    image = cv2.imread(str(photo), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    high, wide = image.shape[:2]
    ratio = min(416 / high, 416 / wide)
    inner = int(wide * ratio), int(high * ratio)
    canvas = np.full((416, 416, 3), 114, np.uint8)
    canvas[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    tensor = np.ascontiguousarray(canvas.transpose(2, 0, 1), dtype=np.float32)[None]
    (raw,) = session.run(None, {"images": tensor})
    cells = [
        (column, row, stride)
        for stride in (8, 16, 32)
        for row in range(416 // stride)
        for column in range(416 // stride)
    ]
    found = []
    for numbers, (column, row, stride) in zip(raw[0], cells, strict=True):
        scores = numbers[5:] * numbers[4]
        best = int(scores.argmax())
        if scores[best] <= 0.3:
            continue
        x, y = (numbers[0] + column) * stride, (numbers[1] + row) * stride
        w, h = np.exp(numbers[2]) * stride, np.exp(numbers[3]) * stride
        found.append((best, float(scores[best]), [x - w / 2, y - h / 2, w, h]))
    kept = []
    for index in {each[0] for each in found}:
        group = [each for each in found if each[0] == index]
        boxes, scores = [each[2] for each in group], [each[1] for each in group]
        for place in cv2.dnn.NMSBoxes(boxes, scores, 0.3, 0.45):
            kept.append(group[int(place)])
    # Sides were rounded down, so the picture shrank a little differently along each axis.
    across, down = wide / inner[0], high / inner[1]
    placed = [
        (index, score, [x * across, y * down, (x + w) * across, (y + h) * down])
        for index, score, (x, y, w, h) in kept
    ]
    return sorted(
        ((i, s, np.clip(box, 0, [wide, high, wide, high]).tolist()) for i, s, box in placed),
        key=lambda each: -each[1],
    )


def test_yolox_finds_what_a_script_by_hand_finds(yolox: Predictor, photos: list[Path]) -> None:
    session = onnxruntime.InferenceSession(shared_model("yolox_nano.onnx"))
    total = 0
    for photo in photos:
        result = yolox(photo)
        assert isinstance(result, Detections)
        wanted = by_hand(session, photo)
        assert [each.index for each in result.objects] == [index for index, _, _ in wanted], photo
        np.testing.assert_allclose(
            [each.score for each in result.objects], [score for _, score, _ in wanted], atol=2e-3
        )
        boxes = np.reshape([box for _, _, box in wanted], (-1, 4))
        np.testing.assert_allclose(result.boxes, boxes, atol=0.5)
        total += len(wanted)
    assert total >= 25, "photos with so few objects prove little"


def test_yolox_names_what_is_there(yolox: Predictor, photos: list[Path]) -> None:
    bear = yolox(PHOTOS / "000000000285.jpg")
    assert bear.objects[0].label == "bear"
    left, top, right, bottom = bear.objects[0].box
    assert (right - left) * (bottom - top) > 0.5 * 586 * 640, "it fills most of the picture"
    assert yolox.task.describe(bear).startswith("1 object: bear 0.")


def test_yolox_says_everything_in_its_manifest(yolox: Predictor) -> None:
    entry = yolox.bundle.manifest.task
    assert "preset" not in entry.parameters, "what it means could change with the code"
    again = yolox.task.parameters(entry.parameters)
    assert again.priors.strides == (8, 16, 32)
    assert again.threshold == 0.3
