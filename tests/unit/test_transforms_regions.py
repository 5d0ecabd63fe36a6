"""Parts of pictures against PaddleOCR's and MMPose's documented rules, with OpenCV's own functions."""

from __future__ import annotations

import builtins
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import DataError
from modelport.runtime.placement import Placement
from modelport.runtime.transforms.regions import crop_box, crop_quad, warp_box

Array = np.ndarray[Any, Any]


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """Slopes without corners: a thousandth of a pixel's shift is no grey level."""
    generator = np.random.default_rng(seed)
    small = generator.integers(30, 226, (5, 6, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def noise(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(width * height)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(params=["opencv", "pil"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pil":
        real = builtins.__import__

        def without(name: str, *rest: Any, **options: Any) -> Any:
            if name == "cv2":
                raise ModuleNotFoundError(name)
            return real(name, *rest, **options)

        monkeypatch.setattr(builtins, "__import__", without)
    return str(request.param)


def placed(matrix: Array, point: tuple[float, float]) -> Array:
    return Placement((1, 1), (1, 1), matrix).points_to_tensor(np.array(point))


# --- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box", "fields", "edges"),
    [
        ((10, 20, 30, 40), {}, (10, 20, 30, 40)),
        ((10.2, 20.9, 29.1, 39.5), {}, (10, 20, 30, 40)),
        ((-5, -7, 20, 30), {}, (0, 0, 20, 30)),
        ((90, 70, 120, 130), {}, (90, 70, 100, 80)),
        ((10, 20, 30, 40), {"scale": 2.0}, (0, 10, 40, 50)),
        ((10, 20, 30, 60), {"square": True}, (0, 20, 40, 60)),
        ((50.5, 50.5, 50.5, 50.5), {}, (50, 50, 51, 51)),
        ((200, 300, 220, 330), {}, (99, 79, 100, 80)),
        ((-50, -60, -20, -30), {}, (0, 0, 1, 1)),
        ((30, 40, 10, 20), {}, (30, 40, 31, 41)),
    ],
)
def test_crop_box(box: Any, fields: Any, edges: tuple[int, int, int, int]) -> None:
    image = noise(100, 80)
    left, top, right, bottom = edges
    part, matrix = crop_box(image, box, **fields)
    np.testing.assert_array_equal(np.asarray(part), np.asarray(image)[top:bottom, left:right])
    np.testing.assert_array_equal(placed(matrix, (left, top)), (0, 0))
    np.testing.assert_array_equal(placed(matrix, (right, bottom)), (right - left, bottom - top))


def test_crop_box_may_reach_out_of_the_picture() -> None:
    image = noise(20, 10)
    part, matrix = crop_box(image, (-3, -2, 8, 14), clip=False, fill=(9, 8, 7))
    expected = np.full((16, 11, 3), (9, 8, 7), np.uint8)
    expected[2:12, 3:] = np.asarray(image)[:, :8]
    np.testing.assert_array_equal(np.asarray(part), expected)
    np.testing.assert_array_equal(placed(matrix, (0, 0)), (3, 2))
    beside, _ = crop_box(image, (40, 40, 44, 42), clip=False, fill=5)
    assert beside.size == (4, 2)
    assert (np.asarray(beside) == 5).all()


def test_crop_box_without_the_last_pixels_it_touches() -> None:
    image = noise(60, 40)
    part, matrix = crop_box(image, (10.7, 5.2, 30.9, 25.1), edges="floor")
    np.testing.assert_array_equal(np.asarray(part), np.asarray(image)[5:25, 10:30])
    np.testing.assert_array_equal(placed(matrix, (10, 5)), (0, 0))
    assert crop_box(image, (10.2, 5.2, 10.9, 5.4), edges="floor")[0].size == (1, 1)


def test_crop_box_may_count_as_the_box_itself() -> None:
    """Rounded to whole pixels, cut off at the left: the corners of the box are those of the part."""
    image = noise(60, 40)
    part, matrix = crop_box(image, (-4.5, 10.25, 20.5, 30.75), nominal=True)
    assert part.size == (21, 21)
    np.testing.assert_allclose(placed(matrix, (-4.5, 10.25)), (0, 0), atol=1e-12)
    np.testing.assert_allclose(placed(matrix, (20.5, 30.75)), (21, 21))
    square, matrix = crop_box(image, (10, 10, 20, 30), square=True, nominal=True)
    assert square.size == (20, 20)
    np.testing.assert_allclose(placed(matrix, (5, 10)), (0, 0), atol=1e-12)
    with pytest.raises(DataError, match=r"The box \[5.0, 5.0, 5.0, 9.0\] has no area"):
        crop_box(image, (5, 5, 5, 9), nominal=True)


@pytest.mark.parametrize(
    "box", [(1, 2, 3), (1, 2, float("nan"), 4), (0, 0, float("inf"), 4), [(1, 2), (3, 4)]]
)
def test_what_is_no_box(box: Any) -> None:
    with pytest.raises(DataError, match=r"is no part of a picture\. Expected 4 finite numbers"):
        crop_box(noise(9, 9), box)
    with pytest.raises(DataError, match="is no part of a picture"):
        warp_box(noise(9, 9), box, (8, 8))


def test_a_box_that_is_too_large() -> None:
    with pytest.raises(DataError, match="Look at the boxes: they are places in the picture"):
        crop_box(noise(9, 9), (0, 0, 1e6, 1e6), clip=False)
    assert crop_box(noise(9, 9), (0, 0, 1e6, 1e6))[0].size == (9, 9)


# --- quadrilaterals ------------------------------------------------------------------------------

QUADS = [
    [(20, 30), (120, 40), (118, 70), (18, 62)],
    [(60, 10), (90, 20), (70, 100), (40, 92)],
    [(-8, -5), (80, 6), (77, 40), (-10, 33)],
    [(100, 60), (170, 95), (160, 125), (88, 88)],
    [(30, 20), (60, 20), (60, 64), (30, 64)],
]


def paddle(image: Image.Image, points: Any) -> Array:
    """`get_rotate_crop_image`: sides from the longer edges, bicubic, edges repeated, columns turned."""
    quad = np.float32(points)
    wide = int(max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3])))
    high = int(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2])))
    corners = np.float32([[0, 0], [wide, 0], [wide, high], [0, high]])
    matrix = cv2.getPerspectiveTransform(quad, corners)
    found = cv2.warpPerspective(
        np.asarray(image), matrix, (wide, high), flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.rot90(found) if high / wide >= 1.5 else found


@pytest.mark.parametrize("points", QUADS)
def test_crop_quad_is_that_of_paddle(points: Any, library: str) -> None:
    image = smooth(160, 120)
    found, _ = crop_quad(image, points, corners="centers")
    expected = paddle(image, points)
    assert np.asarray(found).shape == expected.shape
    difference = np.abs(np.asarray(found).astype(int) - expected.astype(int))
    assert difference.max() <= 1


@pytest.mark.parametrize("points", QUADS[:2] + QUADS[4:])
@pytest.mark.parametrize("corners", ["edges", "centers"])
@pytest.mark.parametrize("size", [None, (48, 320)])
def test_the_corners_go_to_the_corners(points: Any, corners: Any, size: Any) -> None:
    part, matrix = crop_quad(noise(160, 120), points, corners=corners, size=size)
    assert size is None or part.size == size[::-1]
    wide, high = part.size
    half = 0.5 if corners == "centers" else 0.0
    expected = [(0, 0), (wide, 0), (wide, high), (0, high)]
    turned = size is None and np.linalg.norm(np.subtract(points[0], points[3])) >= 1.5 * high
    if turned:  # the upper left corner is the lower left one after a turn to the left
        expected = [(0, high), (0, 0), (wide, 0), (wide, high)]
        half_down = -half
    else:
        half_down = half
    for point, corner in zip(points, expected, strict=True):
        found = placed(matrix, (point[0] + half, point[1] + half))
        np.testing.assert_allclose(found, (corner[0] + half, corner[1] + half_down), atol=1e-6)


def test_an_upright_quad_is_a_crop() -> None:
    image = noise(100, 80)
    part, matrix = crop_quad(image, [(10, 20), (70, 20), (70, 40), (10, 40)])
    np.testing.assert_array_equal(np.asarray(part), np.asarray(image)[20:40, 10:70])
    np.testing.assert_allclose(matrix, [[1, 0, -10], [0, 1, -20], [0, 0, 1]], atol=1e-9)
    column, _ = crop_quad(image, [(10, 20), (30, 20), (30, 60), (10, 60)])
    np.testing.assert_array_equal(np.asarray(column), np.rot90(np.asarray(image)[20:60, 10:30]))
    kept, _ = crop_quad(image, [(10, 20), (30, 20), (30, 60), (10, 60)], upright=None)
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(image)[20:60, 10:30])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    centre=st.tuples(st.floats(60, 140), st.floats(60, 100)),
    angle=st.floats(-math.pi, math.pi),
    sides=st.tuples(st.floats(12, 90), st.floats(12, 60)),
    lean=st.floats(-0.2, 0.2),
    inside=st.tuples(st.floats(0.25, 0.75), st.floats(0.25, 0.75)),
)
def test_places_of_a_quad_go_where_their_pixels_go(
    centre: Any, angle: float, sides: Any, lean: float, inside: Any
) -> None:
    """A spot drawn in the picture is where the matrix says in the part."""
    across = np.array([math.cos(angle), math.sin(angle)]) * sides[0] / 2
    down = np.array([-math.sin(angle), math.cos(angle)]) * sides[1] / 2 + across * lean
    quad = np.array([-across - down, across - down, across + down, down - across]) + centre
    u, v = inside
    x, y = quad[0] + u * (quad[1] - quad[0]) + v * (quad[3] - quad[0])
    columns, rows = np.meshgrid(np.arange(200) + 0.5, np.arange(160) + 0.5)
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 1.5**2))
    part, matrix = crop_quad(Image.fromarray(spot.astype(np.uint8)), quad)
    found = np.asarray(part).astype(np.float64)
    assume(found.max() > 150)
    expected = placed(matrix, (x, y))
    wide, high = part.size
    assume(5 < expected[0] < wide - 5 and 5 < expected[1] < high - 5)
    near = (found * (found > 20)) / (found * (found > 20)).sum()
    place = (
        (near.sum(0) * (np.arange(wide) + 0.5)).sum(),
        (near.sum(1) * (np.arange(high) + 0.5)).sum(),
    )
    np.testing.assert_allclose(place, expected, atol=0.3)


