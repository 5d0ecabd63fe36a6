"""Transforms and decode steps in the graph, beside the runtime's own and beside PIL and OpenCV."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import modelport
from modelport.bundle.read import Bundle
from modelport.endtoend import answers, export, steps
from modelport.endtoend.build import tensor_graph
from modelport.endtoend.canvas import Canvas
from modelport.endtoend.resampling import resized
from modelport.errors import UsageError, VerificationError
from modelport.graph import io
from modelport.runtime.transforms import (
    CenterCrop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Resize,
    preprocessor,
)
from modelport.runtime.transforms.picture import PicturePreprocessor
from support import Ran, picture, small_source

Array = np.ndarray[Any, Any]

PIL = {"nearest": 0, "box": 4, "bilinear": 2, "hamming": 5, "bicubic": 3, "lanczos": 1}
OPENCV = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
SIZES = [((640, 427), (256, 171)), ((97, 143), (224, 224)), ((300, 900), (64, 192))]
METHODS = [*(f"pil.{name}" for name in PIL), *(f"opencv.{name}" for name in OPENCV)]


def noise(width: int, height: int) -> Array:
    generator = np.random.default_rng(width * height)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def opened_session(model: Any) -> Any:
    return ort.InferenceSession(
        io.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(model: Any, pixels: Array) -> dict[str, Array]:
    session = opened_session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": pixels}), strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_resizes_are_those_of_the_library(method: str) -> None:
    library, _, name = method.partition(".")
    for before, after in SIZES:
        pixels = noise(*before)
        net = modelport.Network("resize")
        canvas = Canvas.of_input(net, net.input("image", "uint8", ("h", "w", 3)))
        net.output(resized(canvas, method, after[1], after[0]).pixels, "y")
        got = run(net.build(prune=True), pixels)["y"][0].transpose(1, 2, 0)
        if library == "pil":
            want = np.asarray(Image.fromarray(pixels).resize(after, PIL[name]))
        else:
            want = cv2.resize(pixels, after, interpolation=OPENCV[name])
        assert np.abs(got.astype(int) - want).max() <= (0 if name == "nearest" else 1)


NORMAL = Normalize(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
RECIPES = {
    "shorter edge, crop": [Decode(), Resize(40), CenterCrop(32), NORMAL, Layout()],
    "longer edge rounded": [Decode(), Resize(41, rounding="nearest"), CenterCrop((33, 31)), Layout()],
    "bgr, both sides": [
        Decode(colour="bgr"), Resize((30, 50), interpolation="opencv.linear"), NORMAL, Layout(),
    ],
    "grey": [Decode(colour="grey"), Resize((24, 24)), Layout(dtype="uint8")],
    "grey in three channels": [Decode(colour="grey3"), Resize((24, 30)), NORMAL, Layout()],
    "crop that is larger": [Decode(), CenterCrop(150, rounding="floor"), NORMAL, Layout(order="nhwc")],
    "letterbox": [Decode(), Letterbox(64), NORMAL, Layout()],
    "letterbox in the corner": [
        Decode(colour="bgr"), Letterbox((48, 72), anchor="top_left", rounding="floor"), Layout(),
    ],
    "letterbox that never enlarges": [
        Decode(), Letterbox(90, upscale=False, interpolation="pil.bilinear", fill=0), Layout(),
    ],
    "longer edge": [Decode(), Resize(50, edge="longer", rounding="half-even"), Layout()],
    "nothing": [Decode(), Layout()],
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_transforms_are_those_of_the_runtime(name: str) -> None:
    recipe: list[Any] = RECIPES[name]
    runtime = preprocessor(recipe)
    assert isinstance(runtime, PicturePreprocessor)
    model = tensor_graph(recipe)
    normalize = runtime.normalize
    grey = max(normalize.scale / std for std in normalize.std) if normalize else 1.0
    for size in ((64, 48), (47, 81), (101, 67), (200, 33), (41, 41)):
        pixels = noise(*size)
        want, got = runtime(pixels), run(model, pixels)["tensor"]
        assert want.shape == got.shape
        assert want.dtype == got.dtype
        assert np.abs(want.astype(float) - got).max() <= 1.01 * grey


@pytest.mark.parametrize(
    ("size", "crop", "rounding"), [(4, 4, "floor"), (23, 16, "nearest"), (30, 41, "floor")]
)
def test_sizes_and_margins_are_those_of_the_runtime(size: int, crop: int, rounding: Any) -> None:
    """Pixels count here, not values: nearest neighbours are exact, so every margin shows."""
    recipe: list[Any] = [
        Decode(), Resize(size, interpolation="pil.nearest", rounding=rounding), CenterCrop(crop),
        Layout(dtype="uint8"),
    ]  # fmt: skip
    runtime = preprocessor(recipe)
    assert runtime is not None
    session = opened_session(tensor_graph(recipe))

    @given(width=st.integers(5, 90), height=st.integers(5, 90))
    @settings(max_examples=60)
    def same(width: int, height: int) -> None:
        pixels = noise(width, height)
        np.testing.assert_array_equal(runtime(pixels), session.run(None, {"image": pixels})[0])

    same()


@pytest.fixture(scope="module")
def whole(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "small.onnx"
    found = modelport.export_end_to_end(small_bundle, path)
    assert found.proof is not None
    assert found.proof.pictures >= 6
    return path


def test_any_binding_may_call_it(whole: Path, small_bundle: Path) -> None:
    """Nothing of ours is needed: ONNX Runtime alone gives what the predictor gives."""
    session = ort.InferenceSession(str(whole), providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["modelport.labels"])
    with modelport.load(small_bundle, variant="onnxruntime-fp32", threads=1) as predictor:
        for seed, size in enumerate([(48, 40), (200, 90), (33, 77)]):
            pixels = np.asarray(picture(seed, size))
            index, score = session.run(["index", "score"], {"image": pixels})
            want = predictor(pixels)
            assert labels[index[0]] == want.label
            np.testing.assert_allclose(score, [c.score for c in want.classes], atol=0.02)


def test_int8_goes_inside_too(small_bundle: Path, tmp_path: Path) -> None:
    found = modelport.export_end_to_end(
        small_bundle, tmp_path / "small.onnx", variant="onnxruntime-int8"
    )
    kinds = {node.op_type for node in io.load(found.path).graph}
    assert "QuantizeLinear" in kinds


def test_outputs_without_a_task_stay_as_they_are(tmp_path: Path, pictures: Path) -> None:
    bundle = modelport.deploy(
        small_source(task="tensors", labels=None), output=tmp_path / "bundle", threads=1,
        report=False, precisions=["fp32"], engines=["onnxruntime"], calibration=pictures,
    )  # fmt: skip
    found = modelport.export_end_to_end(bundle, tmp_path / "one.onnx", pictures=pictures)
    assert [spec.name for spec in found.signature.outputs] == ["logits"]
    assert found.proof is not None
    assert found.proof.pictures >= 12


# --- what it would not miss ---------------------------------------------------------------------


def broken(kind: str, change: Callable[[Any], Any]) -> steps.Step:
    step = steps.STEPS[kind]
    return steps.Step(lambda canvas, own: step.apply(canvas, change(own)), step.knows, step.refuses)


WRONG = {
    "decode": lambda own: own.model_copy(update={"colour": "bgr"}),
    "resize": lambda own: own.model_copy(update={"interpolation": "pil.nearest"}),
    "normalize": lambda own: own.model_copy(update={"mean": (0.0, 0.0, 0.0)}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_transform_is_found(
    kind: str, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(steps.STEPS, kind, broken(kind, WRONG[kind]))
    with pytest.raises(VerificationError, match="grey levels"):
        modelport.export_end_to_end(small_bundle, tmp_path / "small.onnx")
    assert list(tmp_path.iterdir()) == []


def test_wrong_classes_are_found() -> None:
    want = {"index": np.array([2, 1]), "score": np.array([0.7, 0.2], np.float32)}
    differs = answers.ANSWERS["classification"].differs
    assert differs(want, want) is None
    near = {"index": np.array([2, 3]), "score": np.array([0.7, 0.19], np.float32)}
    assert differs(want, near) is None
    wrong = {"index": np.array([1, 2]), "score": np.array([0.7, 0.2], np.float32)}
    assert differs(want, wrong) == "class 2 has 0.200, and 0.700 is right"
    low = {"index": np.array([2, 1]), "score": np.array([0.5, 0.2], np.float32)}
    assert differs(want, low) == "scores differ by 0.200"


# --- what cannot be done is said ----------------------------------------------------------------


def test_output_must_be_an_onnx_file(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ending in \.onnx"):
        modelport.export_end_to_end(small_bundle, tmp_path / "small.txt")


def test_variant_must_be_an_onnx_file(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no ONNX file in the bundle"):
        modelport.export_end_to_end(small_bundle, tmp_path / "s.onnx", variant="openvino-fp32")


def test_transforms_without_a_form_are_named(tmp_path: Path) -> None:
    bundle = modelport.deploy(
        small_source(transforms=[Decode(), Resize((32, 32), interpolation="opencv.area"), Layout()]),
        output=tmp_path / "bundle", threads=1, report=False, precisions=["fp32"],
        engines=["onnxruntime"],
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"opencv\.area has no form in the graph yet"):
        modelport.export_end_to_end(Bundle(bundle.path), tmp_path / "small.onnx")


def test_command(small_bundle: Path, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    done = cli("export-end-to-end", small_bundle, "-o", tmp_path / "s.onnx")
    assert done.status == 0
    assert "answers as the predictor does, on" in done.stdout
    told = cli("export-end-to-end", small_bundle, "-o", tmp_path / "s.onnx", "--json").json
    assert told["inputs"] == ["image: uint8 heightxwidthx3"]
    assert export.IMAGE == "image"
