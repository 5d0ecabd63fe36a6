"""Landmarks in every code, against loops over the same numbers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modelport.errors import FeedsError, UsageError
from modelport.runtime.placement import Placement, scaling
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.face_detection import FIVE, Face, FaceDetectionTask, Faces

Array = np.ndarray[Any, Any]
TASK = FaceDetectionTask()
SIZE = (64, 96)


def decode(outputs: dict[str, Array], placement: Any = None, **parameters: Any) -> Faces:
    return TASK.decode(outputs, Context(TASK.parameters(parameters), None, placement))


def assert_faces(result: Faces, wanted: list[tuple[float, list[float], list[float]]]) -> None:
    """Score, box and ten numbers of each."""
    wanted = sorted(wanted, key=lambda each: -each[0])
    assert len(wanted) >= 3, "so few faces prove little"
    np.testing.assert_allclose([f.score for f in result.objects], [w[0] for w in wanted], rtol=1e-5)
    np.testing.assert_allclose([f.box for f in result.objects], [w[1] for w in wanted], atol=2e-3)
    places = [np.ravel(list(face.landmarks.values())) for face in result.objects]
    np.testing.assert_allclose(places, [w[2] for w in wanted], atol=2e-3)
    assert all(tuple(face.landmarks) == FIVE for face in result.objects)


def test_centerface() -> None:
    rng = np.random.default_rng(0)
    grid = SIZE[0] // 4, SIZE[1] // 4
    heat = rng.random((1, 1, *grid)).astype(np.float32)
    scale, offset = (rng.normal(0, 0.5, (1, 2, *grid)).astype(np.float32) for _ in range(2))
    marks = rng.random((1, 10, *grid)).astype(np.float32)
    wanted = []
    for row, column in np.ndindex(grid):
        score = float(heat[0, 0, row, column])
        if score <= 0.98:
            continue
        high, wide = np.exp(scale[0, :, row, column].astype(float)) * 4
        left = (column + offset[0, 1, row, column] + 0.5) * 4 - wide / 2
        top = (row + offset[0, 0, row, column] + 0.5) * 4 - high / 2
        points = []
        for pair in range(5):
            points.append(left + marks[0, 2 * pair + 1, row, column] * wide)
            points.append(top + marks[0, 2 * pair, row, column] * high)
        wanted.append((score, [left, top, left + wide, top + high], points))
    outputs = {"a": heat, "b": scale, "c": offset, "d": marks}
    assert_faces(decode(outputs, preset="centerface", threshold=0.98, nms=None), wanted)


def test_retinaface() -> None:
    rng = np.random.default_rng(1)
    priors = [
        (column, row, stride, side)
        for stride, sides in zip((8, 16, 32), ((16, 32), (64, 128), (256, 512)), strict=True)
        for row in range(SIZE[0] // stride)
        for column in range(SIZE[1] // stride)
        for side in sides
    ]
    loc, marks = (rng.normal(0, 1, (1, len(priors), n)).astype(np.float32) for n in (4, 10))
    face = rng.random((len(priors), 1)).astype(np.float32)
    wanted = []
    for index, (column, row, stride, side) in enumerate(priors):
        if face[index, 0] <= 0.97:
            continue
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        dx, dy, dw, dh = loc[0, index].tolist()
        w, h = side * math.exp(0.2 * dw), side * math.exp(0.2 * dh)
        left, top = x + 0.1 * dx * side - w / 2, y + 0.1 * dy * side - h / 2
        points = marks[0, index] * 0.1 * side + np.tile([x, y], 5)
        wanted.append((float(face[index, 0]), [left, top, left + w, top + h], points.tolist()))
    outputs = {"loc": loc, "conf": np.concatenate([1 - face, face], 1)[None], "marks": marks}
    assert_faces(decode(outputs, preset="retinaface", size=SIZE, threshold=0.97, nms=None), wanted)


def test_scrfd_has_two_anchors_and_an_output_for_each_level() -> None:
    rng = np.random.default_rng(2)
    scores, boxes, marks, wanted = {}, {}, {}, []
    for stride in (8, 16, 32):
        count = SIZE[0] // stride * (SIZE[1] // stride) * 2
        scores[f"s{stride}"] = rng.random((count, 1)).astype(np.float32)
        boxes[f"b{stride}"] = rng.random((count, 4)).astype(np.float32) * 3
        marks[f"m{stride}"] = rng.normal(0, 1, (count, 10)).astype(np.float32)
        for index in range(count):
            score = float(scores[f"s{stride}"][index, 0])
            if score <= 0.96:
                continue
            row, column = divmod(index // 2, SIZE[1] // stride)
            left, top, right, bottom = (boxes[f"b{stride}"][index] * stride).tolist()
            x, y = column * stride, row * stride
            points = marks[f"m{stride}"][index] * stride + np.tile([x, y], 5)
            wanted.append((score, [x - left, y - top, x + right, y + bottom], points.tolist()))
    result = decode(
        {**scores, **boxes, **marks}, preset="scrfd", size=SIZE, threshold=0.96, nms=None
    )
    assert_faces(result, wanted)


def test_yunet_takes_the_root_of_two_scores() -> None:
    rng = np.random.default_rng(3)
    outputs, wanted = {}, []
    for stride in (8, 16, 32):
        count = SIZE[0] // stride * (SIZE[1] // stride)
        kinds = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        level = {
            kind: rng.random((1, count, size)).astype(np.float32) for kind, size in kinds.items()
        }
        outputs |= {f"{kind}_{stride}": array for kind, array in level.items()}
        for index in range(count):
            score = math.sqrt(float(level["cls"][0, index, 0]) * float(level["obj"][0, index, 0]))
            if score <= 0.85:
                continue
            row, column = divmod(index, SIZE[1] // stride)
            dx, dy, dw, dh = level["bbox"][0, index].tolist()
            w, h = math.exp(dw) * stride, math.exp(dh) * stride
            left, top = (column + dx) * stride - w / 2, (row + dy) * stride - h / 2
            points = (level["kps"][0, index] + np.tile([column, row], 5)) * stride
            wanted.append((score, [left, top, left + w, top + h], points.tolist()))
    result = decode(outputs, preset="yunet", size=SIZE, threshold=0.85, nms=None)
    assert_faces(result, wanted)


def rows() -> dict[str, Array]:
    numbers = [8, 16, 40, 48, 0.9, 0, *range(10, 20)]
    return {"rows": np.array([[numbers]], np.float32)}


@pytest.mark.parametrize(("code", "share"), [("pixels", 1.0), ("shares", 1 / 64)])
def test_landmarks_go_back_to_the_picture(code: str, share: float) -> None:
    place = Placement.whole(128, 32).then(scaling((128, 32), (64, 64)), (64, 64))
    outputs = rows()
    outputs["rows"][..., 6:] *= share
    marks = {"part": {"first": 6}, "code": code}
    (face,) = decode(outputs, place, preset="end_to_end", landmarks=marks).objects
    assert face.box == (16.0, 8.0, 80.0, 24.0)
    np.testing.assert_allclose(face.landmarks["left_eye"], [20, 5.5])
    np.testing.assert_allclose(face.landmarks["right_mouth"], [36, 9.5])


def test_boxes_alone() -> None:
    (face,) = decode(rows(), preset="end_to_end").objects
    assert face.landmarks == {}


def test_mistakes() -> None:
    marks: dict[str, Any] = {"part": {"first": 6, "count": 4}}
    with pytest.raises(
        FeedsError, match=r"gives 4 numbers for the landmarks of a face\. Expected 10"
    ):
        decode(rows(), preset="end_to_end", landmarks=marks)
    with pytest.raises(FeedsError, match="Landmarks coded as strides are relative to priors"):
        decode(rows(), preset="end_to_end", landmarks={"part": {"first": 6}, "code": "strides"})
    with pytest.raises(FeedsError, match="size of the tensor, and landmarks are shares of it"):
        decode(rows(), preset="end_to_end", landmarks={"part": {"first": 6}, "code": "shares"})


def test_faces_describe_themselves() -> None:
    face = Face((10.0, 20.0, 40.0, 60.0), 0.91, {"nose": (25.0, 40.0)})
    faces = Faces((face, face))
    assert TASK.describe(faces) == "2 faces, the surest 0.91"
    assert TASK.describe(Faces(())) == "no face"
    told = json.loads(json.dumps(faces.to_json()))["objects"][0]
    assert told == {"box": [10, 20, 40, 60], "score": 0.91, "landmarks": {"nose": [25, 40]}}
    assert faces.rows()[0] == {
        "left": 10.0, "top": 20.0, "right": 40.0, "bottom": 60.0, "score": 0.91, "nose_x": 25.0,
        "nose_y": 40.0,
    }  # fmt: skip
    drawn = np.asarray(TASK.draw(Image.new("L", (80, 80)), faces))
    assert drawn[40, 25].sum() > 0
    assert drawn[50, 30].sum() == 0


# --- MTCNN ----------------------------------------------------------------------------------------


def test_mtcnn_windows() -> None:
    """Windows of 12 pixels at every second place of a picture shown at two fifths of its size."""
    rng = np.random.default_rng(7)
    grid = 5, 8
    moves = rng.normal(0, 0.2, (1, 4, *grid)).astype(np.float32)
    shares = rng.random((1, 2, *grid)).astype(np.float32)
    placement = Placement((50, 44), (26, 20), np.diag([0.4, 0.4, 1]))
    found = decode(
        {"a": moves, "b": shares}, placement, preset="mtcnn_windows", threshold=0.8, nms=None
    )
    wanted = []
    for row, column in np.ndindex(grid):
        if shares[0, 1, row, column] > 0.8:
            first = [5 * (2 * column + 1) // 2, 5 * (2 * row + 1) // 2]
            last = [5 * (2 * column + 12) // 2, 5 * (2 * row + 12) // 2]
            window = np.array([*first, *last], float)
            sides = np.tile(window[2:] - window[:2], 2)
            box = window + sides * moves[0, :, row, column].astype(float)
            shift = np.array([1, 1, 0, 0])  # the first pixel begins one before its number
            wanted.append((float(shares[0, 1, row, column]), box - shift, window - shift))
    wanted.sort(key=lambda each: -each[0])
    assert len(wanted) >= 5
    np.testing.assert_allclose([f.score for f in found.objects], [w[0] for w in wanted], rtol=1e-6)
    np.testing.assert_allclose([f.box for f in found.objects], [w[1] for w in wanted], atol=1e-4)
    np.testing.assert_allclose([f.prior for f in found.objects], [w[2] for w in wanted], atol=1e-4)
    assert max(face.box[2] for face in found.objects) > 50, "one reaches out of the picture"
    inside = decode(
        {"a": moves, "b": shares}, placement, preset="mtcnn_windows", threshold=0.8, nms=None,
        beyond=False,
    )  # fmt: skip
    limits = np.array([w[1] for w in wanted]).clip(0, [50, 44, 50, 44])
    left_out = np.array([face.box for face in inside.objects]) - limits
    assert np.abs(left_out).max() <= 1, "cut off at the pixels, and these are one further"
    assert np.array([face.box for face in inside.objects]).min() >= 0


def test_mtcnn_windows_compete_by_what_they_are() -> None:
    """Two windows in the same place but for a step, whose boxes lie apart."""
    moves, shares = np.zeros((1, 4, 1, 9), np.float32), np.zeros((1, 2, 1, 9), np.float32)
    shares[0, 1, 0, [0, 1, 8]] = 0.9, 0.8, 0.7
    moves[0, :, 0, 1], moves[0, :, 0, 8] = 5.0, -16 / 11 * np.array([1, 0, 1, 0])
    outputs = {"a": moves, "b": shares}
    by_priors = decode(outputs, preset="mtcnn_windows", size=(12, 28))
    by_boxes = decode(outputs, preset="mtcnn_windows", size=(12, 28), nms={"iou": 0.5})
    assert [round(face.score, 3) for face in by_priors.objects] == [0.9, 0.7]
    assert [round(face.score, 3) for face in by_boxes.objects] == [0.9, 0.8]


@pytest.mark.parametrize("passes", [True, False])
def test_mtcnn_faces(passes: bool) -> None:
    """The crop shows (30, 10) to (78, 82) of the picture, at 48 x 48."""
    rng = np.random.default_rng(8)
    moves = rng.normal(0, 0.1, (1, 4)).astype(np.float32)
    marks = rng.random((1, 10)).astype(np.float32)
    shares = np.array([[0.1, 0.9] if passes else [0.4, 0.6]], np.float32)
    matrix = np.diag([1.0, 48 / 72, 1.0]) @ np.array([[1, 0, -30], [0, 1, -10], [0, 0, 1.0]])
    placement = Placement((100, 80), (48, 48), matrix)
    found = decode({"a": moves, "b": marks, "c": shares}, placement, preset="mtcnn_faces")
    refined = decode({"a": moves, "c": shares}, placement, preset="mtcnn_refined")
    if not passes:
        assert found.objects == refined.objects == ()
        return
    (face,) = found.objects
    np.testing.assert_allclose(face.box, [30, 10, 78, 82] + moves[0] * [48, 72, 48, 72], atol=1e-4)
    np.testing.assert_allclose(face.prior or (), [30, 10, 78, 82])
    assert tuple(face.landmarks) == FIVE
    places = np.stack([30 + 48 * marks[0, :5], 10 + 72 * marks[0, 5:]], 1)
    np.testing.assert_allclose(list(face.landmarks.values()), places, atol=1e-4)
    assert [each.box for each in refined.objects] == [face.box]


def test_priors_are_needed_to_go_by_them() -> None:
    for given in ({"nms": {"by": "priors"}}, {"with_priors": True}):
        with pytest.raises(UsageError, match="no priors to keep, or to thin boxes out by"):
            TASK.parameters({"boxes": {}, "scores": {"output": 1}, **given})
