"""Model folders of MMDeploy's SDK: their transforms and heads, against OpenCV and ONNX Runtime alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image

import modelport
from foreign_files import (
    CLASSIFIER_HEAD,
    CLASSIFIER_STEPS,
    write_classifier,
    write_json,
    write_mmdeploy,
    write_onnx,
    write_rows,
)
from modelport.errors import BundleError, BundleFormatError
from modelport.runtime.foreign.folder import Fields
from modelport.runtime.foreign.mmdeploy.steps import transforms_of
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import Array, Signature, TensorSpec
from support import picture

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
NORMALIZE = {"type": "Normalize", "mean": list(MEAN), "std": list(STD), "to_rgb": True}
LOAD = {"type": "LoadImageFromFile"}
END = [{"type": "DefaultFormatBundle"}, {"type": "Collect", "keys": ["img"]}]
SIZES = ((48, 40), (40, 48), (97, 33), (64, 64), (300, 201))


def bgr(image: Image.Image) -> Array:
    return np.asarray(image)[:, :, ::-1]


def numbers(pixels: Array, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Array:
    """Of RGB pixels, channels first, with a batch axis."""
    found = (pixels.astype(np.float64) - np.array(mean)) / np.array(std)
    return found.transpose(2, 0, 1)[None].astype(np.float32)


def run(path: Path, tensor: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(str(path))
    names = [value.name for value in session.get_outputs()]
    found = session.run(names, {session.get_inputs()[0].name: np.ascontiguousarray(tensor)})
    return dict(zip(names, found, strict=True))


def prepared(
    steps: Sequence[Mapping[str, Any]], image: Image.Image, dtype: str = "float32"
) -> Array:
    task = Fields({"transforms": list(steps)}, "pipeline.json")
    signature = Signature((TensorSpec("input", dtype, (1, 3, 8, 8)),), ())
    transforms, _ = transforms_of(task, signature, Path("folder"))
    return PicturePreprocessor(transforms)(image)


# --- transforms ---------------------------------------------------------------------------------


def resized(image: Image.Image, width: int, height: int, how: int = cv2.INTER_LINEAR) -> Array:
    return np.asarray(cv2.resize(np.asarray(image), (width, height), interpolation=how))


def keeping(image: Image.Image, wide: int, high: int) -> tuple[int, int]:
    """Width and height as MMCV's `Resize(keep_ratio=True)` computes them."""
    width, height = image.size
    long, short = max(wide, high), min(wide, high)
    factor = min(long / max(width, height), short / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("wide", "high"), [(64, 64), (133, 80), (80, 133)], ids=["square", "lying", "standing"]
)
def test_keep_ratio_and_a_divisor(size: tuple[int, int], wide: int, high: int) -> None:
    image = picture(3, size)
    resize = {"type": "Resize", "size": [wide, high], "keep_ratio": True}
    pad = {"type": "Pad", "size_divisor": 32}
    found = prepared([LOAD, resize, NORMALIZE, pad, *END], image)
    plain = numbers(resized(image, *keeping(image, wide, high)))
    height, width = plain.shape[2:]
    expected = np.pad(plain, ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_padded_before_they_are_normalised(size: tuple[int, int]) -> None:
    image = picture(4, size)
    steps = [
        LOAD,
        {"type": "Resize", "size": [64, 64], "keep_ratio": True},
        {"type": "Pad", "size": [64, 64], "pad_val": {"img": [114, 114, 114]}},
        {"type": "Normalize", "mean": [0, 0, 0], "std": [1, 1, 1], "to_rgb": False},
        {"type": "Pad", "size_divisor": 1},
        *END,
    ]
    width, height = keeping(image, 64, 64)
    expected = np.full((64, 64, 3), 114, np.uint8)
    expected[:height, :width] = resized(image, width, height)[:, :, ::-1]
    np.testing.assert_array_equal(prepared(steps, image)[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize(
    ("fields", "how"),
    [
        ({"interpolation": "nearest"}, cv2.INTER_NEAREST),
        ({}, cv2.INTER_LINEAR),
        ({"interpolation": "bicubic"}, cv2.INTER_CUBIC),
        ({"interpolation": "area"}, cv2.INTER_AREA),
        ({"interpolation": "lanczos"}, cv2.INTER_LANCZOS4),
        ({"interpolation": "bicubic", "backend": "pillow"}, Image.Resampling.BICUBIC),
    ],
)
def test_every_way_to_resize(fields: dict[str, str], how: Any) -> None:
    image = picture(5, (70, 50))
    resize = {"type": "mmdet.Resize", "size": [33, 47], "keep_ratio": False, **fields}
    found = prepared([LOAD, resize, *END], image)
    by_pil = "backend" in fields
    expected = np.asarray(image.resize((33, 47), how)) if by_pil else resized(image, 33, 47, how)
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), expected[:, :, ::-1])


@pytest.mark.parametrize("size", SIZES)
def test_the_letterbox_of_mmyolo(size: tuple[int, int]) -> None:
    image = picture(6, size)
    step = {"type": "LetterResize", "scale": [64, 48], "pad_val": {"img": 114}}
    width, height = image.size
    ratio = min(48 / height, 64 / width)
    wide, high = round(width * ratio), round(height * ratio)
    left, top = round((64 - wide) // 2 - 0.1), round((48 - high) // 2 - 0.1)
    expected = np.full((48, 64, 3), 114, np.uint8)
    expected[top : top + high, left : left + wide] = resized(image, wide, high)
    found = prepared([LOAD, step, {**NORMALIZE, "mean": [0] * 3, "std": [1] * 3}, *END], image)
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize(("colour", "channels"), [("color", 3), ("grayscale", 1)])
def test_colours_and_element_types(colour: str, channels: int) -> None:
    image = picture(7, (32, 20))
    found = prepared([{**LOAD, "color_type": colour}, *END], image, "uint8")
    assert found.dtype == np.uint8
    assert found.shape == (1, channels, 20, 32)
    expected = bgr(image) if channels == 3 else np.asarray(image.convert("L"))[..., None]
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), expected)


