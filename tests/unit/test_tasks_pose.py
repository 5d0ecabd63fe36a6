"""Keypoints from heatmaps, distributions, numbers and rows; where they lie in the picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.decoding.heatmaps import Blur, peaks, refined
from modelport.runtime.decoding.skeletons import SKELETONS
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.pose import Poses

Array = np.ndarray[Any, Any]
THREE = [["head", "left hand", "right hand"], [[0, 1], [0, 2]]]


def decode(
    *given: Array, placement: Placement | None = None, labels: Any = None, **parameters: Any
) -> Poses:
    task = TASKS.get("pose")
    outputs = {f"out{number}": array for number, array in enumerate(given)}
    found = task.decode(outputs, Context(task.parameters(parameters), labels, placement))
    assert isinstance(found, Poses)
    return found


def hills(centres: Array, size: tuple[int, int], sigma: float = 2.0) -> Array:
    """One Gaussian around each centre (x, y), heatmaps of 1 x n x height x width."""
    down, across = np.indices(size)
    square = (across - centres[:, 0, None, None]) ** 2 + (down - centres[:, 1, None, None]) ** 2
    return np.exp(-square / (2 * sigma**2)).astype(np.float32)[None]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


# --- heatmaps -----------------------------------------------------------------------------------

places = st.floats(6, 25)


@settings(max_examples=20)
@given(x=places, y=places)
def test_dark_finds_the_middle_of_a_gaussian(x: float, y: float) -> None:
    """The logarithm of a Gaussian is a parabola, whose summit one Newton step finds."""
    maps = hills(np.array([[x, y]]), (32, 32))[0]
    cells, values = peaks(maps)
    assert values[0] == maps.max()
    for how, blur in (("dark", Blur(11)), ("dark_udp", Blur(11, 0.8, "mirror"))):
        found = refined(maps, cells, how, blur)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, [[x, y]], atol=0.03)
    # a quarter of a cell is never further off than half of one
    assert np.abs(refined(maps, cells, "quarter", Blur()) - [[x, y]]).max() <= 0.26
    np.testing.assert_array_equal(refined(maps, cells, "none", Blur()), cells)


@pytest.mark.parametrize("size", [3, 5, 7, 9, 11, 17])
def test_blurs_are_those_of_opencv_and_scipy(size: int) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed, whose blur is compared with")
    maps = noise(2, 20, 15)
    border = size // 2
    padded = np.pad(maps, ((0, 0), (border, border), (border, border)))
    for found, plane, whole in zip(Blur(size)(maps), maps, padded, strict=True):
        theirs = cv2.GaussianBlur(whole, (size, size), 0)[border:-border, border:-border]
        np.testing.assert_allclose(found, theirs * plane.max() / theirs.max(), atol=1e-5)
    for found, plane in zip(Blur(size, 0.8, "mirror")(maps), maps, strict=True):
        theirs = ndimage.gaussian_filter(plane, 0.8, radius=border)
        np.testing.assert_allclose(found, theirs, atol=1e-5)


def quarter_by_loop(plane: Array) -> tuple[float, float]:
    """As HRNet's and MMPose's own loops: both neighbours of a cell count unless it is at the edge."""
    height, width = plane.shape
    y, x = np.unravel_index(plane.argmax(), plane.shape)
    dx = dy = 0.0
    if 1 < x < width - 1 and 0 < y < height:
        dx = plane[y, x + 1] - plane[y, x - 1]
    if 1 < y < height - 1 and 0 < x < width:
        dy = plane[y + 1, x] - plane[y - 1, x]
    return x + 0.25 * np.sign(dx), y + 0.25 * np.sign(dy)


@pytest.mark.parametrize("seed", range(8))
def test_a_quarter_goes_to_the_higher_neighbour(seed: int) -> None:
    maps = noise(40, 5, 4, seed=seed)
    found = refined(maps, peaks(maps)[0], "quarter", Blur())
    np.testing.assert_allclose(found, [quarter_by_loop(plane) for plane in maps])


def test_dark_leaves_peaks_at_the_edge_alone() -> None:
    maps = np.zeros((2, 8, 8))
    maps[0, 1, 4], maps[1, 4, 6] = 1, 1
    np.testing.assert_array_equal(refined(maps, peaks(maps)[0], "dark", Blur(3)), [[4, 1], [6, 4]])


@pytest.mark.parametrize("how", ["dark", "dark_udp"])
def test_flat_heatmaps_have_a_place_too(how: Any) -> None:
    maps = np.zeros((3, 8, 8))
    assert np.isfinite(refined(maps, peaks(maps)[0], how, Blur())).all()
    assert np.isfinite(refined(maps - 5, peaks(maps)[0], how, Blur())).all()


def test_a_cell_is_as_many_pixels_as_the_tensor_is_larger() -> None:
    maps = np.zeros((1, 3, 64, 48), np.float32)
    maps[0, 0, 10, 20], maps[0, 1, 63, 47], maps[0, 2, 0, 0] = 0.9, 0.5, 0.25
    placement = Placement((192, 256), (192, 256), np.eye(3))
    found = decode(maps, placement=placement, refine="none", skeleton=THREE).objects[0]
    np.testing.assert_allclose(found.points - 0.5, [[80, 40], [188, 252], [0, 0]])
    np.testing.assert_allclose(found.scores, [0.9, 0.5, 0.25])
    assert found.score == pytest.approx(0.55)
    aligned = decode(maps, placement=placement, refine="none", udp=True, skeleton=THREE)
    expected = [[20 * 191 / 47, 10 * 255 / 63], [191, 255], [0, 0]]
    np.testing.assert_allclose(aligned.objects[0].points - 0.5, expected)


def test_points_go_back_through_the_crop() -> None:
    """The crop shows the picture from (30, 40) on, at half its size."""
    placement = Placement((400, 300), (48, 64), scaling((2, 2), (1, 1)) @ shifting(-30, -40))
    maps = hills(np.array([[5.0, 7.0]]), (16, 12))
    found = decode(maps, placement=placement, refine="none", skeleton=[["tip"], []])
    np.testing.assert_allclose(found.objects[0].points, [[30 + 2 * 20.5, 40 + 2 * 28.5]])


# --- distributions and numbers ------------------------------------------------------------------


@pytest.mark.parametrize("joint", ["least", "mean"])
def test_simcc_takes_the_best_bin_of_each_axis(joint: str) -> None:
    across, down = noise(1, 3, 96), noise(1, 3, 128, seed=1)
    for number, (x, y) in enumerate([(30, 50), (0, 127), (95, 3)]):
        across[0, number, x], down[0, number, y] = 2 + number, 3
    found = decode(across, down, form="simcc", split=2.0, joint=joint, skeleton=THREE).objects[0]
    np.testing.assert_allclose(found.points - 0.5, [[15, 25], [0, 63.5], [47.5, 1.5]])
    np.testing.assert_allclose(found.scores, [2, 3, 3] if joint == "least" else [2.5, 3, 3.5])


def test_simcc_wants_two_outputs_that_fit() -> None:
    with pytest.raises(FeedsError, match="Expected 2 of them"):
        decode(noise(1, 3, 96), form="simcc")
    with pytest.raises(FeedsError, match="The outputs have 3 and 2 keypoints"):
        decode(noise(1, 3, 96), noise(1, 2, 96), form="simcc")


def test_numbers_are_shares_of_the_tensor_or_pixels() -> None:
    placement = Placement((200, 100), (100, 50), scaling((200, 100), (100, 50)))
    rows = np.array([[[0.5, 0.5], [0.1, 0.9]]])
    how = {"form": "numbers", "origin": "corner", "placement": placement}
    found = decode(rows, **how, skeleton=[["a", "b"], []])
    np.testing.assert_allclose(found.objects[0].points, [[100, 50], [20, 90]])
    np.testing.assert_array_equal(found.objects[0].scores, [1, 1])
    flat = decode((rows * [100, 50]).reshape(1, 4), **how, normalised=False)
    np.testing.assert_allclose(flat.objects[0].points, found.objects[0].points)


@pytest.mark.parametrize("shape", [(1, 1, 1, 6), (1, 6), (1, 2, 3)])
def test_numbers_in_one_row_say_how_many_there_are_to_a_keypoint(shape: tuple[int, ...]) -> None:
    placement = Placement((200, 100), (100, 50), scaling((200, 100), (100, 50)))
    how = {"form": "numbers", "normalised": False, "origin": "corner", "placement": placement}
    row = np.array([50, 25, -7, 10, 45, 9], np.float32).reshape(shape)
    found = decode(row, np.ones((1, 1)), **how, dimensions=3, skeleton=[["a", "b"], []])
    np.testing.assert_allclose(found.objects[0].points, [[100, 50], [20, 90]])
    scored = decode(row, **how, dimensions=3, confidence="score")
    np.testing.assert_allclose(scored.objects[0].scores, [-7, 9])
    with pytest.raises(FeedsError, match="a batch of one, with 4 numbers to a keypoint"):
        decode(row, **how, dimensions=4)


def test_the_spread_of_a_distribution_is_a_score() -> None:
    sigma = np.array([[0.1, 0.3], [0.5, 0.7]])
    rows = np.concatenate([np.full((2, 2), 0.5), sigma], 1)[None]
    placement = Placement.whole(10, 10)
    for given_sigma, confidence in (
        (rows, "sigma"),
        (np.concatenate([rows[..., :2], np.log(sigma / (1 - sigma))[None]], -1), "sigma_logits"),
    ):
        found = decode(given_sigma, form="numbers", confidence=confidence, placement=placement)
        np.testing.assert_allclose(found.objects[0].scores, [0.8, 0.4])
    apart = decode(
        rows[..., :2],
        np.array([[0.9, 0.2]]),
        form="numbers",
        confidence="score",
        placement=placement,
    )
    np.testing.assert_allclose(apart.objects[0].scores, [0.9, 0.2])
    with pytest.raises(FeedsError, match=r"2 numbers to a keypoint, and the parameter confidence"):
        decode(rows[..., :2], form="numbers", confidence="sigma")


# --- rows ---------------------------------------------------------------------------------------


def scene(seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Boxes (corners), scores of two classes, keypoints and their scores of three objects and doubles."""
    generator = np.random.default_rng(seed)
    boxes = np.array([[10, 20, 50, 90], [60, 10, 90, 80], [100, 100, 140, 150]], float)
    boxes = np.concatenate([boxes, boxes + 1, boxes[:1] + np.array([30, 0, 30, 0])])
    scores = np.array([[0.9, 0], [0.1, 0.8], [0.3, 0], [0.85, 0], [0, 0.7], [0.2, 0.1], [0.05, 0]])
    points = boxes[:, None, :2] + generator.random((7, 3, 2)) * 30
    return boxes, scores, points, generator.random((7, 3))


