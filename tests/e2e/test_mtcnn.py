"""MTCNN: three networks chained, with the weights and beside the code of the package that brings them.

P-Net looks at a pyramid of the picture, R-Net at what that finds, O-Net at what R-Net leaves.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modelport
from modelport import transforms
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.pipeline import Crops, Nms, Pipeline, Pyramid, Stage
from modelport.runtime.tasks.face_detection import FIVE, Faces
from weights import unpacked

Array = np.ndarray[Any, Any]

NUMBERS = [transforms.Normalize(mean=(127.5,) * 3, std=(128.0,) * 3, scale=1), transforms.Layout()]
"""Pixels to -1..1, nearly."""


@pytest.fixture(scope="module")
def package() -> Iterator[Any]:
    """The package's module `mtcnn`, without the package around it, which wants what is not here."""
    if import_torchvision() is None:
        pytest.skip("torchvision is not installed, whose NMS the package uses")
    folder = unpacked("pypi:facenet-pytorch==2.6.0") / "facenet_pytorch" / "models"
    name = "facenet_models"
    shell = types.ModuleType(name)
    shell.__path__ = [str(folder)]
    utils = types.ModuleType(f"{name}.utils")
    utils.__path__ = [str(folder / "utils")]
    sys.modules |= {name: shell, utils.__name__: utils}
    yield importlib.import_module(f"{name}.mtcnn")
    for each in [each for each in sys.modules if each.split(".")[0] == name]:
        del sys.modules[each]