def test_pictures_are_turned_as_opencv_turns_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(8).save(tmp_path / "turned.png", exif=exif)
    for kind, flag in (
        ("color", cv2.IMREAD_COLOR),
        ("color_ignore_orientation", cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION),
    ):
        task = Fields({"transforms": [{**LOAD, "color_type": kind}, *END]}, "p")
        signature = Signature((TensorSpec("input", "uint8", (1, 3, 8, 8)),), ())
        steps, _ = transforms_of(task, signature, tmp_path)
        found = PicturePreprocessor(steps)(tmp_path / "turned.png")[0].transpose(1, 2, 0)
        read = cv2.imread(str(tmp_path / "turned.png"), flag)
        np.testing.assert_array_equal(found, np.asarray(read))


@pytest.mark.parametrize(("width", "expected"), [(31, 32), (100, 112), (200, 208)])
def test_lines_of_text_keep_their_ratio(width: int, expected: int) -> None:
    step = {"type": "RescaleToHeight", "height": 32, "min_width": 32, "max_width": None,
            "width_divisor": 16}  # fmt: skip
    image = picture(9, (width, 30))
    found = prepared([LOAD, step, NORMALIZE, *END], image)
    np.testing.assert_allclose(found, numbers(resized(image, expected, 32)), atol=1e-4)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "TenCrop", "crop_size": 8}, "the transform TenCrop has no counterpart"),
    ({"type": "Lift", "transforms": []}, "the transform Lift has no counterpart"),
    ({"type": "Resize", "size": "large"}, "size is 'large'. Expected one or two whole numbers"),
    ({"type": "Resize", "size": [0, 5]}, "greater than 0"),
    ({"type": "Resize"}, "scale is None"),
    ({"type": "Resize", "size": 8, "interpolation": "magic"}, "interpolation is 'magic'"),
    ({"type": "Pad", "logical_or_val": 127}, "logical_or_val is 127"),
    ({"type": "Pad", "size_divisor": 8, "pad_val": [1, 2, 3]}, "pad_val is [1, 2, 3]"),
    ({"type": "Pad", "size_divisor": 8, "pad_val": 400}, "less than or equal to 255"),
    ({"type": "Normalize", "mean": [0], "std": "x"}, "std is text. Expected a list"),
    ({"type": "Normalize", "mean": [1, 1, 1], "std": [0, 1, 1]}, "greater than 0"),
    ({"type": "CenterCrop"}, "crop_size is None"),
    ({"type": "LoadImageFromFile", "color_type": "unchanged"}, "color_type is 'unchanged'"),
    ({"size": 3}, "has no 'type'"),
    (
        {"type": "RescaleToHeight", "height": 32, "min_width": 8, "max_width": 64},
        "max_width is 64",
    ),
]


