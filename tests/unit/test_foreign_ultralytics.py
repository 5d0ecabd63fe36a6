"""Exports of Ultralytics, opened by their metadata; expected values from OpenCV, PIL and numpy alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

import modelport
from foreign_files import NAMES, ultralytics_metadata, write_classifier, write_rows
from modelport.errors import BundleFormatError, ModelportError
from modelport.runtime.foreign import opener_of
from modelport.types import Array
from support import picture

SIZES = ((48, 40), (40, 90), (64, 64), (301, 120))


def letterboxed(image: Image.Image, wide: int, high: int, stride: int | None = None) -> Array:
    """The picture in the middle of grey 114, as 1 x 3 x height x width from 0 to 1."""
    width, height = image.size
    ratio = min(high / height, wide / width)
    inner = (round(width * ratio), round(height * ratio))
    across, down = wide - inner[0], high - inner[1]
    if stride is not None:
        across, down = across % stride, down % stride
    left, top = round(across / 2 - 0.1), round(down / 2 - 0.1)
    pixels = np.asarray(image)
    if inner != image.size:
        pixels = np.asarray(cv2.resize(pixels, inner, interpolation=cv2.INTER_LINEAR))
    bordered = cv2.copyMakeBorder(
        pixels, top, down - top, left, across - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )
    return np.ascontiguousarray(bordered.transpose(2, 0, 1)[None], np.float32) / 255


def run(path: Path, tensor: Array) -> list[Array]:
    session = onnxruntime.InferenceSession(str(path))
    found: list[Array] = session.run(None, {session.get_inputs()[0].name: tensor})
    return found


def suppressed(boxes: Array, scores: Array, classes: Array, limit: float) -> list[int]:
    """Greedy suppression of overlapping boxes of one class, best first."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable").tolist():
        same = [other for other in kept if classes[other] == classes[index]]
        if all(overlap(boxes[index], boxes[other]) <= limit for other in same):
            kept.append(index)
    return kept


def overlap(one: Array, two: Array) -> float:
    sides = np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])
    common = float(np.prod(sides.clip(0)))
    both = float(np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2]))
    return common / (both - common)


def placed(boxes: Array, image: Image.Image, wide: int, high: int) -> Array:
    """From the letterbox back to the picture."""
    width, height = image.size
    ratio = min(high / height, wide / width)
    inner = (round(width * ratio), round(height * ratio))
    left, top = round((wide - inner[0]) / 2 - 0.1), round((high - inner[1]) / 2 - 0.1)
    moved = boxes - np.tile([left, top], 2)
    return (moved / np.tile([inner[0] / width, inner[1] / height], 2)).clip(
        0, np.tile([width, height], 2)
    )


DETECTOR = [("Sigmoid", 64, 0)] * 2 + [("Sigmoid", 30, 10)] * 2 + [("Sigmoid", 1, 0)] * len(NAMES)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("yolo") / "yolo11n.onnx"
    return write_rows(path, DETECTOR, metadata=ultralytics_metadata("detect"))


@pytest.mark.parametrize("size", SIZES)
def test_a_detector(size: tuple[int, int], detector: Path) -> None:
    image = picture(21, size)
    rows = run(detector, letterboxed(image, 64, 64))[0][0].T
    classes, scores = rows[:, 4:].argmax(1), rows[:, 4:].max(1)
    passed = scores > 0.25
    centres, sides = rows[passed, :2], rows[passed, 2:4]
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], 1)
    kept = suppressed(boxes, scores[passed], classes[passed], 0.7)
    with modelport.load(detector) as predictor:
        found = predictor(image)
    assert len(found) == len(kept) > 3
    assert [each.label for each in found.objects] == [NAMES[n] for n in classes[passed][kept]]
    np.testing.assert_allclose(found.boxes, placed(boxes[kept], image, 64, 64), atol=2e-3)
    got = [each.score for each in found.objects]
    np.testing.assert_allclose(got, scores[passed][kept], atol=1e-5)


