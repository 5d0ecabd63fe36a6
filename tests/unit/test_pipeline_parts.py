"""The parts of a pipeline: its declaration, the things in results, crops and their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from modelport.errors import DataError, UsageError
from modelport.runtime.pipeline import Chained, Crops, Part, Turn
from modelport.runtime.pipeline.cutting import chosen, cut
from modelport.runtime.pipeline.stages import Stage, check_links
from modelport.runtime.pipeline.things import box_of, quad_of, things_of
from modelport.runtime.tasks.base import Result
from modelport.runtime.tasks.classification import Classification, ClassScore
from modelport.runtime.tasks.text_detection import TextLine, TextLines

Array = np.ndarray[Any, Any]

# --- the declaration ------------------------------------------------------------------------------

GRAPHS: dict[str, tuple[list[tuple[str, Crops | None]], str]] = {
    "empty": ([], "The pipeline has no stages. Expected at least one."),
    "name": (
        [("../x", None)],
        "A stage has the name '../x'. Expected letters, digits, and the signs . - _, at most 64 of them.",
    ),
    "twice": (
        [("a", None), ("a", None)],
        "Two stages have the name 'a'. Expected a name of its own for each.",
    ),
    "later": (
        [("a", Crops("b")), ("b", None)],
        "The stage 'a' takes crops of 'b', which is no stage before it. Expected one of the stages "
        "before it: none.",
    ),
    "itself": (
        [("a", None), ("b", Crops("b"))],
        "The stage 'b' takes crops of 'b', which is no stage before it. Expected one of the stages "
        "before it: a.",
    ),
    "no size": (
        [("a", None), ("b", Crops("a", cut="warp"))],
        "The stage 'b' has cut='warp' and size=None. Expected a size (height, width) with cut='warp', "
        "and none with cut='box'.",
    ),
    "size": (
        [("a", None), ("b", Crops("a", size=(8, 8)))],
        "The stage 'b' has cut='box' and size=(8, 8). Expected a size (height, width) with cut='warp', "
        "and none with cut='box'.",
    ),
    "turn": (
        [("a", None), ("b", Crops("a", turn=Turn("a", degrees={"x": 90})))],
        "The stage 'b' turns crops by 'a'. Expected an earlier stage that takes crops of 'a' as well.",
    ),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_stages_that_cannot_be_meant_are_named(case: str) -> None:
    links, said = GRAPHS[case]
    with pytest.raises(UsageError) as caught:
        check_links([Stage(name, "a bundle", takes) for name, takes in links])
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"cut": "circle"}, "cut"),
        ({"scale": 0}, "scale"),
        ({"min_score": 2}, "min_score"),
        ({"top": 0}, "top"),
        ({"margin": 1}, "margin"),
        ({"turn": {"by": "a", "degrees": {"x": 45}}}, "turn"),
    ],
    ids=str,
)
def test_crops_that_cannot_be_meant_are_refused(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Crops("a", **fields)
    assert caught.value.errors()[0]["loc"][0] == where


def test_crops_are_json() -> None:
    crops = Crops("a", cut="quad", turn=Turn("b", degrees={"180": 180}), labels=("x", "y"))
    assert Crops.model_validate_json(crops.model_dump_json()) == crops
    assert crops == Crops(of="a", cut="quad", turn=crops.turn, labels=["x", "y"])


# --- things ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    box: tuple[float, float, float, float]
    label: str = "thing"
    score: float = 1.0


@dataclass(frozen=True)
class Sight(Result):
    names: tuple[str, ...]
    seen: tuple[Seen, ...]

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "seen": [{"box": list(each.box)} for each in self.seen]}


def test_things_are_what_has_a_place() -> None:
    seen = (Seen((1, 2, 5, 9)), Seen((0, 0, 1, 1)))
    assert things_of(Sight(("a", "b"), seen)) == seen
    assert things_of(Sight((), ())) == ()
    assert things_of(Classification((ClassScore(0, "ant", 1.0),))) is None
    np.testing.assert_array_equal(quad_of(seen[0]), [[1, 2], [5, 2], [5, 9], [1, 9]])
    line = TextLine(((3.0, 0.0), (9.0, 4.0), (6.0, 8.0), (0.0, 4.0)), 0.5)
    assert box_of(line).tolist() == [0, 0, 9, 8]


def test_filters_keep_the_order_of_things() -> None:
    told = zip("abab", (0.2, 0.9, 0.8, 0.5), strict=True)
    things = [Seen((0, 0, 1, 1), label, score) for label, score in told]
    assert chosen(things, Crops("x")) == [0, 1, 2, 3]
    assert chosen(things, Crops("x", labels=("a",))) == [0, 2]
    assert chosen(things, Crops("x", min_score=0.5)) == [1, 2, 3]
    assert chosen(things, Crops("x", top=2)) == [1, 2]
    assert chosen(things, Crops("x", labels=("b",), top=1, min_score=0.6)) == [1]
    assert chosen([], Crops("x", top=3)) == []


# --- crops ----------------------------------------------------------------------------------------


def ramp(width: int = 60, height: int = 50) -> Image.Image:
    """A picture whose red tells x and whose green tells y."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 4, y * 4, x * 0], 2).astype(np.uint8))