def packed(boxes: Array, scores: Array, points: Array, sure: Array) -> Array:
    """1 x columns x rows, as YOLO-pose: middle and sides, scores, keypoints."""
    middles = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    triples = np.concatenate([points, sure[..., None]], -1).reshape(len(boxes), -1)
    return np.concatenate([middles, scores, triples], 1).T[None].astype(np.float32)


@pytest.mark.parametrize("turned", [False, True])
def test_rows_of_objects(turned: bool) -> None:
    boxes, scores, points, sure = scene()
    output = packed(boxes, scores, points, sure)
    found = decode(
        output.transpose(0, 2, 1) if turned else output, labels=("person", "dog"), form="rows",
        classes=2, skeleton=THREE, rows_last=not turned, iou=0.6,
    )  # fmt: skip
    assert [(each.label, round(each.score, 3)) for each in found.objects] == [
        ("person", 0.9), ("dog", 0.8), ("person", 0.3),
    ]  # fmt: skip
    for each, row in zip(found.objects, (0, 1, 2), strict=True):
        np.testing.assert_allclose(each.points, points[row], rtol=1e-5)
        np.testing.assert_allclose(each.scores, sure[row], rtol=1e-5)
        np.testing.assert_allclose(np.array(each.box), boxes[row], rtol=1e-5)
    assert len(decode(output, form="rows", classes=2, skeleton=THREE, iou=None).objects) == 5
    assert len(decode(output, form="rows", classes=2, skeleton=THREE, most=1).objects) == 1