def test_what_the_metadata_says_is_in_the_manifest(detector: Path) -> None:
    with modelport.load(detector) as predictor:
        manifest = predictor.bundle.manifest
    assert manifest.labels == NAMES
    assert manifest.provenance.exporter == "Ultralytics 8.3.100"
    assert manifest.licence == "AGPL-3.0 License (https://ultralytics.com/license)"
    assert manifest.task.parameters == {"preset": "yolov8"}
    assert [step["kind"] for step in manifest.transforms] == [
        "decode", "letterbox", "normalize", "layout",
    ]  # fmt: skip
    assert manifest.provenance.notes == ()


def test_free_sizes_fill_only_the_last_stride(tmp_path: Path) -> None:
    metadata = ultralytics_metadata(
        "detect", imgsz=[64, 64], args={"dynamic": True}, stride=16, batch=1
    )
    path = write_rows(tmp_path / "net.onnx", DETECTOR, size="height,width", metadata=metadata)
    image = picture(22, (100, 40))
    rows = run(path, letterboxed(image, 64, 64, stride=16))[0][0].T
    with modelport.load(path) as predictor:
        assert predictor.preprocessor is not None
        assert predictor.preprocessor(image).shape == (1, 3, 32, 64)
        found = predictor(image)
    assert found.objects[0].score == pytest.approx(rows[:, 4:].max(), abs=1e-5)


@pytest.mark.parametrize("how", ["end2end", "nms"])
def test_final_boxes(how: str, tmp_path: Path) -> None:
    more: dict[str, Any] = {"end2end": True} if how == "end2end" else {"args": {"nms": True}}
    channels = [("Sigmoid", 30, 0)] * 2 + [("Sigmoid", 30, 32)] * 2 + [("Sigmoid", 1, 0)]
    path = write_rows(
        tmp_path / "net.onnx", [*channels, ("Identity", 0, 3)], columns=False,
        metadata=ultralytics_metadata("detect", **more),
    )  # fmt: skip
    image = picture(23, (80, 60))
    rows = run(path, letterboxed(image, 64, 64))[0][0]
    rows = rows[rows[:, 4] > 0.25]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    with modelport.load(path) as predictor:
        found = predictor(image)
    assert len(found) == len(rows) > 3
    assert {each.label for each in found.objects} == {NAMES[3]}
    np.testing.assert_allclose(found.boxes, placed(rows[:, :4], image, 64, 64), atol=2e-3)


def test_files_of_yolov5_have_names_and_stride_alone(tmp_path: Path) -> None:
    metadata = {"stride": "32", "names": str(dict(enumerate(NAMES)))}
    channels = [*DETECTOR[:4], ("Sigmoid", 1, 0), *DETECTOR[4:]]
    path = write_rows(tmp_path / "v5.onnx", channels, columns=False, metadata=metadata)
    image = picture(24, (64, 50))
    rows = run(path, letterboxed(image, 64, 64))[0][0]
    scores = rows[:, 4] * rows[:, 5:].max(1)
    with modelport.load(path) as predictor:
        found = predictor(image)
    assert found.objects[0].score == pytest.approx(scores.max(), abs=1e-5)
    assert found.objects[0].index == rows[scores.argmax(), 5:].argmax()


@pytest.mark.parametrize("size", SIZES)
def test_a_classifier(size: tuple[int, int], tmp_path: Path) -> None:
    path = write_classifier(
        tmp_path / "cls.onnx", softmax=True, input_name="images", output_name="output0",
        metadata=ultralytics_metadata("classify", imgsz=[32, 32]),
    )  # fmt: skip
    image = picture(25, size)
    width, height = size
    wide = 32 if width <= height else int(32 * width / height)
    high = 32 if height <= width else int(32 * height / width)
    left, top = round((wide - 32) / 2), round((high - 32) / 2)
    shrunk = image.resize((wide, high), Image.Resampling.BILINEAR)
    pixels = np.asarray(shrunk.crop((left, top, left + 32, top + 32)), np.float32) / 255
    scores = run(path, np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))[0][0]
    with modelport.load(path) as predictor:
        answer = predictor(image)
    assert [each.index for each in answer.classes] == np.argsort(-scores).tolist()
    assert answer.score == pytest.approx(scores.max(), abs=2e-3)
    assert answer.label == NAMES[answer.index]