def assert_places(part: Image.Image, matrix: Array, slack: float) -> None:
    """Each pixel of the crop shows what is at its place in the picture."""
    array = np.asarray(part).astype(float)
    rows, columns = np.mgrid[2 : part.height - 2, 2 : part.width - 2].reshape(2, -1)
    found = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1) @ np.linalg.inv(matrix).T
    places = found[:, :2] / found[:, 2:]
    inside = ((places > 2) & (places < (58, 48))).all(1)
    assert inside.sum() > 20
    shown = array[rows, columns, :2] / 4 + 0.5
    np.testing.assert_allclose(shown[inside], places[inside], atol=slack)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(
    "crops",
    [
        Crops("x"),
        Crops("x", scale=1.4, square=True),
        Crops("x", cut="quad"),
        Crops("x", cut="quad", upright=None),
        Crops("x", cut="quad", size=(20, 30)),
        Crops("x", cut="warp", size=(32, 24)),
    ],
    ids=["box", "square", "quad", "tall", "quad of a size", "warp"],
)
def test_the_matrix_of_a_crop_says_where_its_pixels_are_from(crops: Crops, degrees: int) -> None:
    tall = Seen((21.3, 10.2, 31.8, 40.9))
    part, matrix = cut(ramp(), tall, crops, degrees)
    assert_places(part, matrix, slack=0.01 if crops.cut == "box" else 0.6)
    lies = crops.cut == "quad" and crops.size is None and crops.upright is not None
    lies = lies or (crops.size == (20, 30))
    if not crops.square:
        assert (part.width > part.height) == (lies != (degrees in (90, 270)))


@settings(max_examples=40)
@given(
    st.lists(st.floats(6, 44), min_size=8, max_size=8).map(lambda some: np.reshape(some, (4, 2))),
    st.sampled_from([0, 90, 180, 270]),
)
def test_quads_of_any_shape_keep_their_places(noise: Array, degrees: int) -> None:
    corners = np.array([[5.0, 5], [50, 5], [50, 42], [5, 42]]) + (noise - 25) / 5
    line = TextLine(tuple((float(x), float(y)) for x, y in corners), 1.0)
    part, matrix = cut(ramp(), line, Crops("x", cut="quad"), degrees)
    assert_places(part, matrix, slack=0.8)


def test_a_thing_without_an_area_is_an_error() -> None:
    line = TextLine(((5.0, 5.0),) * 4, 1.0)
    with pytest.raises(DataError):
        cut(ramp(), line, Crops("x", cut="quad"))


# --- the result -----------------------------------------------------------------------------------


def test_a_tree_is_walked_and_told() -> None:
    def named(label: str) -> Classification:
        return Classification((ClassScore(0, label, 1.0),))

    inner = TextLine(((0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0)), 0.5)
    deep = Part({"word": named("w")}, {}, inner)
    one = Part({"lines": TextLines((inner,))}, {"lines": (deep,)}, Seen((0, 0, 4, 4)))
    two = Part({}, {}, Seen((4, 4, 8, 8)))
    found = Chained({"sight": Sight(("a", "b"), (one.thing, two.thing))}, {"sight": (one, two)})
    assert list(found.each("sight")) == [one, two]
    assert list(found.each("lines")) == [deep]
    assert list(found.each("word")) == []
    assert deep["word"].label == "w"
    with pytest.raises(KeyError):
        two["lines"]
    told = found.to_json()["sight"]
    assert told["names"] == ["a", "b"]
    assert "results" not in told["seen"][1]
    (line,) = told["seen"][0]["results"]["lines"]["lines"]
    assert line["results"]["word"]["label"] == "w"


@dataclass(frozen=True)
class Short(Sight):
    def to_json(self) -> dict[str, Any]:
        return {"count": len(self.seen)}


def test_things_that_a_result_does_not_list_are_told_beside_it() -> None:
    part = Part({"name": Classification((ClassScore(0, "ant", 1.0),))}, {}, Seen((0, 0, 1, 1)))
    found = Chained({"short": Short((), (part.thing,))}, {"short": (part,)})
    told = found.to_json()["short"]
    assert told["count"] == 1
    assert told["parts"][0]["results"]["name"]["label"] == "ant"
