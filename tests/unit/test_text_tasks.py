"""Maps of text become quads, and rows of scores become words."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.decoding.blobs import blobs_of
from modelport.runtime.decoding.quads import (
    Rectangle,
    clockwise,
    convex_hull,
    mean_inside,
    smallest_rectangle,
)
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.text_detection import TextLine, TextLines, in_reading_order
from modelport.runtime.tasks.text_recognition import Text

Array = np.ndarray[Any, Any]
FINDER, READER = TASKS.get("text_detection"), TASKS.get("text_recognition")


few = settings(max_examples=25)


# --- regions --------------------------------------------------------------------------------------

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14))


@few
@given(masks)
def test_regions_are_those_of_scipy(mask: Array) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    blobs = blobs_of(mask)
    assert len(blobs) == count
    painted = np.zeros_like(labels)
    for number, blob in enumerate(blobs, start=1):
        for row, start, end in zip(blob.rows, blob.starts, blob.ends, strict=True):
            painted[row, start:end] = number
    pairs = {(int(a), int(b)) for a, b in zip(labels.flat, painted.flat, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    firsts = [np.flatnonzero(painted == number)[0] for number in range(1, count + 1)]
    assert firsts == sorted(firsts), "regions come in the order of their first pixels"


@few
@given(masks)
def test_the_mean_of_a_region_is_that_of_its_pixels(mask: Array) -> None:
    values = np.random.default_rng(0).random(mask.shape, np.float32)
    for blob in blobs_of(mask):
        runs = zip(blob.rows, blob.starts, blob.ends, strict=True)
        pixels = np.concatenate([values[row, start:end] for row, start, end in runs])
        assert blob.mean(values) == pytest.approx(float(pixels.mean()), rel=1e-5)


@few
@given(masks)
def test_an_outline_has_the_hull_of_its_region(mask: Array) -> None:
    for blob in blobs_of(mask):
        pixels = [
            (x, row)
            for row, start, end in zip(blob.rows, blob.starts, blob.ends, strict=True)
            for x in range(start, end)
        ]
        hulls = [convex_hull(points) for points in (np.array(pixels, float), blob.outline())]
        assert hulls[0].tolist() == hulls[1].tolist()


def test_a_spiral_is_one_region() -> None:
    mask = np.zeros((41, 41), bool)
    for ring in range(0, 20, 2):  # rings joined by one pixel each
        mask[ring : 41 - ring, [ring, 40 - ring]] = mask[[ring, 40 - ring], ring : 41 - ring] = True
        mask[ring + 1, ring] = True
        mask[ring + 1, ring + 1] = True
    assert len(blobs_of(mask)) == 1
    assert len(blobs_of(np.zeros((3, 3), bool))) == 0
    assert len(blobs_of(np.ones((1, 1), bool))) == 1


# --- rectangles -----------------------------------------------------------------------------------

clouds = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 25), st.just(2)), elements=st.integers(0, 40)
)


@few
@given(clouds)
def test_the_smallest_rectangle_is_as_small_as_that_of_opencv(points: Array) -> None:
    cv2 = pytest.importorskip("cv2")
    found = smallest_rectangle(points.astype(float))
    wide, high = cv2.minAreaRect(points.astype(np.float32))[1]
    assert found.sides[0] * found.sides[1] == pytest.approx(wide * high, abs=0.05, rel=1e-3)
    across = np.array([-found.along[1], found.along[0]])
    offsets = points - found.middle
    assert (abs(offsets @ found.along) <= found.sides[0] / 2 + 1e-6).all()
    assert (abs(offsets @ across) <= found.sides[1] / 2 + 1e-6).all()


@few
@given(st.floats(-1.5, 1.5), st.floats(5, 50), st.floats(2, 20), st.floats(0, 3))
def test_growing_a_rectangle_is_the_rectangle_around_its_offset(
    angle: float, wide: float, high: float, ratio: float
) -> None:
    """The offset is drawn here by its definition: all points within a distance of the rectangle."""
    along = np.array([np.cos(angle), np.sin(angle)])
    inner = Rectangle(np.array([30.0, 20.0]), along, (wide, high))
    distance = wide * high * ratio / (2 * (wide + high))
    turns = np.linspace(0, 2 * np.pi, 181)[:-1]
    circle = distance * np.stack([np.cos(turns), np.sin(turns)], 1)
    offset = (inner.corners[:, None] + circle).reshape(-1, 2)
    around = smallest_rectangle(offset)
    grown = inner.unclipped(ratio)
    assert sorted(grown.sides) == pytest.approx(sorted(around.sides), rel=3e-3, abs=3e-3)
    np.testing.assert_allclose(grown.middle, around.middle, atol=2e-2)


@pytest.mark.parametrize("angle", [-70, -40, -10, 0, 10, 40, 70])
def test_corners_go_clockwise_from_the_upper_left(angle: float) -> None:
    turned = np.radians(angle)
    along = np.array([np.cos(turned), np.sin(turned)])
    quad = clockwise(Rectangle(np.array([50.0, 50.0]), along, (40.0, 8.0)).corners[[2, 0, 3, 1]])
    assert np.allclose(quad[1] - quad[0], 40 * along), "the first side is that of the line"
    (ax, ay), (bx, by) = quad[1] - quad[0], quad[3] - quad[0]
    assert ax * by - ay * bx > 0, "y points down, so this is clockwise as one sees it"


def test_the_mean_of_a_quad_is_that_of_opencv() -> None:
    """PaddleOCR fills the polygon with whole corners. At most a few pixels of an edge differ."""
    cv2 = pytest.importorskip("cv2")
    generator = np.random.default_rng(3)
    differences = []
    for _ in range(300):
        turned, along = generator.uniform(-1.5, 1.5), generator.uniform(8, 60)
        unit = np.array([np.cos(turned), np.sin(turned)])
        middle = generator.uniform(40, 80, 2)
        quad = clockwise(Rectangle(middle, unit, (along, generator.uniform(3, 20))).corners)
        values = generator.random((120, 120), np.float32)
        filled = cv2.fillPoly(np.zeros((120, 120), np.uint8), [np.floor(quad).astype(np.int32)], 1)
        differences.append(mean_inside(values, quad) - values[filled > 0].mean())
    assert np.abs(differences).max() < 0.05
    assert np.median(np.abs(differences)) < 0.005


# --- detection ------------------------------------------------------------------------------------


def text_map(seed: int, height: int = 160, width: int = 240) -> Array:
    """Five lines at any angle, with soft edges."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    best = np.full((height, width), 0.02)
    for _ in range(5):
        mx, my = generator.uniform(30, width - 30), generator.uniform(20, height - 20)
        w, h = generator.uniform(8, 60), generator.uniform(3, 9)
        a = generator.uniform(-0.6, 0.6)
        across = abs((x - mx) * np.cos(a) + (y - my) * np.sin(a)) - w / 2
        down = abs(-(x - mx) * np.sin(a) + (y - my) * np.cos(a)) - h / 2
        top = generator.uniform(0.6, 0.98)
        best = np.maximum(best, top / (1 + np.exp(2 * np.maximum(across, down))))
    return best.astype(np.float32)