@pytest.mark.parametrize(
    "points",
    [[(10, 10)] * 4, [(0, 0), (10, 0), (20, 0), (30, 0)], [(5, 5), (9, 9), (5, 5), (9, 9)]],
)
def test_points_that_enclose_nothing(points: Any, library: str) -> None:
    with pytest.raises(DataError, match="no area"):
        crop_quad(noise(40, 40), points)


@pytest.mark.parametrize("points", [[(1, 2)] * 3, [(1, float("nan"))] * 4, (1, 2, 3, 4)])
def test_what_is_no_quad(points: Any) -> None:
    with pytest.raises(DataError, match=r"is no part of a picture\. Expected 4 x 2 finite numbers"):
        crop_quad(noise(40, 40), points)


# --- warps ---------------------------------------------------------------------------------------

BOXES = [(30, 20, 90, 140), (10, 40, 150, 100), (-20, -10, 60, 130), (100.4, 60.7, 171.3, 140.2)]


def mmpose(image: Image.Image, box: Any, size: tuple[int, int], *, udp: bool) -> Array:
    """`GetBBoxCenterScale(padding=1.25)`, then `TopdownAffine`: three points, or UDP's matrix."""
    left, top, right, bottom = box
    high, wide = size
    centre = np.array([left + right, top + bottom]) * 0.5
    scale = np.array([right - left, bottom - top]) * 1.25
    ratio = wide / high
    if scale[0] > scale[1] * ratio:
        scale = np.array([scale[0], scale[0] / ratio])
    else:
        scale = np.array([scale[1] * ratio, scale[1]])
    if udp:
        across, down = (wide - 1.0) / scale[0], (high - 1.0) / scale[1]
        matrix = np.array(
            [[across, 0, across * (0.5 * scale[0] - centre[0])],
             [0, down, down * (0.5 * scale[1] - centre[1])]]
        )  # fmt: skip
    else:
        # the middle, a point beside it and a point above it, before and after
        back, half = -0.5 * scale[0], -0.5 * wide
        x, y = centre
        before = np.float32([[x, y], [x + back, y], [x, y + back]])
        u, v = wide * 0.5, high * 0.5
        after = np.float32([[u, v], [u + half, v], [u, v + half]])
        matrix = cv2.getAffineTransform(before, after)
    return cv2.warpAffine(np.asarray(image), matrix, (wide, high), flags=cv2.INTER_LINEAR)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("size", [(256, 192), (64, 64), (96, 128)])
