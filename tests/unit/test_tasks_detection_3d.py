"""Boxes in space, beside procedures written out cell by cell and point by point."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.decoding.boxes_3d import AnchorGrid, decoded, directed
from modelport.runtime.decoding.monocular import Lens, camera_vertices
from modelport.runtime.decoding.turned_boxes import (
    corners_of,
    overlaps_of,
    shared_areas,
    turned_nms,
)
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.detection_3d import Boxes3D
from modelport.runtime.voxels import voxelise

Array = np.ndarray[Any, Any]
LABELS = ("pedestrian", "cyclist", "car")


def decode(
    outputs: dict[str, Array], placement: Placement | None = None, **parameters: Any
) -> Boxes3D:
    task = TASKS.get("detection_3d")
    found = task.decode(outputs, Context(task.parameters(parameters), LABELS, placement))
    assert isinstance(found, Boxes3D)
    return found


# --- rectangles at an angle ---------------------------------------------------------------------


def boxes_around(seed: int, count: int) -> Array:
    generator = np.random.default_rng(seed)
    places, sides = generator.uniform(-3, 3, (count, 2)), generator.uniform(0.3, 4, (count, 2))
    return np.concatenate([places, sides, generator.uniform(-4, 4, (count, 1))], 1)


@pytest.mark.parametrize("seed", range(4))
def test_shared_areas_are_those_of_opencv(seed: int) -> None:
    cv2 = pytest.importorskip(
        "cv2", reason="OpenCV is not installed, whose areas are compared with"
    )
    one, *others = boxes_around(seed, 60)
    found = shared_areas(corners_of(one[None])[0], corners_of(np.array(others)))
    for area, other in zip(found, others, strict=True):
        pair = [((box[0], box[1]), (box[2], box[3]), math.degrees(box[4])) for box in (one, other)]
        kind, shape = cv2.rotatedRectangleIntersection(*pair)
        expected = 0.0
        if kind != cv2.INTERSECT_NONE and shape is not None:
            expected = cv2.contourArea(cv2.convexHull(shape))
        assert area == pytest.approx(expected, abs=2e-3)


angles = st.floats(-7, 7)


@settings(max_examples=12)
@given(angle=angles, other=angles, x=st.floats(-3, 3), y=st.floats(-3, 3))
def test_laws_of_overlaps(angle: float, other: float, x: float, y: float) -> None:
    some = np.array([x, y, 2.0, 1.0, angle])
    turned = np.array([x, y, 2.0, 1.0, other])
    assert overlaps_of(some, some[None])[0] == pytest.approx(1)
    assert overlaps_of(some, turned[None])[0] == pytest.approx(overlaps_of(turned, some[None])[0])
    half = some + np.array([0, 0, 0, 0, math.pi])
    assert overlaps_of(some, half[None])[0] == pytest.approx(1)
    assert 0 < overlaps_of(some, turned[None])[0] <= 1 + 1e-9
    assert overlaps_of(some, (some + np.array([9, 9, 0, 0, 0]))[None])[0] == 0


def test_doubles_are_left_out() -> None:
    boxes, scores = boxes_around(1, 30), np.random.default_rng(1).random(30)
    kept: list[int] = []
    for index in np.argsort(-scores):  # one against one, in turn
        if all(overlaps_of(boxes[other], boxes[index][None])[0] <= 0.2 for other in kept):
            kept.append(int(index))
    assert turned_nms(boxes, scores, 0.2).tolist() == kept
    assert 3 < len(kept) < 30
    assert turned_nms(boxes[:0], scores[:0], 0.2).tolist() == []


# --- voxels -------------------------------------------------------------------------------------


def by_points(
    points: Array, size: Any, extent: Any, most_points: int, most_voxels: int
) -> tuple[Array, Array, Array]:
    """One point after the other, as the first implementations did."""
    grid = [round((extent[axis + 3] - extent[axis]) / size[axis]) for axis in range(3)]
    numbers: dict[tuple[int, ...], int] = {}
    filled: list[list[Array]] = []
    for point in points:
        cell = [
            math.floor(
                (np.float32(point[axis]) - np.float32(extent[axis])) / np.float32(size[axis])
            )
            for axis in range(3)
        ]
        if any(not 0 <= cell[axis] < grid[axis] for axis in range(3)):
            continue
        place = tuple(cell[::-1])
        if place not in numbers:
            if len(numbers) == most_voxels:
                continue
            numbers[place] = len(numbers)
            filled.append([])
        if len(filled[numbers[place]]) < most_points:
            filled[numbers[place]].append(point)
    table = np.zeros((len(filled), most_points, points.shape[1]), np.float32)
    for number, inside in enumerate(filled):
        table[number, : len(inside)] = inside
    return table, np.array(list(numbers)).reshape(-1, 3), np.array([len(x) for x in filled])


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 300),
    most_points=st.integers(1, 6),
    most_voxels=st.integers(1, 40),
)
def test_voxels_are_those_of_the_plain_loop(
    seed: int, count: int, most_points: int, most_voxels: int
) -> None:
    generator = np.random.default_rng(seed)
    points = generator.uniform(-6, 6, (count, 4)).astype(np.float32)
    size, extent = (1.0, 2.0, 4.0), (-4.0, -4.0, -2.0, 4.0, 4.0, 2.0)
    found = voxelise(points, size, extent, most_points=most_points, most_voxels=most_voxels)
    table, places, counts = by_points(points, size, extent, most_points, most_voxels)
    np.testing.assert_array_equal(found.points, table)
    np.testing.assert_array_equal(found.places, places)
    np.testing.assert_array_equal(found.counts, counts)
    padded = found.padded(50)
    assert padded.points.shape == (50, most_points, 4)
    assert (padded.places[len(places) :] == -1).all()


def test_points_must_be_a_table() -> None:
    with pytest.raises(FeedsError, match=r"Points have shape \[4\]\. Expected n x 3 or more"):
        voxelise(np.zeros(4), (1, 1, 1), (0, 0, 0, 1, 1, 1))
    odd = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [0.5, 0.5, 0.5]], np.float32)
    assert voxelise(odd, (1, 1, 1), (0, 0, 0, 1, 1, 1)).counts.tolist() == [1]


# --- anchors ------------------------------------------------------------------------------------

SIZES = ((0.8, 0.6, 1.73), (1.76, 0.6, 1.73), (3.9, 1.6, 1.56))
EXTENTS = ((0.0, -8.0, -0.6, 16.0, 8.0, -0.6),) * 2 + ((0.0, -8.0, -1.78, 16.0, 8.0, -1.78),)
HOW: dict[str, Any] = {"sizes": SIZES, "extents": EXTENTS, "turns": (0.0, 1.57)}


def encoded(boxes: Array, anchors: Array) -> Array:
    """SECOND, equation 1: residuals, with z of middles."""
    diagonal = np.sqrt(anchors[:, 3] ** 2 + anchors[:, 4] ** 2)
    middle, own = boxes[:, 2] + boxes[:, 5] / 2, anchors[:, 2] + anchors[:, 5] / 2
    return np.stack(
        [
            (boxes[:, 0] - anchors[:, 0]) / diagonal,
            (boxes[:, 1] - anchors[:, 1]) / diagonal,
            (middle - own) / anchors[:, 5],
            *np.log(boxes[:, 3:6] / anchors[:, 3:6]).T,
            boxes[:, 6] - anchors[:, 6],
        ],
        -1,
    )


def test_residuals_come_back() -> None:
    generator = np.random.default_rng(0)
    anchors = np.abs(generator.standard_normal((50, 7))) + 0.5
    boxes = np.abs(generator.standard_normal((50, 7))) + 0.5
    np.testing.assert_allclose(decoded(encoded(boxes, anchors), anchors), boxes)


def test_anchors_stand_in_the_middle_of_cells() -> None:
    grid = AnchorGrid(EXTENTS, SIZES, (0.0, 1.57)).boxes(4, 8).reshape(4, 8, 3, 2, 7)
    for y in range(4):
        for x in range(8):
            for size in range(3):
                for turn in range(2):
                    expected = [1 + 2 * x, -6 + 4 * y, EXTENTS[size][2], *SIZES[size], 1.57 * turn]
                    np.testing.assert_allclose(grid[y, x, size, turn], expected)
    edges = AnchorGrid(EXTENTS, SIZES, aligned=False).boxes(3, 5).reshape(3, 5, 3, 2, 7)
    np.testing.assert_allclose(edges[0, :, 0, 0, 0], [0, 4, 8, 12, 16])


@settings(max_examples=25)
@given(yaw=st.floats(-9, 9), way=st.integers(0, 1))
def test_directions_turn_round_what_points_backwards(yaw: float, way: int) -> None:
    found = float(directed(np.array([yaw]), np.array([way]), -math.pi / 4, 0.0)[0])
    assert -math.pi / 4 + way * math.pi - 1e-9 <= found < -math.pi / 4 + (way + 1) * math.pi + 1e-9
    turns = (found - yaw) / math.pi
    assert turns == pytest.approx(round(turns), abs=1e-9)


def scene() -> tuple[dict[str, Array], Array]:
    """Outputs of a map of 4x8 with three boxes and a double, and those boxes."""
    generator = np.random.default_rng(0)
    scores = np.full((4, 8, 3, 2, 3), -9.0)
    deltas = generator.normal(0, 0.1, (4, 8, 3, 2, 7))
    ways = np.zeros((4, 8, 3, 2, 2))
    ways[..., 0] = 1
    anchors = AnchorGrid(EXTENTS, SIZES, (0.0, 1.57)).boxes(4, 8).reshape(4, 8, 3, 2, 7)
    wanted = {(1, 2, 2, 0): (2, 3.0), (3, 6, 0, 1): (0, 2.0), (0, 5, 1, 0): (1, 1.0)}
    boxes = []
    for place, (label, score) in wanted.items():
        box = anchors[place] + [0.3, -0.2, 0.1, 0.2, 0.1, 0.05, 0.3]
        deltas[place] = encoded(box[None], anchors[place][None])[0]
        scores[(*place, label)] = score
        boxes.append(box)
    double = (1, 2, 2, 1)
    deltas[double] = encoded(boxes[0][None], anchors[double][None])[0]
    scores[(*double, 2)] = 2.5
    ways[3, 6, 0, 1] = (0, 1)  # the second one points backwards

    def laid(cells: Array) -> Array:
        return cells.reshape(4, 8, -1).transpose(2, 0, 1)[None].astype(np.float32)

    return {"cls": laid(scores), "box": laid(deltas), "dir": laid(ways)}, np.array(boxes)


def test_a_map_of_anchors_becomes_boxes() -> None:
    outputs, boxes = scene()
    found = decode(outputs, **HOW)
    assert [each.label for each in found.objects] == ["car", "pedestrian", "cyclist"]
    for each, box, score in zip(found.objects, boxes, (3, 2, 1), strict=True):
        np.testing.assert_allclose([*each.place, *each.sides], box[:6], atol=1e-5)
        assert each.score == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-6)
    assert found.objects[0].yaw == pytest.approx(0.3, abs=1e-5)
    assert found.objects[1].yaw == pytest.approx(1.87 + math.pi, abs=1e-5)
    without = decode({name: outputs[name] for name in ("cls", "box")}, **HOW)
    assert without.objects[1].yaw == pytest.approx(1.87, abs=1e-5)
    assert len(decode(outputs, **HOW, iou=1.0).objects) == 4
    assert len(decode(outputs, **HOW, most=1).objects) == 1
    assert decode(outputs, **HOW, threshold=0.99).objects == ()
    # corners are those of the box: their middle is its own, and their spread its sides
    np.testing.assert_allclose(found.corners[0].mean(0)[:2], boxes[0][:2], atol=1e-5)
    assert np.ptp(found.corners[0][:, 2]) == pytest.approx(boxes[0][5], abs=1e-5)


def test_scanners_are_drawn_from_above() -> None:
    found = decode(scene()[0], **HOW)
    drawn = TASKS.get("detection_3d").draw(Image.new("L", (200, 160)), found)
    assert (drawn.mode, drawn.size) == ("RGB", (200, 160))
    assert len(set(drawn.get_flattened_data())) > 3
    empty = decode(scene()[0], **HOW, threshold=0.99)
    assert TASKS.get("detection_3d").describe(empty) == "nothing"
    assert TASKS.get("detection_3d").draw(Image.new("L", (20, 10)), empty).size == (20, 10)


def test_results_have_a_json_form() -> None:
    found = decode(scene()[0], **HOW)
    told = json.loads(json.dumps(found.to_json()))
    assert told["frame"] == "scanner"
    assert told["objects"][0]["label"] == "car"
    assert len(told["objects"][0]["place"]) == 3
    assert found.rows()[1]["label"] == "pedestrian"
    assert TASKS.get("detection_3d").describe(found) == "1 car, 1 pedestrian, 1 cyclist"


def test_outputs_that_do_not_fit_are_refused() -> None:
    outputs, _ = scene()
    with pytest.raises(
        FeedsError, match="has 41 channels. Expected a multiple of 7".replace(".", r"\.")
    ):
        decode({**outputs, "box": outputs["box"][:, :41]}, **HOW)
    with pytest.raises(
        FeedsError, match=r"Expected 64 of each, by the parameters' sizes and turns"
    ):
        decode(outputs, sizes=SIZES[:1], extents=EXTENTS[:1])
    with pytest.raises(EngineError, match="The output with class scores holds a NaN"):
        decode({**outputs, "cls": outputs["cls"] * np.nan}, **HOW)
    with pytest.raises(UsageError, match="2 extents for 3 sizes"):
        decode(outputs, sizes=SIZES, extents=EXTENTS[:2])
    with pytest.raises(UsageError, match="a camera needs its lens"):
        decode(outputs, sizes=SIZES, form="camera")


# --- one picture --------------------------------------------------------------------------------

LENS = (720.0, 710.0, 610.0, 175.0)
USUAL = ((0.88, 1.73, 0.67), (1.78, 1.70, 0.58), (3.88, 1.63, 1.53))
CAMERA: dict[str, Any] = {
    "form": "camera", "sizes": USUAL, "lens": LENS, "depth": (28.01, 16.32), "threshold": 0.25,
}  # fmt: skip


def shown(
    things: list[tuple[int, float, Array]], placement: Placement, cells: tuple[int, int]
) -> dict[str, Array]:
    """The outputs of a model that sees those things: class, score, and x, y, z, l, h, w, yaw."""
    heat, values = np.full((1, 3, cells[1], cells[0]), -6.0), np.zeros((1, 8, cells[1], cells[0]))
    for label, score, box in things:
        x, y, z = box[0], box[1] - box[4] / 2, box[2]
        pixel = np.array([LENS[0] * x / z + LENS[2], LENS[1] * y / z + LENS[3]])
        place = placement.points_to_tensor(pixel + 0.5) - 0.5
        place = place * np.array(cells) / placement.tensor
        across, down = np.floor(place).astype(int)
        ray = math.atan2(x, z)
        seen = (box[6] - ray + math.pi) % (2 * math.pi) - math.pi
        sine, cosine = (math.cos(seen), -math.sin(seen))  # the angle is counted a quarter further
        heat[0, label, down, across] = math.log(score / (1 - score))
        values[0, :, down, across] = [
            (z - 28.01) / 16.32, *(place - (across, down)), *np.log(box[3:6] / USUAL[label]),
            sine, cosine,
        ]  # fmt: skip
    return {"heat": heat, "values": values}


def test_a_picture_and_its_lens_give_places() -> None:
    things = [
        (2, 0.9, np.array([3.0, 1.6, 20.0, 4.0, 1.5, 1.6, 0.4])),
        (0, 0.6, np.array([-5.0, 1.5, 12.0, 0.9, 1.8, 0.6, -2.8])),
        (1, 0.4, np.array([0.5, 1.7, 35.0, 1.7, 1.6, 0.6, 1.5])),
    ]
    # the picture of 1242x375 at half its size, in the middle of 640x192
    placement = Placement((1242, 375), (640, 192), shifting(9, 2) @ scaling((2, 2), (1, 1)))
    found = decode(shown(things, placement, (160, 48)), placement, **CAMERA)
    assert [each.label for each in found.objects] == ["car", "pedestrian", "cyclist"]
    for each, (_, score, box) in zip(found.objects, things, strict=True):
        np.testing.assert_allclose([*each.place, *each.sides], box[:6], rtol=1e-6)
        assert each.score == pytest.approx(score)
        assert each.yaw == pytest.approx(box[6], abs=1e-6)
    assert found.frame == "camera"


def test_yaws_are_told_in_every_direction() -> None:
    placement = Placement.whole(1242, 375)
    for yaw in np.linspace(-3.1, 3.1, 7):
        box = np.array([4.0, 1.6, 18.0, 4.0, 1.5, 1.6, yaw])
        found = decode(shown([(2, 0.9, box)], placement, (310, 93)), placement, **CAMERA)
        assert found.objects[0].yaw == pytest.approx(yaw, abs=1e-6)


def test_corners_are_seen_where_the_lens_shows_them() -> None:
    box = np.array([[0.0, 1.0, 10.0, 4.0, 2.0, 1.0, 0.0]])
    corners = camera_vertices(box)[0]
    assert sorted({round(float(x), 6) for x in corners[:, 0]}) == [-2, 2]  # its length is across
    assert sorted({round(float(y), 6) for y in corners[:, 1]}) == [-1, 1]  # up from its lower face
    assert sorted({round(float(z), 6) for z in corners[:, 2]}) == [9.5, 10.5]
    quarter = camera_vertices(box + np.array([0, 0, 0, 0, 0, 0, math.pi / 2]))[0]
    assert sorted({round(float(z), 6) for z in quarter[:, 2]}) == [8, 12]
    lens = Lens((100, 100), (50, 40))
    np.testing.assert_allclose(lens.seen(np.array([[1.0, 2.0, 4.0]])), [[75, 90]])
    assert np.isnan(lens.seen(np.array([[1.0, 2.0, -4.0]]))).all()
    places = np.random.default_rng(0).uniform(1, 5, (9, 3))
    np.testing.assert_allclose(lens.places(lens.seen(places), places[:, 2]), places)


def test_boxes_are_drawn_in_the_picture() -> None:
    placement = Placement.whole(1242, 375)
    box = np.array([3.0, 1.6, 20.0, 4.0, 1.5, 1.6, 0.4])
    found = decode(shown([(2, 0.9, box)], placement, (310, 93)), placement, **CAMERA)
    assert found.outlines is not None
    drawn = np.asarray(TASKS.get("detection_3d").draw(Image.new("RGB", (1242, 375)), found))
    rows, columns = np.nonzero(drawn.sum(-1))
    (left, top), (right, bottom) = found.outlines[0].min(0), found.outlines[0].max(0)
    assert abs(columns.max() - right) < 4
    assert abs(rows.max() - bottom) < 4
    assert left - 4 <= columns.min() <= left + 1
    assert rows.min() >= top - 4


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(
        FeedsError, match="Expected 3 classes by the parameter sizes, and 8 channels"
    ):
        decode({"heat": np.zeros((1, 3, 4, 4)), "values": np.zeros((1, 7, 4, 4))}, **CAMERA)