THREE = Placement((720, 320), (240, 160), scaling((720, 320), (240, 160)))
"""A picture three times as wide as the map, and twice as high."""


def find(chances: Array, placement: Placement | None = None, **parameters: Any) -> TextLines:
    context: Context[Any] = Context(FINDER.parameters(parameters), placement=placement)
    found = FINDER.decode({"map": chances[None, None]}, context)
    assert isinstance(found, TextLines)
    return found


# What rapidocr-onnxruntime 1.4.4's DBPostProcess and TextDetector give for these maps and a picture of
# 720 x 320, with its own cv2, pyclipper and shapely: corners, and the score before rounding to 3 places.
PADDLE: dict[tuple[int, str], list[tuple[list[int], float]]] = {
    (0, "fast"): [([320, 91, 542, 125, 526, 173, 304, 139], 0.64)],
    (0, "slow"): [
        ([229, 127, 278, 133, 272, 153, 223, 147], 0.608),
        ([317, 88, 543, 122, 526, 174, 300, 140], 0.744),
        ([416, 88, 460, 100, 448, 120, 404, 108], 0.639),
        ([485, 12, 636, 58, 619, 82, 468, 36], 0.627),
    ],
    (1, "fast"): [
        ([117, 90, 285, 90, 285, 118, 117, 118], 0.612),
        ([319, 255, 400, 241, 415, 281, 334, 295], 0.515),
    ],
    (1, "slow"): [
        ([114, 88, 285, 88, 285, 118, 114, 118], 0.744),
        ([210, 230, 301, 200, 321, 226, 230, 256], 0.624),
        ([316, 254, 397, 239, 413, 280, 332, 295], 0.654),
        ([537, 216, 664, 182, 680, 209, 554, 244], 0.748),
    ],
    (2, "fast"): [
        ([261, 53, 364, 86, 342, 117, 239, 84], 0.555),
        ([286, 160, 396, 206, 362, 242, 252, 196], 0.524),
    ],
    (2, "slow"): [
        ([144, 91, 320, 105, 315, 129, 139, 115], 0.65),
        ([263, 52, 361, 86, 337, 116, 239, 82], 0.72),
        ([285, 162, 390, 206, 360, 238, 255, 194], 0.719),
    ],
    (3, "fast"): [
        ([39, 109, 206, 50, 234, 85, 67, 144], 0.528),
        ([222, 172, 403, 139, 423, 189, 243, 222], 0.593),
        ([494, 187, 614, 137, 648, 174, 528, 224], 0.578),
    ],
    (3, "slow"): [
        ([39, 109, 204, 50, 231, 83, 66, 142], 0.653),
        ([222, 172, 402, 140, 420, 186, 240, 218], 0.737),
        ([262, 73, 426, 59, 431, 83, 267, 97], 0.609),
        ([492, 186, 611, 135, 648, 172, 529, 223], 0.739),
    ],
}
FAST = {"thresh": 0.3, "box_thresh": 0.5, "unclip_ratio": 1.6, "dilate": True}
SLOW = {"thresh": 0.3, "box_thresh": 0.6, "unclip_ratio": 2.0, "score_mode": "slow"}