@pytest.mark.parametrize(("step", "said"), REFUSED)
def test_what_has_no_counterpart_is_named(step: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        prepared([LOAD, step, *END], picture(1))
    assert str(caught.value).startswith("pipeline.json: transforms[1]")
    assert said in str(caught.value)


def test_resizes_of_normalised_numbers_are_refused() -> None:
    with pytest.raises(BundleFormatError, match="Resize stands behind Normalize"):
        prepared([LOAD, NORMALIZE, {"type": "Resize", "size": 8}, *END], picture(1))


# --- classification -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_mmdeploy(tmp_path_factory.mktemp("mmdeploy") / "resnet")
    write_classifier(folder / "end2end.onnx", softmax=True)
    return folder


def expected_scores(folder: Path, image: Image.Image) -> Array:
    """As the SDK does: the shorter edge, the middle, colours, numbers."""
    pixels = bgr(image)
    height, width = pixels.shape[:2]
    wide = 36 if width < height else 36 * width // height
    high = 36 if width >= height else 36 * height // width
    pixels = np.asarray(cv2.resize(pixels, (wide, high), interpolation=cv2.INTER_LINEAR))
    left, top = round((wide - 32) / 2), round((high - 32) / 2)
    pixels = pixels[top : top + 32, left : left + 32]
    return run(folder / "end2end.onnx", numbers(pixels[:, :, ::-1]))["output"][0]


def test_a_classifier_answers_as_the_sdk_does(classifier: Path) -> None:
    tops = set()
    with modelport.load(classifier) as predictor:
        for seed in range(8):
            image = picture(seed, SIZES[seed % len(SIZES)])
            answer = predictor(image)
            scores = expected_scores(classifier, image)
            assert [each.index for each in answer.classes] == np.argsort(-scores).tolist()
            for each in answer.classes:
                assert each.score == pytest.approx(scores[each.index], abs=1e-5)
            tops.add(answer.index)
    assert len(tops) > 1


def test_what_the_folder_says_is_in_the_manifest(classifier: Path) -> None:
    with modelport.load(classifier) as predictor:
        manifest = predictor.bundle.manifest
    assert manifest.name == "resnet"
    assert manifest.provenance.exporter == "MMDeploy 1.3.1"
    assert manifest.provenance.notes == (
        "MMDeploy writes no class names: put a file labels.txt with one a line into the folder",
        "made from mmpretrain 1.2.0 resnet18_8xb32_in1k.py",
    )
    assert [step["kind"] for step in manifest.transforms] == [
        "decode", "resize", "center_crop", "normalize", "layout",
    ]  # fmt: skip


def test_labels_may_lie_beside_it(classifier: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classifier, tmp_path / "own"))
    (folder / "labels.txt").write_text("ant\nbee\ncat\ndog\neel\n", encoding="utf-8")
    with modelport.load(folder) as predictor:
        answer = predictor(picture(1))
    assert answer.label == ("ant", "bee", "cat", "dog", "eel")[answer.index]


def test_logits_where_the_head_says_softmax(tmp_path: Path) -> None:
    head = {**CLASSIFIER_HEAD, "params": {"topk": 3, "softmax": True}}
    folder = write_mmdeploy(tmp_path / "net", head=head)
    write_classifier(folder / "end2end.onnx")
    logits = expected_scores(folder, picture(2)).astype(np.float64)
    powers = np.exp(logits - logits.max())
    with modelport.load(folder) as predictor:
        answer = predictor(picture(2))
    assert len(answer.classes) == 3
    assert answer.score == pytest.approx((powers / powers.sum()).max(), abs=1e-6)