def bundle(net: Any, inputs: str, steps: list[Any], preset: str, output: Path) -> Path:
    source = modelport.Source(
        model=net,
        inputs=inputs,
        transforms=[transforms.Decode(), *steps, *NUMBERS],
        task="face_detection",
        parameters={"preset": preset},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modelport.deploy(
            source, output=output, engines=["onnxruntime"], precisions=["fp32"], threads=1,
            report=False,
        )  # fmt: skip
    return output


def area(side: int) -> list[Any]:
    return [transforms.Resize((side, side), interpolation="torch.area")]


@pytest.fixture(scope="module")
def chain(package: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("mtcnn")
    pnet, rnet, onet = (made().eval() for made in (package.PNet, package.RNet, package.ONet))
    windows = bundle(pnet, "image=1x3x12..4096x12..4096", [], "mtcnn_windows", folder / "windows")
    refined = bundle(rnet, "image=1..64x3x24x24", area(24), "mtcnn_refined", folder / "refined")
    faces = bundle(onet, "image=1..64x3x48x48", area(48), "mtcnn_faces", folder / "faces")
    pyramid = Pyramid(
        window=12, smallest=20, factor=0.709, join=Nms(iou=0.7, by="priors"),
        interpolation="torch.area", rounding="ceil", nominal=True,
    )  # fmt: skip
    square: dict[str, Any] = {"square": True, "edges": "floor", "nominal": True}
    of_windows = Crops("windows", **square, join=Nms(iou=0.7, by="priors"))
    of_refined = Crops("refined", **square, join=Nms(iou=0.7, over="smaller"))
    stages = [
        Stage("windows", windows, pyramid=pyramid, keep=False),
        Stage("refined", refined, of_windows, keep=False),
        Stage("faces", faces, of_refined),
    ]
    with Pipeline(stages, threads=1, name="MTCNN") as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def astronaut(demo_data: Path) -> Image.Image:
    with Image.open(demo_data / "calibration" / "astronaut.png") as opened:
        return opened.convert("RGB")


@pytest.fixture(scope="module")
def four(astronaut: Image.Image) -> Image.Image:
    """The astronaut four times, of different sizes; one leans, and one lies at the edge."""
    picture = Image.new("RGB", (900, 700), (40, 60, 50))
    places = (((0, 0), 300, 0), ((330, 20), 500, 0), ((40, 350), 250, 8), ((400, 520), 170, 0))
    for place, size, degrees in places:
        picture.paste(astronaut.resize((size, size)).rotate(degrees), place)
    return picture


def theirs(package: Any, image: Image.Image) -> tuple[Array, Array, Array]:
    """Boxes, probabilities and landmarks of the package, the surest first.

    Its boxes are the first and the last pixel, counted from 1; here they are the edges around both.
    """
    found = package.MTCNN(keep_all=True, select_largest=False).detect(image, landmarks=True)
    boxes, scores, marks = (np.asarray(each, np.float64) for each in found)
    order = np.argsort(-scores, kind="stable")
    return boxes[order] - [1, 1, 0, 0], scores[order], marks[order]


def assert_same(
    found: Faces, expected: tuple[Array, Array, Array], pixels: float, p: float
) -> None:
    """Each face of theirs beside the one of ours whose box is nearest."""
    boxes, scores, marks = expected
    assert len(found) == len(boxes)
    own = np.array([face.box for face in found.objects])
    nearest = [int(np.abs(own - box).sum(1).argmin()) for box in boxes]
    assert len(set(nearest)) == len(boxes)
    faces = [found.objects[number] for number in nearest]
    np.testing.assert_allclose(own[nearest], boxes, rtol=0, atol=pixels)
    np.testing.assert_allclose([face.score for face in faces], scores, rtol=0, atol=p)
    places = [list(face.landmarks.values()) for face in faces]
    np.testing.assert_allclose(places, marks, rtol=0, atol=pixels)


def test_faces_are_those_of_the_package(
    chain: Pipeline, package: Any, astronaut: Image.Image, four: Image.Image
) -> None:
    """Within two pixels: the package resizes to fractions of grey levels, and a bundle to whole ones.

    That is enough to make another window of the same face the surest, whose box is a little off.
    """
    for image, count in ((astronaut, 1), (four, 4)):
        found = chain(image)["faces"]
        assert len(found) == count
        assert_same(found, theirs(package, image), pixels=2.0, p=0.01)


def test_faces_are_equal_where_the_package_sees_whole_grey_levels(
    chain: Pipeline, package: Any, astronaut: Image.Image, four: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """All that is left is the rounding of float32: scales, windows, NMS, crops and codes are the same."""
    module = importlib.import_module("facenet_models.utils.detect_face")
    resized = module.imresample
    monkeypatch.setattr(module, "imresample", lambda *given: (resized(*given) + 0.5).floor())
    turned = astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((170, 50, 460, 300))
    for image in (astronaut, four, turned):
        assert_same(chain(image)["faces"], theirs(package, image), pixels=0.05, p=1e-4)


def test_the_astronaut_as_people_see_it(chain: Pipeline, astronaut: Image.Image) -> None:
    found = chain(astronaut)
    assert list(found.results) == ["faces"]
    (face,) = found["faces"].objects
    assert isinstance(found["faces"], Faces)
    assert face.score > 0.99
    np.testing.assert_allclose(face.box, [180, 62, 268, 172], atol=8)
    assert tuple(face.landmarks) == FIVE
    marks = face.landmarks
    assert marks["left_eye"][0] < marks["nose"][0] < marks["right_eye"][0]
    assert marks["left_eye"][1] < marks["nose"][1] < marks["left_mouth"][1]
    assert chain.describe(found).startswith("1 face, the surest 1.00")


def test_pictures_without_faces_and_several_at_once(
    chain: Pipeline, astronaut: Image.Image, four: Image.Image
) -> None:
    ground = Image.new("RGB", (200, 100), (90, 120, 60))
    answers = chain([astronaut, ground, four])
    alone = [chain(image) for image in (astronaut, ground, four)]
    for answer, expected in zip(answers, alone, strict=True):
        faces, own = answer["faces"].objects, expected["faces"].objects  # type: ignore[index]
        assert len(faces) == len(own)
        for face, other in zip(faces, own, strict=True):
            np.testing.assert_allclose(face.box, other.box, atol=0.01)
    assert alone[1]["faces"].objects == ()


def test_the_chain_in_one_file(chain: Pipeline, four: Image.Image, tmp_path: Path) -> None:
    path = chain.save(tmp_path / "mtcnn.zip")
    with modelport.load(path, threads=1) as opened:
        assert isinstance(opened, Pipeline)
        assert [(s.takes, s.pyramid, s.keep) for s in opened.steps] == [
            (s.takes, s.pyramid, s.keep) for s in chain.steps
        ]
        assert opened(four) == chain(four)