def test_logits_pass_a_sigmoid() -> None:
    boxes, scores, points, sure = scene()

    def logits(shares: Array) -> Array:
        shares = shares.clip(1e-6, 1 - 1e-6)
        return np.log(shares / (1 - shares))

    how: dict[str, Any] = {"form": "rows", "classes": 2, "skeleton": THREE}
    expected = decode(packed(boxes, scores, points, sure), **how)
    output = packed(boxes, logits(scores), points, logits(sure))
    found = decode(output, **how, logits=["scores", "points"])
    assert len(found.objects) == len(expected.objects) == 3
    for ours, theirs in zip(found.objects, expected.objects, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_several_outputs_stand_side_by_side() -> None:
    """As RTMO in ONNX: boxes with scores, and keypoints; doubles are gone already."""
    boxes, scores, points, sure = scene()
    found = decode(
        np.concatenate([boxes, scores.max(1, keepdims=True)], 1)[None],
        np.concatenate([points, sure[..., None]], -1)[None],
        placement=Placement((300, 300), (150, 150), scaling((300, 300), (150, 150))),
        form="rows", parts=["box", "score", "points"], box="corners", rows_last=False, iou=None,
        skeleton=THREE, score_threshold=0.5,
    )  # fmt: skip
    assert [each.score for each in found.objects] == [0.9, 0.85, 0.8, 0.7]
    np.testing.assert_allclose(found.objects[1].points, points[3] * 2)
    np.testing.assert_allclose(np.array(found.objects[1].box), boxes[3] * 2)


def test_no_rows_are_no_poses() -> None:
    found = decode(np.zeros((1, 15, 0), np.float32), form="rows", skeleton=THREE, classes=2)
    assert found.objects == ()
    assert TASKS.get("pose").describe(found) == "0 poses"


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(FeedsError) as caught:
        decode(np.zeros((1, 12, 5), np.float32), form="rows", skeleton=THREE)
    assert str(caught.value).startswith(
        "Rows of the output have 12 numbers. Expected 14 by the parameters: 4 (box) + 1 (scores) + "
        "9 (points)."
    )


# --- results ------------------------------------------------------------------------------------


def test_parameters_are_checked() -> None:
    for wrong, said in (
        ({"blur": 4}, "blur is 4"),
        ({"skeleton": [["a"], [[0, 1]]]}, "ends at none of the 1 keypoints"),
        ({"parts": ["box"]}, "parts lacks points"),
        ({"skeleton": "coco19"}, "skeleton"),
    ):
        with pytest.raises(UsageError, match=said):
            TASKS.get("pose").parameters(wrong)


def test_outputs_that_are_not_finite_are_no_answer() -> None:
    with pytest.raises(EngineError, match="The output with keypoints holds a NaN"):
        decode(np.full((1, 3, 8, 8), np.nan))


@pytest.mark.parametrize("name", SKELETONS)
def test_skeletons_are_whole(name: str) -> None:
    shape = SKELETONS[name]
    assert len(shape.names) == int(name.lstrip("abcdefghijklmnopqrstuvwxyz"))
    assert len(set(shape.names)) == len(shape.names)
    assert TASKS.get("pose").parameters({"skeleton": name}).shape == shape


def test_results_have_a_json_form() -> None:
    found = decode(hills(np.array([[3.0, 4.0], [5.0, 6.0], [1.0, 1.0]]), (10, 10)), skeleton=THREE)
    (told,) = json.loads(json.dumps(found.to_json()))["objects"]
    assert (told["box"], told["label"]) == (None, None)
    assert told["keypoints"][1] == {"name": "left hand", "x": 5.5, "y": 6.5, "score": 1.0}
    assert [row["name"] for row in found.rows()] == THREE[0]
    assert TASKS.get("pose").describe(found) == "3 of 3 keypoints, score 1.00"


def test_drawing_leaves_out_what_is_not_sure() -> None:
    maps = hills(np.array([[10.0, 10.0], [60.0, 10.0], [10.0, 60.0]]), (80, 80))
    maps[0, 2] *= 0.2
    found = decode(maps, skeleton=THREE, refine="none")
    drawn = np.asarray(TASKS.get("pose").draw(Image.new("L", (80, 80)), found))
    assert drawn.shape == (80, 80, 3)
    assert drawn[10, 35].any(), "the bone to the left hand"
    assert not drawn[35:].any(), "nothing leads to the right hand"