def test_several_labels(tmp_path: Path) -> None:
    head = {**CLASSIFIER_HEAD, "component": "MultiLabelLinearClsHead",
            "params": {"num_classes": 5, "thr": 0.2}}  # fmt: skip
    folder = write_mmdeploy(tmp_path / "net", head=head)
    write_classifier(folder / "end2end.onnx", softmax=True, gain=0.5)
    scores = expected_scores(folder, picture(2))
    with modelport.load(folder) as predictor:
        found = {each.index for each in predictor(picture(2)).classes}
    assert found == set(np.flatnonzero(scores >= 0.2).tolist())
    assert 0 < len(found) < 5


# --- detection ----------------------------------------------------------------------------------


def write_detector(path: Path) -> Path:
    """`dets` of corners and a score, in cells, and `labels`: the channel of the largest number."""
    return write_rows(
        path,
        [("Sigmoid", 20, 0), ("Sigmoid", 20, 0), ("Sigmoid", 20, 25), ("Sigmoid", 20, 25),
         ("Sigmoid", 1, 0)],
        columns=False,
        size="high,wide",
        name="input",
        output="dets",
        more="labels = ArgMax<axis=2, keepdims=0>(turned)",
        outputs=", int64[1,places] labels",
    )  # fmt: skip


DETECTOR_STEPS = [
    LOAD,
    {"type": "Resize", "size": [133, 80], "keep_ratio": True},
    NORMALIZE,
    {"type": "Pad", "size_divisor": 32},
    *END,
]
DETECTOR_HEAD = {
    "module": "mmdet",
    "component": "ResizeBBox",
    "params": {"score_thr": 0.45, "nms": {"type": "nms"}, "max_per_img": 100, "min_bbox_size": 0},
}


@pytest.mark.parametrize("size", SIZES)
def test_a_detector_answers_as_the_sdk_does(size: tuple[int, int], tmp_path: Path) -> None:
    folder = write_mmdeploy(
        tmp_path / "net", steps=DETECTOR_STEPS, head=DETECTOR_HEAD, task="Detector"
    )
    write_detector(folder / "end2end.onnx")
    image = picture(11, size)
    width, height = keeping(image, 133, 80)
    given = run(folder / "end2end.onnx", padded_detector_input(image))
    dets, labels = given["dets"][0], given["labels"][0]
    kept = dets[:, 4] > 0.45
    boxes = dets[kept, :4] / np.tile([width / size[0], height / size[1]], 2)
    boxes = boxes.clip(0, np.tile(size, 2))
    order = np.argsort(-dets[kept, 4], kind="stable")
    with modelport.load(folder) as predictor:
        found = predictor(image)
    assert 0 < len(found) < len(dets)
    np.testing.assert_allclose(found.boxes, boxes[order], atol=2e-3)
    assert [each.index for each in found.objects] == labels[kept][order].tolist()
    scores = [each.score for each in found.objects]
    np.testing.assert_allclose(scores, dets[kept, 4][order], atol=1e-5)


def test_turned_boxes(tmp_path: Path) -> None:
    head = {"module": "mmrotate", "component": "ResizeRBBox", "params": {"score_thr": 0.4}}
    folder = write_mmdeploy(tmp_path / "net", steps=DETECTOR_STEPS, head=head)
    write_rows(
        folder / "end2end.onnx",
        [("Sigmoid", 60, 0), ("Sigmoid", 60, 0), ("Sigmoid", 9, 12), ("Sigmoid", 9, 2),
         ("Sigmoid", 1.5, -0.7), ("Sigmoid", 1, 0)],
        columns=False, size="high,wide", name="input", output="dets",
        more="labels = ArgMax<axis=2, keepdims=0>(turned)", outputs=", int64[1,places] labels",
    )  # fmt: skip
    image = picture(14, (160, 160))  # half of it goes in
    given = run(folder / "end2end.onnx", padded_detector_input(image))
    dets, labels = given["dets"][0], given["labels"][0]
    best = dets[:, 5].argmax()
    with modelport.load(folder) as predictor:
        found = predictor(image)
    assert len(found) == (dets[:, 5] > 0.4).sum() > 0
    first = found.objects[0]
    np.testing.assert_allclose(first.centre, dets[best, :2] * 2, atol=1e-2)
    np.testing.assert_allclose((first.width, first.height), dets[best, 2:4] * 2, atol=1e-2)
    assert first.angle == pytest.approx(np.degrees(dets[best, 4]), abs=1e-2)
    assert first.index == labels[best]