@pytest.mark.parametrize(("seed", "mode"), PADDLE)
def test_lines_are_those_of_paddleocr(seed: int, mode: str) -> None:
    """Its polygons have whole coordinates, cut and not rounded: half a pixel of the map to the upper left
    on average. Ours have fractions, so corners may differ by a pixel or two of the map."""
    parameters: dict[str, Any] = FAST if mode == "fast" else SLOW
    found = find(text_map(seed), THREE, **parameters).lines
    sure = [line for line in found if line.score > parameters["box_thresh"] + 0.02]
    assert len(sure) <= len(PADDLE[seed, mode]) <= len(found)
    for corners, score in PADDLE[seed, mode]:
        quad = np.array(corners, float).reshape(4, 2)
        gaps = [np.abs((np.array(line.quad) - quad) / (3, 2)).max() for line in found]
        assert min(gaps) < 2
        assert found[int(np.argmin(gaps))].score == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize("mode", ["fast", "slow"])
def test_a_line_comes_back_as_large_as_it_was_drawn(mode: str) -> None:
    """What a text detector learns: the polygon shrunk by area x (1 - 0.4^2) / perimeter."""
    whole = Rectangle(np.array([80.0, 60.0]), np.array([0.96, 0.28]), (90.0, 20.0))
    offset = 90 * 20 * (1 - 0.4**2) / (2 * (90 + 20))
    inner = clockwise(whole.grown(-offset).corners)
    mask = Image.new("F", (160, 120), 0.0)
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in inner], fill=0.9)
    sides = np.array(whole.grown(-offset).sides)
    ratio = offset * 2 * sides.sum() / sides.prod()  # the one that undoes this shrinking
    (line,) = find(np.asarray(mask), unclip_ratio=ratio, score_mode=mode).lines
    np.testing.assert_allclose(line.quad, clockwise(whole.corners), atol=1.5)
    if mode == "slow":
        assert line.score == pytest.approx(0.9)
    else:  # with pixels of the edge that are no text
        assert 0.6 < line.score < 0.9