def test_warp_box_is_that_of_mmpose(box: Any, udp: bool, size: Any, library: str) -> None:
    image = smooth(160, 150)
    found, _ = warp_box(image, box, size, udp=udp)
    expected = mmpose(image, box, size, udp=udp).astype(int)
    difference = np.abs(np.asarray(found).astype(int) - expected)
    assert difference.max() <= 2
    assert (difference > 1).mean() < 0.001  # where a sharp edge of black meets the picture


@pytest.mark.parametrize("udp", [False, True])
def test_the_way_back_from_a_warp(udp: bool) -> None:
    """The middles of pixels, as MMPose counts them, come back to where MMPose would put them."""
    box, size = (30.0, 20.0, 90.0, 140.0), (256, 192)
    _, matrix = warp_box(smooth(160, 150), box, size, udp=udp)
    width, height = 75.0, 150.0
    width = max(width, height * 192 / 256)
    placement = Placement((160, 150), (192, 256), matrix)
    index = np.array([[0.0, 0.0], [95.5, 127.5], [191.0, 255.0], [40.0, 200.0]])
    found = placement.points_to_picture(index + 0.5) - 0.5
    middle = np.array([60.0, 80.0])
    sides = np.array([width, height])
    if udp:  # keypoints / (size - 1) * scale + centre - scale / 2
        expected = index / (191, 255) * sides + middle - sides / 2
    else:  # keypoints / size * scale + centre - scale / 2
        expected = index / (192, 256) * sides + middle - sides / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("box", [(10, 10, 10, 10), (30, 40, 10, 20)])