def padded_detector_input(image: Image.Image) -> Array:
    width, height = keeping(image, 133, 80)
    plain = numbers(resized(image, width, height))
    return np.pad(plain, ((0, 0), (0, 0), (0, -height % 32), (0, -width % 32)))


def test_masks_of_boxes(tmp_path: Path) -> None:
    params = {"score_thr": 0.3, "rcnn": {"score_thr": 0.3}, "mask_thr_binary": 0.5,
              "is_resize_mask": True}  # fmt: skip
    head = {"module": "mmdet", "component": "ResizeInstanceMask", "params": params}
    folder = write_mmdeploy(tmp_path / "net", steps=DETECTOR_STEPS, head=head)
    write_rows(
        folder / "end2end.onnx",
        [("Sigmoid", 20, 0), ("Sigmoid", 20, 0), ("Sigmoid", 20, 45), ("Sigmoid", 20, 45),
         ("Sigmoid", 1, 0)],
        columns=False, size="high,wide", name="input", output="dets",
        more="labels = ArgMax<axis=2, keepdims=0>(turned)\nends = Slice(s, first, second, last)\n"
        "cells = Unsqueeze(ends, last)\nmasks = Mul(cells, pattern)",
        outputs=", int64[1,places] labels, float[1,places,2,2] masks",
        extra={"first": np.array([4], np.int64), "second": np.array([5], np.int64),
               "last": np.array([2], np.int64),
               "pattern": np.array([[1.9, 0.0], [1.9, 0.0]]).reshape(1, 1, 2, 2)},
    )  # fmt: skip
    image = picture(15, (160, 160))
    given = run(folder / "end2end.onnx", padded_detector_input(image))
    best = given["dets"][0][:, 4].argmax()
    left, top, right, bottom = given["dets"][0][best, :4] * 2
    with modelport.load(folder) as predictor:
        first = predictor(image).objects[0]
    mask = first.mask
    assert mask.shape == (160, 160)
    rows, columns = np.nonzero(mask)
    assert rows.min() == pytest.approx(top, abs=2)
    assert rows.max() == pytest.approx(bottom, abs=2)
    assert columns.min() == pytest.approx(left, abs=2)
    assert columns.max() < (left + right) / 2 + (right - left) / 5  # the left half alone


POSE_STEPS = [
    LOAD,
    {"type": "TopDownGetBboxCenterScale", "padding": 1.25, "image_size": [60, 80]},
    {"type": "TopDownAffine", "image_size": [60, 80]},
    NORMALIZE,
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"]},
]


@pytest.mark.parametrize("size", [(60, 80), (45, 120), (200, 90)])
def test_poses_see_the_picture_with_room_around(size: tuple[int, int]) -> None:
    """As MMPose cuts a box out: a quarter more than it, in the aspect ratio of the input."""
    image = picture(16, size)
    width, height = size
    if width > height * 60 / 80:
        wide, high = width, width / (60 / 80)
    else:
        wide, high = height * 60 / 80, height
    wide, high = wide * 1.25, high * 1.25
    matrix = np.array([[60 / wide, 0, 30 - 60 / wide * width / 2],
                       [0, 80 / high, 40 - 80 / high * height / 2]])  # fmt: skip
    # By places from the corner of the first pixel, where OpenCV counts from its middle.
    matrix[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    expected = cv2.warpAffine(np.asarray(image), matrix, (60, 80), flags=cv2.INTER_LINEAR)
    found = prepared([*POSE_STEPS[:3], *END], image)[0].transpose(1, 2, 0)[:, :, ::-1]
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).mean() < 6  # whole pixels of the margin
    black = (expected == 0).all(2)
    assert ((found == 0).all(2) == black).mean() > 0.94