def stripes(*boxes: tuple[int, int, int, int], value: float = 0.9) -> Array:
    chances = np.zeros((64, 96), np.float32)
    for left, top, right, bottom in boxes:
        chances[top:bottom, left:right] = value
    return chances


def test_places_come_back_in_the_picture() -> None:
    """A map at half the size of the tensor, which shows the picture at twice its size, shifted."""
    matrix = shifting(8, 4) @ np.diag([2.0, 2.0, 1.0])
    placement = Placement((88, 60), (192, 128), matrix)
    (line,) = find(stripes((20, 10, 61, 21)), placement, unclip_ratio=0).lines
    left, top = (2 * 20 - 8) / 2, (2 * 10 - 4) / 2
    assert line.quad == ((left, top), (left + 40, top), (left + 40, top + 10), (left, top + 10))
    assert line.box == (left, top, left + 40, top + 10)


def test_lines_end_where_the_picture_ends() -> None:
    placement = Placement((96, 64), (96, 64), np.eye(3))
    (line,) = find(stripes((0, 0, 96, 20)), placement).lines
    assert line.box == (0, 0, 96, pytest.approx(30, abs=3))


def test_thresholds_leave_out() -> None:
    chances = stripes((10, 10, 50, 20)) + stripes((10, 40, 50, 50), value=0.5)
    assert len(find(chances, thresh=0.4, box_thresh=0.4).lines) == 2
    assert len(find(chances, thresh=0.4, box_thresh=0.6).lines) == 1
    assert len(find(chances, thresh=0.6, box_thresh=0.4).lines) == 1
    assert len(find(chances, thresh=0.95).lines) == 0
    assert len(find(chances, thresh=0.4, box_thresh=0.4, max_candidates=1).lines) == 1


def test_small_regions_are_left_out() -> None:
    chances = stripes(
        (10, 10, 50, 13), (10, 30, 50, 34)
    )  # two and three pixels between their middles
    assert len(find(chances).lines) == 1
    assert len(find(chances, min_size=2).lines) == 2
    assert len(find(chances, min_size=2, min_side=5.5).lines) == 1


def test_dilation_joins_what_nearly_touches() -> None:
    chances = stripes((10, 10, 30, 20), (31, 10, 50, 20))
    assert len(find(chances).lines) == 2
    assert len(find(chances, dilate=True).lines) == 1


