"""Models chained: what one finds, the next one looks at."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes files as another tool would
import pytest
from PIL import Image, ImageDraw

import modelport
from modelport import transforms
from modelport.errors import (
    BundleError,
    BundleFormatError,
    ChecksumError,
    DataError,
    EngineError,
    UsageError,
)
from modelport.runtime.failed import Failed
from modelport.runtime.pipeline import Chained, Crops, Part, Pipeline, Stage, Turn
from modelport.runtime.predictor import Predictor
from modelport.types import Feeds, Outputs

FINDER = """<ir_version: 10, opset_import: ["" : 20]>
finder (float[n, 3, h, w] x) => (float[n, 1, h, w] y)
<float[1] full = {255.0}, int64[1] axis = {1}>
{ top = ReduceMax(x, axis)
  y = Div(top, full) }"""
"""Finds what is bright in any channel, as a detector of text would."""

NAMER = """<ir_version: 10, opset_import: ["" : 20]>
namer (float[n, 3, 8, 8] x) => (float[n, 3] y)
<float[1] full = {255.0}, int64[2] axes = {2, 3}>
{ mean = ReduceMean<keepdims=0>(x, axes)
  y = Div(mean, full) }"""
"""Names the colour."""

SIDES = """<ir_version: 10, opset_import: ["" : 20]>
sides (float[n, 3, 8, 8] x) => (float[n, 2] y)
<int64[1] axis = {3}, int64[1] zero = {0}, int64[1] four = {4}, int64[1] end = {8},
 int64[3] axes = {1, 2, 3}, float[1] full = {255.0}>
{ first = Slice(x, zero, four, axis)
  last = Slice(x, four, end, axis)
  left = ReduceMean<keepdims=0>(first, axes)
  right = ReduceMean<keepdims=0>(last, axes)
  column = Constant<value_ints = [-1, 1]>()
  one = Reshape(left, column)
  other = Reshape(right, column)
  both = Concat<axis = 1>(one, other)
  y = Div(both, full) }"""
"""Says on which side a crop is brighter."""

COLOURS = {"red": (255, 20, 20), "green": (20, 255, 20), "blue": (20, 20, 255)}
SMALL = [transforms.Decode(), transforms.Resize((8, 8)), transforms.Layout()]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles `finder`, `namer` and `sides`."""
    folder = tmp_path_factory.mktemp("chain")
    told: dict[str, dict[str, Any]] = {
        "finder": {
            "task": "text_detection",
            "parameters": {"unclip_ratio": 0, "thresh": 0.5},
            "transforms": [transforms.Decode(), transforms.Layout()],
        },
        "namer": {"task": "classification", "labels": list(COLOURS), "transforms": SMALL},
        "sides": {"task": "classification", "labels": ["left", "right"], "transforms": SMALL},
    }
    for name, text in (("finder", FINDER), ("namer", NAMER), ("sides", SIDES)):
        file = folder / f"{name}.onnx"
        onnx.save_model(onnx.parser.parse_model(text), str(file))
        if name != "finder":
            told[name]["parameters"] = {"scores": "probabilities"}
        modelport.deploy(
            modelport.Source(file, **told[name]), output=folder / name, engines=["onnxruntime"],
            precisions=["fp32"], threads=1, report=False,
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def chain(models: Path) -> Pipeline:
    stages = [
        Stage("things", models / "finder"),
        Stage("colour", models / "namer", Crops("things")),
    ]
    return Pipeline(stages, threads=1, name="coloured things")


Place = tuple[int, int, int, int]
THINGS: dict[Place, str] = {
    (10, 10, 40, 30): "red",
    (60, 12, 90, 32): "green",
    (12, 50, 42, 70): "blue",
    (70, 50, 100, 70): "red",
}


def scene(things: dict[Place, str] = THINGS, size: tuple[int, int] = (120, 80)) -> Image.Image:
    image = Image.new("RGB", size)
    pen = ImageDraw.Draw(image)
    for (left, top, right, bottom), colour in things.items():
        pen.rectangle((left, top, right - 1, bottom - 1), COLOURS[colour])
    return image


def corner(part: Part) -> tuple[float, float]:
    x, y = part.thing.quad[0]
    return round(x), round(y)


def counted(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills up with how many samples each engine call has."""
    sizes: list[int] = []
    run = predictor.session.run

    def counting(feeds: Feeds) -> Outputs:
        sizes.append(len(feeds["x"]))
        return run(feeds)

    monkeypatch.setattr(predictor.session, "run", counting)
    return sizes


# --- the tree -------------------------------------------------------------------------------------


def test_what_one_finds_the_next_one_names(chain: Pipeline) -> None:
    found = chain(scene())
    assert isinstance(found, Chained)
    assert len(found["things"].lines) == 4
    named = {corner(part): part["colour"].label for part in found.each("things")}
    assert named == {place[:2]: colour for place, colour in THINGS.items()}
    assert list(found.parts["things"]) == list(found.each("things"))
    assert [part.thing for part in found.each("things")] == list(found["things"].lines)
    assert "things" in found
    assert "colour" not in found


def test_a_picture_without_things_has_no_crops(chain: Pipeline) -> None:
    found = chain(Image.new("RGB", (30, 30)))
    assert found["things"].lines == ()
    assert list(found.each("things")) == []
    assert found.to_json() == {"things": {"lines": []}}
    assert found.rows() == []


def test_stages_go_to_any_depth(models: Path) -> None:
    """A finder in the crops of a finder in the crops of a finder: places stay those of the picture."""
    stages = [
        Stage("one", models / "finder"),
        Stage("two", models / "finder", Crops("one", scale=1.5)),
        Stage("three", models / "finder", Crops("two", cut="quad", upright=None)),
        Stage("colour", models / "namer", Crops("three")),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(scene())
    assert [corner(part) for part in found.each("two")] == [
        corner(part) for part in found.each("one")
    ]
    for outer in found.parts["one"]:
        (inner,) = outer.parts["two"]
        (last,) = inner.parts["three"]
        np.testing.assert_allclose(inner.thing.quad, outer.thing.quad, atol=1e-6)
        np.testing.assert_allclose(last.thing.quad, outer.thing.quad, atol=1.01)
        assert last["colour"].label == THINGS[corner(outer) + rounded(outer)]
    assert len(list(found.each("three"))) == 4


def rounded(part: Part) -> tuple[int, int]:
    """The far corner, whose last pixel is where the quad ends."""
    x, y = part.thing.quad[2]
    return round(x) + 1, round(y) + 1


def test_warped_crops_lead_back_to_the_picture(models: Path) -> None:
    stages = [
        Stage("one", models / "finder"),
        Stage("two", models / "finder", Crops("one", cut="warp", size=(96, 64), padding=1.4)),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(scene({(30, 20, 70, 60): "red"}))
    (outer,) = found.each("one")
    (inner,) = found.each("two")
    np.testing.assert_allclose(inner.thing.quad, outer.thing.quad, atol=1.0)


def test_two_stages_look_at_the_same_things(models: Path) -> None:
    stages = [
        Stage("things", models / "finder"),
        Stage("colour", models / "namer", Crops("things")),
        Stage("side", models / "sides", Crops("things", scale=2)),
        Stage("whole", models / "namer"),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(scene({(10, 10, 40, 30): "green"}))
    (part,) = found.each("things")
    assert list(part.results) == ["colour", "side"]
    assert list(found.results) == ["things", "whole"]
    assert found["whole"].label == "green"


POSER = """<ir_version: 10, opset_import: ["" : 20]>
poser (float[1, 3, 64, 48] x) => (float[1, 2, 2] y)
<float[1, 2, 2] points = {0.25, 0.5, 0.75, 0.125}, float[1] none = {0.0}, int64[3] axes = {1, 2, 3}>
{ mean = ReduceMean<keepdims=0>(x, axes)
  nothing = Mul(mean, none)
  y = Add(points, nothing) }"""
"""Two keypoints, always at the same places of a crop 48 wide and 64 high."""


def test_keypoints_of_crops_come_back_in_the_picture(models: Path, tmp_path: Path) -> None:
    """The crop of a box 20 wide and 40 high, padded by 1.25, has 37.5 x 50 pixels around its middle."""
    file = tmp_path / "poser.onnx"
    onnx.save_model(onnx.parser.parse_model(POSER), str(file))
    modelport.deploy(
        modelport.Source(
            file, task="pose", parameters={"form": "numbers", "origin": "corner"},
            transforms=[transforms.Decode(), transforms.Layout()],
        ),
        output=tmp_path / "poser", engines=["onnxruntime"], precisions=["fp32"], threads=1,
        report=False,
    )  # fmt: skip
    crops = Crops("people", cut="warp", size=(64, 48), padding=1.25)
    stages = [Stage("people", models / "finder"), Stage("pose", tmp_path / "poser", crops)]
    things: dict[Place, str] = {(30, 20, 51, 61): "red", (80, 30, 101, 71): "blue"}
    image = scene(things, (140, 100))
    with Pipeline(stages, threads=1) as chain:
        found = chain(image)
        drawn = np.asarray(chain.draw(image, found)).astype(int)
    for part, (left, top, right, bottom) in zip(found.each("people"), things, strict=True):
        assert part.thing.box == (left, top, right - 1, bottom - 1)
        # As MMPose counts, from the middle of the first pixel: the middle of the box is at (24, 32).
        middle = np.array([(left + right - 1) / 2 + 0.5, (top + bottom - 1) / 2 + 0.5])
        in_crop = np.array([[0.25, 0.5], [0.75, 0.125]]) * (48, 64)
        expected = middle + (in_crop - (24.5, 32.5)) * 37.5 / 48
        (posed,) = part["pose"].objects
        np.testing.assert_allclose(posed.points, expected, atol=1e-4)
        x, y = posed.points[0]
        assert (drawn[int(y), int(x)] != np.asarray(image)[int(y), int(x)]).any()


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crops", "taken"),
    [
        ({"min_score": 0.9}, ["red", "green"]),
        ({"top": 1}, ["red"]),
        ({"top": 2}, ["red", "green"]),
        ({"labels": ("person",)}, []),
        ({"min_score": 0.9, "top": 1}, ["red"]),
    ],
    ids=str,
)
def test_filters_leave_things_without_a_result(
    crops: dict[str, Any], taken: list[str], models: Path
) -> None:
    image = scene({(10, 10, 40, 30): "red"})
    pen = ImageDraw.Draw(image)
    pen.rectangle((60, 12, 89, 31), (10, 240, 10))
    pen.rectangle((12, 50, 41, 69), (10, 10, 200))
    stages = [
        Stage("things", models / "finder"),
        Stage("colour", models / "namer", Crops("things", **crops)),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(image)
    parts = list(found.each("things"))
    assert len(parts) == 3, "all things stay"
    assert [part["colour"].label for part in parts if "colour" in part] == taken


def test_crops_are_turned_by_what_was_said_of_them(models: Path) -> None:
    image = Image.new("RGB", (80, 40), (0, 0, 0))
    ImageDraw.Draw(image).rectangle((10, 10, 49, 29), (140, 0, 0))
    ImageDraw.Draw(image).rectangle((40, 10, 49, 29), (255, 0, 0))
    for score, expected in ((0.0, "left"), (0.99, "right")):
        turn = Turn("side", degrees={"right": 180}, min_score=score)
        stages = [
            Stage("things", models / "finder"),
            Stage("side", models / "sides", Crops("things")),
            Stage("again", models / "sides", Crops("things", turn=turn)),
        ]
        with Pipeline(stages, threads=1) as chain:
            (part,) = chain(image).each("things")
        assert part["side"].label == "right"
        assert part["again"].label == expected


# --- batches --------------------------------------------------------------------------------------


def test_crops_of_several_pictures_run_together(
    chain: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    finder, namer = (step.predictor for step in chain.steps)
    found, named = counted(finder, monkeypatch), counted(namer, monkeypatch)
    pictures = [scene(), scene(dict(list(THINGS.items())[:1])), scene({}), scene()]
    together = chain(pictures)
    assert (found, named) == ([4], [8, 1])
    assert together == [chain(picture) for picture in pictures]


def test_crops_of_other_shapes_run_apart(chain: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    found = counted(chain.steps[0].predictor, monkeypatch)
    sizes = [(120, 80), (60, 60), (120, 80)]
    things = {(10, 10, 40, 30): "red"}
    results = chain([scene(things, size) for size in sizes])  # type: ignore[arg-type]
    assert sorted(found) == [1, 2]
    assert [next(each.each("things"))["colour"].label for each in results] == ["red"] * 3


def test_many_crops_are_not_all_in_memory_at_once(
    chain: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [(x, y) for y in range(4, 300, 12) for x in range(4, 300, 12)][:120]
    names = list(COLOURS)
    things = {(x, y, x + 8, y + 8): names[(x + y) % 3] for x, y in places}
    named = counted(chain.steps[1].predictor, monkeypatch)
    found = chain(scene(things, (310, 310)))
    assert named == [8] * 15
    assert {corner(part): part["colour"].label for part in found.each("things")} == {
        place[:2]: colour for place, colour in things.items()
    }


def test_pictures_are_answered_as_they_come(chain: Pipeline) -> None:
    pictures = [scene({(10, 10, 40, 30): colour}) for colour in ("red", "green", "blue") * 3]
    with chain.map(iter(pictures), workers=2) as results:
        found = list(results)
    assert found == chain(pictures) == list(chain.map(pictures, streams=2))
    assert [next(each.each("things"))["colour"].label for each in found] == [*COLOURS] * 3


# --- errors ---------------------------------------------------------------------------------------


def broken_at(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, bad: Callable[[Image.Image], bool]
) -> None:
    prepare = predictor.prepare

    def failing(item: Any, watch: Any = None) -> Any:
        if bad(item):
            raise DataError("This crop cannot be read")
        return prepare(item, watch)

    monkeypatch.setattr(predictor, "prepare", failing)


def is_green(image: Image.Image) -> bool:
    return bool(np.asarray(image)[..., 1].mean() > 200)


def test_one_bad_crop_is_an_error_in_its_place(
    chain: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(chain.steps[1].predictor, monkeypatch, is_green)
    found = chain(scene())
    results = {corner(part): part["colour"] for part in found.each("things")}
    bad = results.pop((60, 12))
    assert isinstance(bad, Failed)
    assert str(bad.error) == "This crop cannot be read."
    assert [result.label for result in results.values()] == ["red", "blue", "red"]
    things = found.to_json()["things"]["lines"]
    assert things[1]["results"] == {"colour": {"error": "This crop cannot be read."}}
    assert "This crop cannot be read." in chain.describe(found)
    assert chain.draw(scene(), found).size == (120, 80)


def test_an_engine_that_fails_for_one_crop_answers_the_others(
    chain: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    namer = chain.steps[1].predictor
    run = namer.session.run

    def failing(feeds: Feeds) -> Outputs:
        if any(sample[1].mean() > 200 for sample in feeds["x"]):
            raise EngineError("The engine has a fault")
        return run(feeds)

    monkeypatch.setattr(namer.session, "run", failing)
    results = [part["colour"] for part in chain(scene()).each("things")]
    assert [isinstance(result, Failed) for result in results] == [False, True, False, False]


def test_a_fault_that_is_no_error_of_ours_is_raised(
    chain: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(feeds: Feeds) -> Outputs:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(chain.steps[1].predictor.session, "run", failing)
    with pytest.raises(ZeroDivisionError):
        chain(scene())


def test_a_later_stage_passes_over_what_failed(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [
        Stage("one", models / "finder"),
        Stage("two", Predictor(models / "finder", threads=1), Crops("one")),
        Stage("colour", models / "namer", Crops("two")),
    ]
    with Pipeline(stages, threads=1) as chain:
        broken_at(chain.steps[1].predictor, monkeypatch, is_green)
        found = chain(scene())
        assert len(list(found.each("two"))) == 3
        assert sum(isinstance(part["two"], Failed) for part in found.each("one")) == 1
        chain.steps[1].predictor.close()


def test_a_picture_that_cannot_be_read_is_named(chain: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no picture .*missing\.png"):
        chain(tmp_path / "missing.png")
    with pytest.raises(DataError, match=r"There is no picture"):
        chain([scene(), tmp_path / "missing.png"])
    with chain.map([scene(), tmp_path / "missing.png", scene()]) as results:
        kinds = [type(result) for result in results]
    assert kinds == [Chained, Failed, Chained]


def test_a_stage_that_cannot_answer_for_a_picture_raises(
    chain: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(chain.steps[0].predictor, monkeypatch, lambda image: True)
    with pytest.raises(DataError, match="This crop cannot be read"):
        chain(scene())


def test_crops_of_what_has_no_places_are_refused(models: Path) -> None:
    stages = [
        Stage("colour", models / "namer"),
        Stage("again", models / "namer", Crops("colour")),
    ]
    with (
        Pipeline(stages, threads=1) as chain,
        pytest.raises(
            UsageError, match="of 'colour', whose Classification holds no boxes or quads"
        ),
    ):
        chain(scene())


def test_a_model_without_transforms_is_refused(sum_bundle: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline([Stage("sum", sum_bundle)])
    assert str(caught.value) == (
        "The model of the stage 'sum' takes no pictures: it has no transforms. Expected a bundle with "
        "transforms that make tensors of pictures. Deploy the model with transforms."
    )


# --- telling --------------------------------------------------------------------------------------


def test_results_are_told_in_words_rows_and_json(chain: Pipeline) -> None:
    found = chain(scene({(10, 10, 40, 30): "red", (60, 12, 90, 32): "green"}))
    assert chain.describe(found) == "2 lines of text: red 1.00; green 1.00"
    told = json.loads(json.dumps(found.to_json()))
    assert [each["results"]["colour"]["label"] for each in told["things"]["lines"]] == [
        "red",
        "green",
    ]
    assert told["things"]["lines"][0]["quad"][0] == [10, 10]
    first, second = found.rows()
    assert (first["things.x1"], first["colour.label"]) == (10, "red")
    assert (second["things.x1"], second["colour.label"]) == (60, "green")


def test_rows_repeat_what_stands_above_them(models: Path) -> None:
    stages = [
        Stage("one", models / "finder"),
        Stage("two", models / "finder", Crops("one")),
        Stage("colour", models / "namer", Crops("two", min_score=0.99)),
        Stage("whole", models / "namer"),
    ]
    with Pipeline(stages, threads=1) as chain:
        rows = chain(scene()).rows()
    assert len(rows) == 4
    assert [row["colour.label"] for row in rows] == ["red", "green", "blue", "red"]
    assert all({"one.x1", "two.x1", "whole.label"} <= set(row) for row in rows)


def test_many_things_are_told_in_short(chain: Pipeline) -> None:
    things = {(x, y, x + 10, y + 10): "red" for y in (5, 25, 45) for x in range(5, 105, 20)}
    words = chain.describe(chain(scene(things)))
    assert words == "15 lines of text: " + "; ".join(["red 1.00"] * 8) + "; and 7 more"


def test_every_stage_draws(chain: Pipeline) -> None:
    image = scene(size=(400, 300))
    before = image.tobytes()
    found = chain(image)
    drawn = np.asarray(chain.task.draw(image, found)).astype(int)
    assert image.tobytes() == before
    changed = (drawn != np.asarray(image)).any(2)
    assert changed[10, 15:35].any(), "the outline of the first thing"
    assert changed[32:50, 12:40].any(), "the words below it"
    assert not changed[120:, 150:].any(), "nothing elsewhere"


def test_time_is_told_by_stage(chain: Pipeline) -> None:
    for found in (chain(scene()), *chain([scene(), scene()]), *chain.map([scene(), scene()])):
        assert list(found.timing_ms) == ["decode", "things", "colour"]
        assert all(spent > 0 for spent in found.timing_ms.values())


# --- pictures as they are stored -------------------------------------------------------------------


def test_a_picture_is_turned_upright_once(tmp_path: Path, models: Path) -> None:
    """A file that lies on its side: stages want it upright, and no crop may be turned again."""
    folder = tmp_path / "finder"
    modelport.deploy(
        modelport.Source(
            models / "finder.onnx", task="text_detection",
            parameters={"unclip_ratio": 0, "thresh": 0.5},
            transforms=[transforms.Decode(orientation="exif"), transforms.Layout()],
        ),
        output=folder, engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6  # its upper side is the right one of what is stored
    scene().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    stages = [Stage("one", folder), Stage("two", folder, Crops("one", scale=1.3))]
    with Pipeline(stages, threads=1) as chain:
        found, upright = chain(tmp_path / "lying.png"), chain(scene())
    assert found == upright
    assert [corner(part) for part in found.each("two")] == [place[:2] for place in THINGS]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chain", "chain.zip"])
def test_a_saved_pipeline_answers_alike(name: str, chain: Pipeline, tmp_path: Path) -> None:
    path = chain.save(tmp_path / name)
    with modelport.load(path, threads=1) as opened:
        assert isinstance(opened, Pipeline)
        assert opened.name == "coloured things"
        assert opened(scene()) == chain(scene())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_loaded_pipeline_can_be_saved_again(chain: Pipeline, tmp_path: Path) -> None:
    first = chain.save(tmp_path / "first.zip")
    with Pipeline.load(first, threads=1) as opened:
        second = opened.save(tmp_path / "second.zip")
    assert first.read_bytes() == second.read_bytes()


def test_stages_of_one_bundle_share_it(models: Path, tmp_path: Path) -> None:
    crops = Crops("one", cut="warp", size=(32, 64), labels=("a", "b"), top=3)
    stages = [Stage("one", models / "finder"), Stage("two", models / "finder", crops)]
    with Pipeline(stages, threads=1) as chain:
        assert chain.steps[0].predictor is chain.steps[1].predictor
        path = chain.save(tmp_path / "chain")
    assert [each.name for each in (path / "models").iterdir()] == ["one"]
    with Pipeline.load(path, threads=1) as opened:
        assert opened.steps[0].predictor is opened.steps[1].predictor
        assert [step.takes for step in opened.steps] == [None, crops]


def test_a_bundle_is_opened_as_a_predictor(models: Path) -> None:
    with modelport.load(models / "namer", threads=1) as opened:
        assert isinstance(opened, Predictor)


def test_predictors_of_the_caller_stay_open(models: Path) -> None:
    with Predictor(models / "finder", threads=1) as finder:
        with Pipeline([Stage("one", finder)]) as chain:
            chain(scene())
        assert finder(scene()).lines


def test_what_is_there_is_not_replaced_unasked(chain: Pipeline, tmp_path: Path) -> None:
    path = chain.save(tmp_path / "chain")
    with pytest.raises(BundleError, match=r"exists\. Pass --overwrite to replace it"):
        chain.save(path)
    chain.save(path, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "pipeline.json").write_text('{"pipeline": {"tasks": []}}')  # of another toolkit
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        chain.save(other, overwrite=True)


def test_no_variant_of_a_pipeline_can_be_asked_for(chain: Pipeline, tmp_path: Path) -> None:
    path = chain.save(tmp_path / "chain")
    with pytest.raises(UsageError, match="is a pipeline, and the variant 'x' was asked for"):
        modelport.load(path, variant="x")


@pytest.fixture(scope="module")
def saved(chain: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chain.save(tmp_path_factory.mktemp("saved") / "chain")


@pytest.fixture
def own(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "own"))


def edited(folder: Path, change: Callable[[Any], Any]) -> None:
    file = folder / "pipeline.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content) or content))


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "version": (lambda c: {**c, "format_version": 2}, "has format version 2. Expected version 1."),
    "unknown field": (
        lambda c: {**c, "author": "me"},
        "is wrong at 'author': Extra inputs are not permitted.",
    ),
    "outside": (
        lambda c: c["stages"][0].update(bundle="../../etc"),
        "is wrong at 'stages.0.bundle': Value error, the path '../../etc' leaves the bundle.",
    ),
    "absolute": (
        lambda c: c["stages"][0].update(bundle="/etc"),
        "is wrong at 'stages.0.bundle': Value error, the path '/etc' leaves the bundle.",
    ),
    "cut": (
        lambda c: c["stages"][1]["takes"].update(cut="circle"),
        "is wrong at 'stages.1.takes.cut': Input should be 'box', 'quad' or 'warp'.",
    ),
    "reference": (
        lambda c: c["stages"][1]["takes"].update(of="nobody"),
        "is wrong: The stage 'colour' takes crops of 'nobody', which is no stage before it. Expected "
        "one of the stages before it: things.",
    ),
    "no stages": (
        lambda c: {**c, "stages": []},
        "is wrong: The pipeline has no stages. Expected at least one.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_named_by_its_field(case: str, own: Path) -> None:
    change, said = WRONG[case]
    edited(own, change)
    with pytest.raises(BundleFormatError) as caught:
        Pipeline.load(own)
    assert str(caught.value).startswith(f"{own}: pipeline.json {said}")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is JSON, but not the manifest of a modelport pipeline"),
        (b'{"format": "modelport"}', "is JSON, but not the manifest of a modelport pipeline"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, said: str, own: Path) -> None:
    (own / "pipeline.json").write_bytes(data)
    with pytest.raises(BundleFormatError, match=f"pipeline.json {said}"):
        Pipeline.load(own)


def test_bundles_in_a_pipeline_are_checked(own: Path) -> None:
    model = next((own / "models" / "colour").rglob("model.onnx"))
    data = bytearray(model.read_bytes())
    data[-5] ^= 1
    model.write_bytes(bytes(data))
    with pytest.raises(ChecksumError, match="does not match its sha256"):
        Pipeline.load(own)


def test_a_missing_bundle_is_named(own: Path) -> None:
    shutil.rmtree(own / "models" / "colour")
    with pytest.raises(BundleFormatError, match=r"models/colour has no modelport\.json"):
        Pipeline.load(own)


def test_a_link_out_of_the_pipeline_is_refused(own: Path, models: Path) -> None:
    shutil.rmtree(own / "models" / "colour")
    (own / "models" / "colour").symlink_to(models / "namer")
    with pytest.raises(BundleFormatError, match="is a link that leaves the bundle"):
        Pipeline.load(own)


def test_a_compressed_archive_is_refused(saved: Path, tmp_path: Path) -> None:
    packed = tmp_path / "chain.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in saved.rglob("*"):
            archive.write(path, path.relative_to(saved).as_posix())
    with pytest.raises(BundleFormatError, match="is compressed"):
        Pipeline.load(packed)


def test_a_bundle_is_no_pipeline(models: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleFormatError, match=r"namer has no pipeline\.json"):
        Pipeline.load(models / "namer")
    with pytest.raises(BundleError, match="There is no bundle at"):
        Pipeline.load(tmp_path / "nowhere")