@pytest.mark.parametrize("component", ["TopdownHeatmapSimpleHeadDecode", "SimCCLabelDecode"])
def test_a_pose_is_found_where_the_network_sees_it(component: str, tmp_path: Path) -> None:
    """Networks that answer with the brightness of each channel, so that a bright dot is a keypoint."""
    simcc = component == "SimCCLabelDecode"
    params = (
        {"type": "SimCCLabel", "simcc_split_ratio": 1.0} if simcc else {"post_process": "default"}
    )
    folder = write_mmdeploy(
        tmp_path / "net", steps=POSE_STEPS,
        head={"module": "mmpose", "component": component, "params": params},
    )  # fmt: skip
    if simcc:
        write_onnx(
            folder / "end2end.onnx",
            "simcc_x = ReduceMax<axes=[2], keepdims=0>(input)\n"
            "simcc_y = ReduceMax<axes=[3], keepdims=0>(input)",
            "float[1,3,80,60] input", "float[1,3,60] simcc_x, float[1,3,80] simcc_y", {},
        )  # fmt: skip
    else:
        write_onnx(
            folder / "end2end.onnx",
            "output = AveragePool<kernel_shape=[4,4], strides=[4,4]>(input)",
            "float[1,3,80,60] input", "float[1,3,20,15] output", {},
        )  # fmt: skip
    pixels = np.zeros((160, 120, 3), np.uint8)
    dots = ((30, 40), (90, 50), (60, 130))
    for channel, (x, y) in enumerate(dots):
        pixels[y - 5 : y + 5, x - 5 : x + 5, channel] = 255
    with modelport.load(folder) as predictor:
        (found,) = predictor(Image.fromarray(pixels)).objects
        notes = predictor.bundle.manifest.provenance.notes
    # A cell is ten pixels; of ten equal bins the first is taken.
    np.testing.assert_allclose(found.points, dots, atol=5 if simcc else 8)
    assert any("the whole picture is taken for the one box of a person" in note for note in notes)


# --- segmentation, restoration, text ------------------------------------------------------------

SEGMENTER_STEPS = [
    LOAD,
    {"type": "Resize", "size": [40, 24], "keep_ratio": False},
    NORMALIZE,
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"]},
]


def write_segmenter(path: Path, best: bool) -> Path:
    kernels = np.random.default_rng(4).normal(size=(5, 3, 3, 3))
    last = "output = ArgMax<axis=1>(a)" if best else "output = Softmax<axis=1>(a)"
    kind = "int64[1,1,24,40]" if best else "float[1,5,24,40]"
    return write_onnx(
        path,
        f"a = Conv<pads=[1,1,1,1]>(input, kernels)\n{last}",
        "float[1,3,24,40] input",
        f"{kind} output",
        {"kernels": kernels},
    )


@pytest.mark.parametrize("best", [True, False], ids=["labels", "scores"])
def test_a_segmenter_answers_as_the_sdk_does(best: bool, tmp_path: Path) -> None:
    head = {"module": "mmseg", "component": "ResizeMask",
            "params": {"num_classes": 5, "align_corners": False, "with_argmax": best}}  # fmt: skip
    folder = write_mmdeploy(tmp_path / "net", steps=SEGMENTER_STEPS, head=head, task="Segmentor")
    write_segmenter(folder / "end2end.onnx", best)
    image = picture(12, (61, 53))
    given = run(folder / "end2end.onnx", numbers(resized(image, 40, 24)))["output"][0]
    if best:
        plane = given[0].astype(np.float32)
        expected = cv2.resize(plane, (61, 53), interpolation=cv2.INTER_NEAREST)
    else:
        planes = given.transpose(1, 2, 0)
        expected = cv2.resize(planes, (61, 53), interpolation=cv2.INTER_LINEAR).argmax(2)
    with modelport.load(folder) as predictor:
        found = predictor(image)
    same = (found.labels == expected).mean()
    # OpenCV takes the nearest cell of a pixel's edge, modelport that of its middle.
    assert same > (0.8 if best else 0.995)
    assert len(np.unique(found.labels)) > 2