def test_logits_pass_a_sigmoid() -> None:
    chances = text_map(1).clip(1e-6, 1 - 1e-6)
    logits = np.log(chances / (1 - chances))
    expected, found = find(chances, THREE), find(logits, THREE, scores="logits")
    assert [line.quad for line in found.lines] == [line.quad for line in expected.lines]
    for one, other in zip(found.lines, expected.lines, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_a_picture_without_text_has_no_lines() -> None:
    found = find(np.zeros((32, 32), np.float32))
    assert found == TextLines(())
    assert found.to_json() == {"lines": []}
    assert found.rows() == []
    assert FINDER.describe(found) == "0 lines of text"


@few
@given(hnp.arrays(np.float32, (24, 32), elements=st.floats(0, 1, width=32)))
def test_laws_of_finding(chances: Array) -> None:
    placement = Placement((320, 240), (32, 24), scaling((320, 240), (32, 24)))
    for line in find(chances, placement, box_thresh=0.5, min_size=2).lines:
        quad = np.array(line.quad)
        assert quad.shape == (4, 2)
        assert (quad >= 0).all()
        assert (quad <= (320, 240)).all()
        assert 0.5 <= line.score <= 1


def line_at(left: float, top: float, high: float = 20, wide: float = 50) -> TextLine:
    right, bottom = left + wide, top + high
    return TextLine(((left, top), (right, top), (right, bottom), (left, bottom)), 1.0)


def test_lines_are_in_reading_order() -> None:
    first, second = line_at(10, 104), line_at(200, 100)
    third, fourth = line_at(10, 130), line_at(90, 121)
    assert in_reading_order([fourth, third, second, first]) == [first, second, third, fourth]
    assert in_reading_order([]) == []


@pytest.mark.parametrize("shape", [(), (4,), (4, 4), (2, 1, 4, 4), (1, 1, 1, 4, 4), (0, 1, 4, 4)])
def test_outputs_that_are_no_map_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FeedsError) as caught:
        FINDER.decode({"y": np.zeros(shape, np.float32)}, Context(FINDER.parameters({})))
    assert str(caught.value) == (
        f"An output has shape {list(shape)}. Expected a map of text: 1 x channels x height x width, "
        "with a batch of one. Deploy the model with --task tensors to have the outputs as they are."
    )


def test_a_map_may_lack_its_channel() -> None:
    context: Context[Any] = Context(FINDER.parameters({}), placement=THREE)
    found = FINDER.decode({"map": text_map(2)[None]}, context)
    assert found == find(text_map(2), THREE)
    assert found.lines


def test_a_map_with_a_nan_is_no_answer() -> None:
    chances = text_map(0)
    chances[3, 4] = np.nan
    with pytest.raises(EngineError, match="with the map of text holds a NaN or an infinity"):
        find(chances)


@pytest.mark.parametrize(
    ("name", "value"), [("thresh", 2), ("box_thresh", -1), ("score_mode", "quick"), ("size", 3)]
)
def test_wrong_parameters_are_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"parameter '{name}' of the task text_detection is wrong"):
        find(text_map(0), **{name: value})


def test_lines_are_drawn_told_and_listed() -> None:
    found = TextLines((line_at(10, 10), line_at(10, 50)))
    image = Image.new("RGB", (120, 90), (40, 90, 160))
    drawn = FINDER.draw(image, found)
    assert drawn.size == image.size
    changed = (np.asarray(drawn) != np.asarray(image)).any(2)
    assert changed[10, 20:50].all(), "a line along the upper side"
    assert not changed[18:22, 20:50].any(), "nothing inside"
    assert FINDER.describe(found) == "2 lines of text"
    assert FINDER.describe(TextLines((line_at(0, 0),))) == "1 line of text"
    assert json.loads(json.dumps(found.to_json()))["lines"][1] == {
        "quad": [[10, 50], [60, 50], [60, 70], [10, 70]],
        "score": 1.0,
    }
    assert found.rows()[0] == {
        "x1": 10, "y1": 10, "x2": 60, "y2": 10, "x3": 60, "y3": 30, "x4": 10, "y4": 30, "score": 1.0,
    }  # fmt: skip


# --- recognition ----------------------------------------------------------------------------------

LETTERS = ("", *"abcdefghij")


def read(steps: Any, labels: Any = LETTERS, **parameters: Any) -> Text:
    scores = np.asarray(steps, np.float32)[None]
    found = READER.decode({"y": scores}, Context(READER.parameters(parameters), labels))
    assert isinstance(found, Text)
    return found


def steps_of(classes: list[int], count: int = len(LETTERS), top: float = 0.75) -> Array:
    steps = np.full((len(classes), count), (1 - top) / (count - 1), np.float32)
    steps[np.arange(len(classes)), classes] = top
    return steps