def test_grey_models_see_grey(tmp_path: Path) -> None:
    path = write_classifier(
        tmp_path / "grey.onnx", softmax=True, channels=1,
        metadata=ultralytics_metadata("classify", imgsz=32, channels=1),
    )  # fmt: skip
    image = picture(26, (32, 32))
    grey = np.asarray(image.convert("L"), np.float32)[None, None] / 255
    with modelport.load(path) as predictor:
        assert predictor(image).score == pytest.approx(run(path, grey)[0].max(), abs=1e-5)


def test_turned_boxes(tmp_path: Path) -> None:
    channels = [*DETECTOR, ("Sigmoid", np.pi, -np.pi / 4)]
    path = write_rows(tmp_path / "obb.onnx", channels, metadata=ultralytics_metadata("obb"))
    image = picture(27, (64, 64))
    rows = run(path, letterboxed(image, 64, 64))[0][0].T
    best = rows[rows[:, 4:9].max(1).argmax()]
    with modelport.load(path) as predictor:
        first = predictor(image).objects[0]
    assert first.index == best[4:9].argmax()
    assert first.score == pytest.approx(best[4:9].max(), abs=1e-5)
    np.testing.assert_allclose(first.centre, best[:2], atol=1e-3)
    width, height, angle = best[2], best[3], best[9]
    across = np.array([np.cos(angle), np.sin(angle)]) * width / 2
    down = np.array([-np.sin(angle), np.cos(angle)]) * height / 2
    expected = [best[:2] + a * across + b * down for a in (-1, 1) for b in (-1, 1)]
    found = sorted(map(tuple, first.corners.round(2)))
    np.testing.assert_allclose(found, sorted(map(tuple, np.round(expected, 2))), atol=0.02)


def test_masks(tmp_path: Path) -> None:
    """Three prototypes of 4 x 4 cells, which each object mixes."""
    channels = [*DETECTOR, *[("Identity", 1.0, 0.0)] * 3]
    path = write_rows(
        tmp_path / "seg.onnx", channels, metadata=ultralytics_metadata("segment"),
        more="output1 = Slice(a, starts, ends, axes)", outputs=", float[1,3,4,4] output1",
        extra={"starts": np.array([9], np.int64), "ends": np.array([12], np.int64),
               "axes": np.array([1], np.int64)},
    )  # fmt: skip
    image = picture(28, (64, 64))
    given = run(path, letterboxed(image, 64, 64))
    rows, prototypes = given[0][0].T, given[1][0]
    best = rows[rows[:, 4:9].max(1).argmax()]
    planes = np.tensordot(best[9:], prototypes, 1).astype(np.float32)
    whole = cv2.resize(planes, (64, 64), interpolation=cv2.INTER_LINEAR) > 0
    left, top = best[:2] - best[2:4] / 2
    right, bottom = best[:2] + best[2:4] / 2
    y, x = np.mgrid[:64, :64] + 0.5
    whole &= (x > left) & (x < right) & (y > top) & (y < bottom)
    with modelport.load(path) as predictor:
        first = predictor(image).objects[0]
    assert first.index == best[4:9].argmax()
    assert whole.any()
    both = (first.mask & whole).sum() / max(1, (first.mask | whole).sum())
    assert both > 0.9