def test_a_restorer_answers_as_the_sdk_does(tmp_path: Path) -> None:
    steps = [
        LOAD,
        {"type": "Normalize", "mean": [0, 0, 0], "std": [255, 255, 255], "to_rgb": True},
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    head = {"module": "mmedit", "component": "TensorToImg", "params": {}}
    folder = write_mmdeploy(tmp_path / "net", steps=steps, head=head, task="Restorer")
    write_onnx(
        folder / "end2end.onnx",
        "a = Mul(input, factor)\noutput = Resize<mode=\"nearest\">(a, none, twice)",
        "float[1,3,20,30] input",
        "float[1,3,40,60] output",
        {"factor": np.array([0.9, 1.0, 1.3]).reshape(1, 3, 1, 1), "twice": np.array([1.0, 1, 2, 2]),
         "none": np.zeros(0)},
    )  # fmt: skip
    image = picture(13, (30, 20))
    given = run(folder / "end2end.onnx", numbers(np.asarray(image), (0, 0, 0), (255, 255, 255)))
    expected = np.rint(given["output"][0] * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    with modelport.load(folder) as predictor:
        found = predictor(image)
        assert not any("class names" in note for note in predictor.bundle.manifest.provenance.notes)
    assert found.scale == 2
    assert np.abs(found.pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("head", ["CTCConvertor", "AttnConvertor"])
def test_a_reader_of_text(head: str, tmp_path: Path) -> None:
    ctc = head == "CTCConvertor"
    params = {"type": "Dictionary", "dict_file": "dict_file.txt", "with_padding": True,
              "with_start": not ctc, "with_end": not ctc, "same_start_end": True,
              "with_unknown": True, "unknown_token": "<UKN>"}  # fmt: skip
    steps = [LOAD, {"type": "RescaleToHeight", "height": 8, "min_width": 8, "max_width": None,
                    "width_divisor": 4}, NORMALIZE, {"type": "Pad", "size_divisor": 1}, *END]  # fmt: skip
    folder = write_mmdeploy(
        tmp_path / "net", steps=steps, head={"module": "mmocr", "component": head, "params": params}
    )
    (folder / "dict_file.txt").write_text("a\nb\n \né\n", encoding="utf-8")
    classes = ["a", "b", " ", "é", *([] if ctc else ["end"]), "pad", "unknown"]
    kernels = np.random.default_rng(2).normal(size=(len(classes), 3, 8, 4))
    write_onnx(
        folder / "end2end.onnx",
        "a = Conv<strides=[8,4]>(input, kernels)\nb = Squeeze(a, axis)\n"
        "c = Transpose<perm=[0,2,1]>(b)\noutput = Softmax<axis=2>(c)",
        "float[1,3,8,wide] input",
        f"float[1,steps,{len(classes)}] output",
        {"kernels": kernels, "axis": np.array([2], np.int64)},
    )
    with modelport.load(folder) as predictor:
        for seed in range(6):
            image = picture(seed, (120 + 8 * seed, 10))
            wide = int(np.ceil(8 / 10 * image.width))
            wide = round(wide / 4) * 4 if wide % 4 else wide
            given = run(folder / "end2end.onnx", numbers(resized(image, wide, 8)))["output"][0]
            assert predictor(image).text == spelled(given.argmax(1).tolist(), classes, ctc)


def spelled(best: list[int], classes: list[str], ctc: bool) -> str:
    """The best path, read as MMOCR's convertors do."""
    text, before = "", classes.index("pad")
    for index in best:
        word = classes[index]
        if not ctc and word == "end":
            break
        if word not in ("pad", "unknown", "end") and not (ctc and index == before):
            text += word
        before = index
    return text


def test_a_finder_of_text(tmp_path: Path) -> None:
    head = {"module": "mmocr", "component": "DBHead",
            "params": {"mask_thr": 0.4, "min_text_score": 0.5, "unclip_ratio": 1.5}}  # fmt: skip
    steps = [LOAD, {"type": "Resize", "size": [96, 64], "keep_ratio": True}, NORMALIZE,
             {"type": "Pad", "size_divisor": 32}, *END]  # fmt: skip
    folder = write_mmdeploy(tmp_path / "net", steps=steps, head=head, task="TextDetector")
    write_onnx(
        folder / "end2end.onnx",
        "a = ReduceMean<axes=[1], keepdims=0>(input)\nb = Mul(a, steep)\noutput = Sigmoid(b)",
        "float[1,3,high,wide] input",
        "float[1,high,wide] output",
        {"steep": np.array(4.0)},
    )
    pixels = np.zeros((100, 150, 3), np.uint8)
    pixels[20:40, 30:120] = 255  # after the resize: a bright bar on black
    with modelport.load(folder) as predictor:
        (line,) = predictor(Image.fromarray(pixels)).lines
    left, top = np.min(line.quad, 0)
    right, bottom = np.max(line.quad, 0)
    grown = 90 * 20 * 1.5 / (2 * (90 + 20))
    np.testing.assert_allclose(
        [left, top, right, bottom], [30 - grown, 20 - grown, 120 + grown, 40 + grown], atol=4
    )


# --- what cannot be opened ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("tensorrt", "runs only on the kind of GPU and with the TensorRT that it was built with"),
        ("rknn", "is for Rockchip's NPUs"),
        ("torchscript", "needs PyTorch"),
        ("quantum", "is for a backend that modelport does not know (backend quantum)"),
    ],
)
def test_other_backends_are_refused_by_name(backend: str, said: str, tmp_path: Path) -> None:
    folder = write_mmdeploy(tmp_path / "net", backend=backend, net="end2end.engine")
    (folder / "end2end.engine").write_bytes(b"engine")
    with pytest.raises(BundleError) as caught:
        modelport.load(folder)
    assert said in str(caught.value)
    assert "Expected a network for onnxruntime, openvino or ncnn" in str(caught.value)


def test_operators_of_mmdeploy_are_named(tmp_path: Path) -> None:
    folder = write_mmdeploy(tmp_path / "net")
    write_classifier(folder / "end2end.onnx")
    write_onnx(folder / "end2end.onnx", "output = Relu(input)", "float[1,3,8,8] input",
               "float[1,3,8,8] output", {}, domains={"mmdeploy": 1})  # fmt: skip
    with pytest.raises(BundleError, match=r"uses operators of MMDeploy \(domain mmdeploy\)"):
        modelport.load(folder)


@pytest.mark.parametrize(
    ("component", "params", "said"),
    [
        ("ResizeRBBoxes", {}, "the component ResizeRBBoxes of mmx has no counterpart in modelport"),
        ("BaseDenseHead", {}, "the component BaseDenseHead of mmx has no counterpart"),
        ("ResizeInstanceMask", {"mask_thr": 0.5}, "rcnn of ResizeInstanceMask is None"),
        (
            "SimCCLabelDecode",
            {"export_postprocess": True},
            "export_postprocess of SimCCLabelDecode",
        ),
        ("TopdownHeatmapSimpleHeadDecode", {"post_process": "megvii"}, "post_process of"),
        ("ResizeBBox", {}, "the network gives output. Expected an output 'dets'"),
        ("LinearClsHead", {"topk": "all"}, "topk is text. Expected a whole number"),
        ("LinearClsHead", {"topk": 0}, "the parameter 'top'"),
        ("CTCConvertor", {"dict_type": "DICT36"}, "with_padding of CTCConvertor is None"),
        ("CTCConvertor", {"dict_type": "DICT1"}, "dict_type of CTCConvertor is 'DICT1'"),
        ("AttnConvertor", {"dict_list": ["a"]}, "with_end of AttnConvertor is None"),
        ("DBHead", {"text_repr_type": "poly"}, "text_repr_type of DBHead is 'poly'"),
        ("TensorToImg", {}, "nothing says how much larger the network makes a picture"),
    ],
)
def test_components_are_refused_by_name(
    component: str, params: dict[str, Any], said: str, tmp_path: Path
) -> None:
    head = {"module": "mmx", "component": component, "params": params}
    folder = write_mmdeploy(tmp_path / "net", head=head)
    write_classifier(folder / "end2end.onnx")
    with pytest.raises(modelport.ModelportError) as caught:
        modelport.load(folder)
    assert said.lower() in str(caught.value).lower()


def test_pipelines_of_several_networks_are_refused(classifier: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classifier, tmp_path / "own"))
    content = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))
    content["pipeline"]["tasks"] *= 2
    write_json(folder / "pipeline.json", content)
    with pytest.raises(BundleFormatError, match="has the tasks Transform, Net, mmcls, Transform"):
        modelport.load(folder)
    assert CLASSIFIER_STEPS[0]["type"] == "LoadImageFromFile"