def test_boxes_without_area(box: Any) -> None:
    with pytest.raises(DataError, match=r"has no area\. Expected left < right, top < bottom"):
        warp_box(noise(40, 40), box, (16, 16))


@pytest.mark.parametrize("points", QUADS)
def test_a_part_of_a_large_picture_is_that_of_a_small_one(points: Any, library: str) -> None:
    """Only what the result can see is read; what lies at the edge of the picture stays its edge."""
    image = noise(160, 120)
    large = Image.new("RGB", (900, 700))
    large.paste(image, (300, 200))
    inside = np.clip(np.array(points, np.float64), 12, 105)
    found, matrix = crop_quad(image, inside)
    again, moved = crop_quad(large, inside + np.array([300, 200]))
    difference = np.abs(np.asarray(found).astype(int) - np.asarray(again).astype(int))
    assert difference.max() <= 1, "the last bit of a place may round the other way"
    np.testing.assert_allclose(placed(matrix, (50, 60)), placed(moved, (350, 260)), atol=1e-6)


def test_grey_pictures(library: str) -> None:
    image = smooth(80, 60).convert("L")
    quad, _ = crop_quad(image, [(-4, -3), (60, 5), (58, 30), (2, 24)])
    warped, _ = warp_box(image, (10, 10, 50, 50), (32, 24), fill=9)
    assert quad.mode == warped.mode == "L"
    assert warped.size == (24, 32)
