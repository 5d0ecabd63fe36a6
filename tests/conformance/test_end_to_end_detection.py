"""A detector's decode step in the graph beside that of the runtime, head by head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

import modelport
from modelport.endtoend import steps
from modelport.endtoend.answers import ANSWERS
from modelport.endtoend.canvas import Canvas
from modelport.endtoend.detecting import detected, undetectable
from modelport.graph import io
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.detection import DetectionTask
from modelport.runtime.transforms import Decode, Layout, Letterbox, preprocessor

Array = np.ndarray[Any, Any]

SIDE = 64
RECIPE: list[Any] = [Decode(), Letterbox(SIDE), Layout()]
PLACES = 64 + 16 + 4
"""Of strides 8, 16 and 32."""


def normal(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shares(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).random(shape, np.float32)


def places(count: int, seed: int) -> Array:
    """Middles and sides in pixels of the tensor."""
    generator = np.random.default_rng(seed)
    middles = generator.uniform(0, SIDE, (1, count, 2))
    return np.concatenate([middles, generator.uniform(4, 30, (1, count, 2))], 2).astype(np.float32)


def joined(*parts: Array) -> Array:
    return np.concatenate(parts, 2)


HEADS: dict[str, tuple[dict[str, Any], Callable[[int], dict[str, Array]]]] = {
    "yolox": (
        {"preset": "yolox", "threshold": 0.4},
        lambda seed: {"y": joined(normal(1, PLACES, 4, seed=seed), shares(1, PLACES, 8, seed=seed + 1))},
    ),
    "yolov5": (
        {"preset": "yolov5", "threshold": 0.5, "nms": {"iou": 0.3, "agnostic": True}},
        lambda seed: {"y": joined(places(50, seed), shares(1, 50, 6, seed=seed + 1))},
    ),
    "yolov8": (
        {"preset": "yolov8"},
        lambda seed: {"y": joined(places(84, seed), shares(1, 84, 5, seed=seed + 1)).transpose(0, 2, 1)},
    ),
    "several classes to a place": (
        {"preset": "yolov8", "multi_label": True, "threshold": 0.7, "most": 7},
        lambda seed: {"y": joined(places(84, seed), shares(1, 84, 5, seed=seed + 1)).transpose(0, 2, 1)},
    ),
    "queries, softmax with a background": (
        {
            "boxes": {"output": "boxes"}, "scores": {"output": "logits"}, "code": "cxcywh",
            "normalised": True, "activation": "softmax", "background": "last", "threshold": 0.3,
        },
        lambda seed: {"logits": normal(1, 20, 5, seed=seed) * 2, "boxes": shares(1, 20, 4, seed=seed + 1)},
    ),
    "distances in bins, sigmoid": (
        {
            "boxes": {"output": "bins"}, "scores": {"output": "logits"}, "code": "ltrb", "bins": 8,
            "activation": "sigmoid", "priors": {"strides": (8, 16, 32)}, "nms": {"iou": 0.5},
            "threshold": 0.6, "clip": True,
        },
        lambda seed: {"logits": normal(1, PLACES, 3, seed=seed), "bins": normal(1, PLACES, 32, seed=seed)},
    ),
    "shifts and sides of the prior": (
        {
            "boxes": {"output": "boxes"}, "scores": {"output": "logits"}, "code": "linear",
            "activation": "sigmoid", "variances": (0.3, 0.3, 0.6, 0.6), "nms": {"iou": 0.3},
            "priors": {"strides": (8, 16, 32), "anchors": (((12, 9),), ((24, 30),), ((50, 40),))},
            "threshold": 0.6,
        },
        lambda seed: {
            "logits": normal(1, PLACES, 3, seed=seed),
            "boxes": joined(normal(1, PLACES, 2, seed=seed), shares(1, PLACES, 2, seed=seed) + 0.1),
        },
    ),
    "edges": (
        {
            "boxes": {"count": 4}, "scores": {"first": 4}, "code": "edges", "threshold": 0.6,
            "variances": (0.1, 0.1, 0.2, 0.2), "nms": {"iou": 0.5},
            "priors": {"strides": (8,), "anchors": (((20, 12),),)},
        },
        lambda seed: {
            "y": np.concatenate(
                [shares(1, 64, 4, seed=seed) - 0.5, shares(1, 64, 3, seed=seed + 1)], -1
            ).astype(np.float32),
        },
    ),
    "an NMS inside": (
        {
            "boxes": {"output": "boxes"}, "scores": {"output": "scores", "arrangement": "values"},
            "labels": {"output": "labels", "arrangement": "values"}, "label_shift": -1,
            "threshold": 0.5,
        },
        lambda seed: {
            "boxes": np.sort(shares(30, 4, seed=seed) * SIDE, 1)[:, [0, 1, 2, 3]],
            "scores": shares(30, seed=seed), "labels": np.arange(1, 31),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_decode_steps_agree(name: str) -> None:
    given, outputs = HEADS[name]
    task = DetectionTask()
    how = task.parameters(given)
    assert undetectable(how) is None
    session = _session(how, outputs(0))
    runtime = preprocessor(RECIPE)
    assert runtime is not None
    found = 0
    for seed, size in enumerate([(100, 60), (33, 64), (64, 64)]):
        arrays = outputs(10 * seed)
        pixels = np.asarray(Image.new("RGB", size, (90, 20, 40)))
        context = Context(how, None, runtime.prepare(pixels).placement)
        want = ANSWERS["detection"].expected(task.decode(arrays, context))
        names = [each.name for each in session.get_outputs()]
        got = dict(zip(names, session.run(None, feeds(pixels, arrays)), strict=True))
        np.testing.assert_array_equal(got["classes"], want["classes"])
        np.testing.assert_allclose(got["scores"], want["scores"], rtol=1e-5)
        np.testing.assert_allclose(got["boxes"], want["boxes"], atol=2e-3)
        found += len(want["classes"])
    assert found > 10


def test_nothing_found_is_no_error() -> None:
    given, outputs = HEADS["yolox"]
    how = DetectionTask().parameters(given)
    arrays = outputs(0)
    arrays["y"][:, :, 4] = 0
    pixels = np.zeros((40, 50, 3), np.uint8)
    boxes, scores, classes = _session(how, arrays).run(
        ["boxes", "scores", "classes"], feeds(pixels, arrays)
    )
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))


def feeds(pixels: Array, arrays: dict[str, Array]) -> dict[str, Array]:
    return {"image": pixels, **{f"head_{name}": array for name, array in arrays.items()}}


def _session(how: Any, arrays: dict[str, Array]) -> Any:
    net = modelport.Network("head")
    image = net.input("image", "uint8", ("h", "w", 3))
    canvas = steps.applied(Canvas.of_input(net, image), RECIPE)
    heads = {k: net.input(f"head_{k}", str(a.dtype), a.shape) for k, a in arrays.items()}
    for name, tensor in detected(canvas, heads, how).items():
        net.output(tensor, name)
    proto = io.to_proto(net.build(prune=True))
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


REFUSED = {
    "soft": ({"preset": "yolox", "nms": {"iou": 0.5, "soft": "linear"}}, "soft non-maximum"),
    "maps": ({"preset": "yolox", "arrangement": "maps"}, "stand as maps"),
    "candidates": ({"preset": "yolox", "candidates": 100}, "candidates has no form"),
    "smaller": ({"preset": "yolox", "nms": {"over": "smaller"}}, "over the smaller by boxes"),
    "priors": ({"preset": "yolox", "nms": {"by": "priors"}}, "over the union by priors"),
    "beyond": ({"preset": "yolox", "beyond": True}, "beyond has no form"),
    "with priors": ({"preset": "yolox", "with_priors": True}, "with_priors has no form"),
    "counting": ({"preset": "yolox", "counting": "pixels"}, "counting has no form"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_heads_without_a_form_are_named(name: str) -> None:
    given, words = REFUSED[name]
    assert words in (undetectable(DetectionTask().parameters(given)) or "")


def test_other_objects_are_found() -> None:
    differs = ANSWERS["detection"].differs
    want = {
        "boxes": np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32),
        "scores": np.array([0.9, 0.3], np.float32),
        "classes": np.array([1, 2]),
    }
    assert differs(want, want) is None
    moved = {**want, "boxes": want["boxes"] + np.array([[5], [0]], np.float32)}
    assert differs(want, moved) == "it misses class 1 with 0.90 at [0.0, 0.0, 10.0, 10.0]"
    other = {**want, "classes": np.array([3, 2])}
    assert "misses class 1" in (differs(want, other) or "")
    none = {key: array[:0] for key, array in want.items()}
    assert "invents class 1" in (differs(none, want) or "")


def test_yolox_nano(tmp_path: Path) -> None:
    """Real weights, real photos: the one file finds what the predictor finds."""
    model = Path(__file__).parents[3] / "shared/data/models/yolox_nano.onnx"
    photos = sorted((Path(__file__).parents[3] / "shared/data/images").glob("*.jpg"))[:3]
    if not model.is_file() or not photos:
        pytest.skip("the folder shared/data with YOLOX-Nano and photos is missing")
    source = modelport.Source(
        str(model), task="detection", parameters={"preset": "yolox"},
        transforms=[
            Decode(colour="bgr"), Letterbox(416, anchor="top_left", rounding="floor"), Layout(),
        ],
    )  # fmt: skip
    bundle = modelport.deploy(
        source, output=tmp_path / "bundle", threads=1, report=False, precisions=["fp32"],
        engines=["onnxruntime"],
    )  # fmt: skip
    found = modelport.export_end_to_end(bundle, tmp_path / "yolox.onnx", pictures=photos)
    assert [str(spec) for spec in found.signature.outputs] == [
        "boxes: float32 foundx4", "scores: float32 found", "classes: int64 found",
    ]  # fmt: skip
    session = ort.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    with modelport.load(bundle.path, threads=1) as predictor:
        for photo in photos:
            result = predictor(photo)
            pixels = np.asarray(Image.open(photo).convert("RGB"))
            boxes, _scores, classes = session.run(None, {"image": pixels})
            assert len(result.objects) >= 1
            np.testing.assert_array_equal(classes, [each.index for each in result.objects])
            np.testing.assert_allclose(boxes, result.boxes, atol=1.5)