def test_equal_neighbours_are_one_character_and_blanks_part_them() -> None:
    found = read(steps_of([0, 1, 1, 0, 1, 2, 2, 2, 0, 0, 3]))
    assert (found.text, found.score) == ("aabc", pytest.approx(0.75))


@given(st.lists(st.integers(0, 10), min_size=1, max_size=30), st.integers(0, 10))
def test_ctc_is_what_its_definition_says(classes: list[int], blank: int) -> None:
    labels = tuple("abcdefghijk")
    joined = [index for index, _ in groupby(classes)]
    expected = "".join(labels[index] for index in joined if index != blank)
    assert read(steps_of(classes), labels, blank=blank).text == expected


def test_the_score_is_the_mean_of_the_characters_first_steps() -> None:
    steps = steps_of([1, 1, 0, 2])
    steps[0, 1], steps[1, 1], steps[3, 2] = 0.9, 0.5, 0.6
    assert read(steps).score == pytest.approx((0.9 + 0.6) / 2)


def test_the_last_class_may_be_the_blank() -> None:
    labels = (*"abc", "")
    assert read(steps_of([3, 0, 3, 0, 1], 4), labels, blank=-1).text == "aab"


def test_attention_reads_to_the_end_token() -> None:
    labels = ("<s>", "</s>", *"abc")
    steps = steps_of([0, 2, 2, 3, 1, 4, 1], 5)
    found = read(steps, labels, decoder="attention", end=1, ignored=(0,))
    assert (found.text, found.score) == ("aab", pytest.approx(0.75))
    assert read(steps_of([1, 2, 3], 5), labels, decoder="attention", end=1).text == ""


def test_logits_pass_a_softmax() -> None:
    steps = np.log(steps_of([1, 0, 2, 2], top=0.6)) + 7
    found = read(steps, scores="logits")
    assert (found.text, found.score) == ("ab", pytest.approx(0.6, abs=1e-5))


def test_nothing_but_blanks_is_no_text() -> None:
    found = read(steps_of([0, 0, 0]))
    assert found == Text("", 0.0)
    assert READER.describe(found) == "no text"
    assert found.to_json() == {"text": "", "score": 0.0}


@pytest.mark.parametrize(
    ("labels", "known"), [(None, "no labels"), (LETTERS[:-1], "10 labels"), ((), "0 labels")]
)
def test_a_class_without_a_character_is_an_error(labels: Any, known: str) -> None:
    with pytest.raises(FeedsError) as caught:
        read(steps_of([1]), labels)
    assert str(caught.value) == (
        f"The model tells 11 classes apart and the bundle has {known}. Expected a character for each "
        "class, blanks and tokens included. Deploy the model with such labels; an ONNX file may have "
        "them in its metadata."
    )


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 11), (1, 3, 11, 1), (1, 0, 11)])
def test_outputs_that_are_no_steps_are_refused(shape: tuple[int, ...]) -> None:
    context: Context[Any] = Context(READER.parameters({}), LETTERS)
    with pytest.raises(FeedsError, match="Expected scores of characters: 1 x steps x classes"):
        READER.decode({"y": np.zeros(shape, np.float32)}, context)


def test_steps_with_a_nan_are_no_answer() -> None:
    steps = steps_of([1, 2])
    steps[0, 0] = np.nan
    with pytest.raises(EngineError, match="with scores of characters holds a NaN or an infinity"):
        read(steps)


def test_text_is_drawn_and_told() -> None:
    found = Text("Hello", 0.987)
    assert READER.describe(found) == "'Hello' 0.99"
    assert found.rows() == [{"text": "Hello", "score": 0.987}]
    image = Image.new("L", (100, 40), 90)
    drawn = READER.draw(image, found)
    assert (drawn.mode, drawn.size) == ("RGB", image.size)
    assert drawn.tobytes() != image.convert("RGB").tobytes()