@pytest.mark.parametrize("numbers", [2, 3])
@pytest.mark.parametrize("final", [False, True], ids=["raw", "final"])
def test_keypoints(numbers: int, final: bool, tmp_path: Path) -> None:
    point = [("Sigmoid", 64, 0), ("Sigmoid", 64, 0), ("Sigmoid", 1, 0)][:numbers]
    corners = [("Sigmoid", 20, 0)] * 2 + [("Sigmoid", 20, 40)] * 2
    rows = [*corners, ("Sigmoid", 1, 0), ("Identity", 0, 0)] if final else DETECTOR[:5]
    metadata = ultralytics_metadata("pose", ["person"], kpt_shape=[4, numbers], end2end=final)
    path = write_rows(
        tmp_path / "pose.onnx", [*rows, *point * 4], columns=not final, metadata=metadata
    )
    image = picture(29, (64, 64))
    given = run(path, letterboxed(image, 64, 64))[0][0]
    table = given if final else given.T
    best = table[table[:, 4].argmax()]
    points = best[6 if final else 5 :].reshape(4, numbers)
    with modelport.load(path) as predictor:
        first = predictor(image).objects[0]
    assert first.score == pytest.approx(best[4], abs=1e-5)
    np.testing.assert_allclose(first.points, points[:, :2], atol=1e-3)
    if numbers == 3:
        np.testing.assert_allclose(first.scores, points[:, 2], atol=1e-5)
    box = (
        best[:4] if final else np.concatenate([best[:2] - best[2:4] / 2, best[:2] + best[2:4] / 2])
    )
    np.testing.assert_allclose(first.box, box.clip(0, 64), atol=1e-3)


def test_other_files_are_not_claimed(tmp_path: Path) -> None:
    plain = write_classifier(tmp_path / "a.onnx", metadata={"names": "{}"})
    opener = opener_of(plain)
    assert opener is not None
    assert opener.name == "onnx"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "juggle"}, "the task 'juggle' has no counterpart in modelport"),
        ({"names": "import os"}, "names is 'import os'"),
        ({"names": "{0: 'a', 7: 'b'}"}, "names is {0: 'a', 7: 'b'}. Expected a name for each"),
        ({"names": "[" * 5000}, "names is '[["),
        ({"names": "__import__('os').system('true')"}, "names is \"__import__"),
        ({"names": "{0: 'ant', 1: 'bee'}"}, "three dimensions with 6 channels on axis 1"),
        ({"names": "3"}, "names is 3"),
        ({"stride": "'wide'"}, "stride is text"),
        ({"stride": "-3"}, "stride is -3"),
        ({"imgsz": "[0, 64]"}, "imgsz is [0, 64]"),
        ({"imgsz": "[1, 2, 3]"}, "imgsz is [1, 2, 3]"),
        ({"channels": "7"}, "takes pictures of 7 channels"),
        ({"kpt_shape": "[17]"}, "kpt_shape is [17]"),
        ({"task": "pose"}, "the metadata has no kpt_shape"),
        ({"task": "pose", "kpt_shape": "[4, 3]"}, "three dimensions with 21 channels on axis 1"),
        ({"task": "segment"}, "a second output of prototypes"),
        ({"task": "obb"}, "three dimensions with 10 channels on axis 1"),
        ({"task": "obb", "end2end": "True"}, "gives final turned boxes"),
        ({"end2end": "1"}, "end2end is the number 1"),
        ({"args": "[]"}, "args is a list. Expected an object"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_meant(changes: dict[str, str], said: str, tmp_path: Path) -> None:
    metadata = {**ultralytics_metadata("detect"), **changes}
    path = write_rows(tmp_path / "net.onnx", DETECTOR, metadata=metadata)
    with pytest.raises(ModelportError) as caught:
        modelport.load(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classifiers_of_oblong_pictures_are_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "net.onnx", DETECTOR, size="32,64",
                      metadata=ultralytics_metadata("classify"))  # fmt: skip
    with pytest.raises(BundleFormatError, match="a classifier of 32x64 pictures"):
        modelport.load(path)
