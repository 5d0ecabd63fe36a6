"""Turned boxes: beside a raster, beside OpenCV, and through heads and placements."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from modelport.errors import EngineError, FeedsError
from modelport.runtime.decoding.rotated_boxes import (
    corners_of_rotated,
    regular,
    rotated_nms,
    rotated_of_corners,
    rotated_overlap,
)
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.rotated_detection import (
    RotatedDetection,
    RotatedDetections,
    RotatedDetectionTask,
)

Array = np.ndarray[Any, Any]
TASK = RotatedDetectionTask()
FINE = 4
"""Cells of the raster to a pixel, along each axis."""

boxes_of_five = st.tuples(
    st.floats(20, 40), st.floats(20, 40), st.floats(3, 30), st.floats(3, 30), st.floats(-7, 7)
).map(lambda numbers: np.array(numbers))


def raster(box: Array) -> Array:
    """Which cells of a fine grid have their middle inside: by turning the middles back."""
    x, y, width, height, angle = box
    middles = (np.arange(64 * FINE) + 0.5) / FINE
    dx, dy = middles[None, :] - x, middles[:, None] - y
    along = dx * math.cos(angle) + dy * math.sin(angle)
    across = -dx * math.sin(angle) + dy * math.cos(angle)
    return (np.abs(along) <= width / 2) & (np.abs(across) <= height / 2)


@settings(max_examples=25)
@given(boxes_of_five, boxes_of_five)
def test_overlap_is_that_of_a_raster(one: Array, other: Array) -> None:
    first, second = raster(one), raster(other)
    counted = (first & second).sum() / (first | second).sum()
    assert rotated_overlap(one, other) == pytest.approx(counted, abs=0.03)
    assert rotated_overlap(one, other) == pytest.approx(rotated_overlap(other, one), abs=1e-9)


@settings(max_examples=25)
@given(boxes_of_five, st.floats(-3, 3))
def test_overlap_of_a_box_with_itself_and_its_parts(box: Array, turn: float) -> None:
    assert rotated_overlap(box, box) == pytest.approx(1)
    half = box * [1, 1, 1, 0.5, 1]
    assert rotated_overlap(box, half) == pytest.approx(0.5)
    apart = box + np.array([100, 0, 0, 0, turn])
    assert rotated_overlap(box, apart) == 0
    whole_turn = box + np.array([0, 0, 0, 0, 2 * math.pi])
    assert rotated_overlap(box, whole_turn) == pytest.approx(1)


def test_overlap_is_that_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed, the reference here")
    rng = np.random.default_rng(0)
    for _ in range(200):
        pair = np.column_stack(
            [rng.random((2, 2)) * 20, rng.random((2, 2)) * 20 + 2, rng.normal(0, 3, 2)]
        )
        rectangles = [((b[0], b[1]), (b[2], b[3]), math.degrees(b[4])) for b in pair]
        kind, points = cv2.rotatedRectangleIntersection(*rectangles)
        shared = cv2.contourArea(cv2.convexHull(points)) if kind else 0.0
        joint = (pair[:, 2] * pair[:, 3]).sum() - shared
        assert rotated_overlap(*pair) == pytest.approx(shared / joint, abs=1e-3)


RANGES = {
    "oc": (0.0, math.pi / 2),
    "le90": (-math.pi / 2, math.pi / 2),
    "le135": (-math.pi / 4, 3 * math.pi / 4),
}


@pytest.mark.parametrize("convention", RANGES)
@settings(max_examples=25)
@given(box=boxes_of_five)
def test_conventions_write_the_same_rectangle(convention: Any, box: Array) -> None:
    made = regular(box[None], convention)
    low, high = RANGES[convention]
    assert low - 1e-9 <= made[0, 4] <= high + 1e-9
    if convention != "oc":
        assert made[0, 2] >= made[0, 3]
    before = sorted(map(tuple, corners_of_rotated(box[None])[0].round(6).tolist()))
    after = sorted(map(tuple, corners_of_rotated(made)[0].round(6).tolist()))
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_conventions_at_their_ends() -> None:
    flat = np.array([[0, 0, 4.0, 2.0, 0.0]])
    np.testing.assert_allclose(regular(flat, "oc"), [[0, 0, 2, 4, math.pi / 2]])
    np.testing.assert_allclose(regular(flat, "le90"), flat)
    standing = np.array([[0, 0, 4.0, 2.0, math.pi / 2]])
    np.testing.assert_allclose(regular(standing, "le90"), [[0, 0, 4, 2, -math.pi / 2]])
    np.testing.assert_allclose(regular(standing, "le135"), standing)
    np.testing.assert_allclose(regular(standing, "oc"), standing)


@settings(max_examples=25)
@given(boxes_of_five)
def test_corners_and_back(box: Array) -> None:
    back = rotated_of_corners(corners_of_rotated(box[None]))
    np.testing.assert_allclose(back[:, :4], box[None, :4], atol=1e-6)
    assert math.cos(back[0, 4] - box[4]) == pytest.approx(1)


@pytest.mark.parametrize("agnostic", [True, False])
@pytest.mark.parametrize("iou", [0.0, 0.1, 0.5])
def test_nms_is_that_of_the_definition(iou: float, agnostic: bool) -> None:
    rng = np.random.default_rng(4)
    boxes = np.column_stack(
        [rng.random((50, 2)) * 50, rng.random((50, 2)) * 25 + 3, rng.normal(0, 2, 50)]
    )
    scores, classes = rng.random(50), rng.integers(0, 3, 50)
    kept: list[int] = []
    for index in np.argsort(-scores).tolist():
        rivals = [k for k in kept if agnostic or classes[k] == classes[index]]
        if all(rotated_overlap(boxes[index], boxes[k]) <= iou for k in rivals):
            kept.append(index)
    groups = None if agnostic else classes
    assert rotated_nms(boxes, scores, iou, classes=groups).tolist() == kept
    assert rotated_nms(boxes, scores, iou, classes=groups, most=5).tolist() == kept[:5]
    assert 5 < len(kept) < 50


def decode(outputs: dict[str, Array], placement: Any = None, **parameters: Any) -> Any:
    return TASK.decode(outputs, Context(TASK.parameters(parameters), ("ship", "plane"), placement))


def exported() -> Array:
    """Three boxes: x, y, width, height, two scores, angle."""
    rows = [
        [30, 20, 20, 8, 0.9, 0.1, 0.5],
        [31, 20, 20, 8, 0.8, 0.1, 0.5],
        [31, 20, 20, 8, 0.1, 0.7, 2.0],
    ]
    return np.array(rows, np.float32).T[None]


def test_yolov8_obb() -> None:
    result = decode({"out": exported()}, preset="yolov8_obb", classes=2, threshold=0.2)
    assert [(each.label, round(each.score, 2)) for each in result.objects] == [
        ("ship", 0.9),
        ("plane", 0.7),
    ]
    first = result.objects[0]
    assert first.centre == (30.0, 20.0)
    assert (first.width, first.height) == (20.0, 8.0)
    assert first.angle == pytest.approx(math.degrees(0.5))
    assert result.objects[1].angle == pytest.approx(math.degrees(2.0 - math.pi))
    loose = decode({"out": exported()}, preset="yolov8_obb", classes=2, nms={"iou": 0.95})
    assert len(loose) == 3
    degrees = exported()
    degrees[:, 6] = np.rad2deg(degrees[:, 6])
    angle = {"part": {"first": 6}, "unit": "degrees"}
    again = decode({"out": degrees}, preset="yolov8_obb", classes=2, angle=angle)
    assert again.objects[0].angle == pytest.approx(first.angle, abs=1e-4)


def test_distances_along_turned_axes() -> None:
    """RTMDet-R: a point, the reach from it to four sides, and the angle of these."""
    rng = np.random.default_rng(6)
    grid = 4, 6
    logits = rng.normal(-2, 2, (2, *grid)).astype(np.float32)
    reach = rng.uniform(2, 12, (4, *grid)).astype(np.float32)
    angle = rng.uniform(-1.5, 1.5, (1, *grid)).astype(np.float32)
    outputs = {"cls": logits[None], "box": reach[None], "angle": angle[None]}
    result = decode(
        outputs, preset="rtmdet_rotated", scores=[0], boxes=[1], angles=[2], strides=[8],
        threshold=0.6, nms=None,
    )  # fmt: skip
    wanted = []
    for index, row, column in np.ndindex(logits.shape):
        score = 1 / (1 + math.exp(-float(logits[index, row, column])))
        if score > 0.6:
            left, top, right, bottom = reach[:, row, column].astype(float)
            turn = float(angle[0, row, column])
            across, down = (right - left) / 2, (bottom - top) / 2
            x = column * 8 + across * math.cos(turn) - down * math.sin(turn)
            y = row * 8 + across * math.sin(turn) + down * math.cos(turn)
            wanted.append((score, index, [x, y, left + right, top + bottom, turn]))
    wanted.sort(key=lambda each: -each[0])
    assert len(wanted) >= 3
    assert [each.index for each in result.objects] == [index for _, index, _ in wanted]
    for each, (score, _, box) in zip(result.objects, wanted, strict=True):
        assert each.score == pytest.approx(score, rel=1e-5)
        same = [*each.centre, each.width, each.height, math.radians(each.angle)]
        assert rotated_overlap(np.array(same), np.array(box)) == pytest.approx(1, abs=1e-4)


def test_boxes_go_back_to_the_picture() -> None:
    """Twice as large, twelve pixels beside: the angle stays."""
    place = Placement.whole(100, 60).then(scaling((100, 60), (50, 30)), (50, 30))
    place = place.then(shifting(6, 2), (64, 64))
    (found, *_) = decode({"out": exported()}, place, preset="yolov8_obb", classes=2).objects
    np.testing.assert_allclose(found.centre, [(30 - 6) * 2, (20 - 2) * 2], atol=1e-5)
    np.testing.assert_allclose([found.width, found.height], [40, 16], atol=1e-4)
    assert found.angle == pytest.approx(math.degrees(0.5), abs=1e-4)


def test_mistakes() -> None:
    with pytest.raises(FeedsError, match="coded as xyxy have no middle to turn around"):
        decode({"out": exported()}, preset="yolov8_obb", classes=2, code="xyxy")
    broken = exported()
    broken[0, 6, 0] = np.nan
    with pytest.raises(EngineError, match="angles of the model hold a NaN"):
        decode({"out": broken}, preset="yolov8_obb", classes=2)


def test_nothing_found() -> None:
    result = decode({"out": exported()}, preset="yolov8_obb", classes=2, threshold=0.99)
    assert result.objects == ()
    assert TASK.describe(result) == "nothing"


def test_rotated_detections_describe_themselves() -> None:
    box = RotatedDetection((50.0, 40.0), 40.0, 20.0, 30.0, "ship", 0, 0.9)
    result = RotatedDetections((box,))
    assert TASK.describe(result) == "1 object: ship 0.90"
    told = json.loads(json.dumps(result.to_json()))["objects"][0]
    assert (told["centre"], told["angle"], told["label"]) == ([50, 40], 30, "ship")
    assert result.rows()[0]["height"] == 20.0
    drawn = np.asarray(TASK.draw(Image.new("RGB", (100, 80)), result))
    outline = Image.new("L", (100, 80))
    corners = [tuple(point) for point in box.corners.tolist()]
    ImageDraw.Draw(outline).line([*corners, corners[0]], 255, 1)
    assert (drawn.sum(-1) > 0)[np.asarray(outline) > 0].mean() > 0.9
