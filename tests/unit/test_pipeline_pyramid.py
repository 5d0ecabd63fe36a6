"""Stages that look at several scales, and stages whose results are joined."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes files as another tool would
import pytest
import torch
from PIL import Image, ImageDraw
from pydantic import ValidationError
from torch import Tensor, nn

import modelport
from modelport import transforms
from modelport.errors import BundleFormatError, DataError, UsageError
from modelport.runtime.failed import Failed
from modelport.runtime.pipeline import Chained, Crops, Nms, Pipeline, Pyramid, Stage, Turn
from modelport.runtime.pipeline.joining import joined
from modelport.runtime.tasks.detection import Detection, Detections, DetectionTask

SIDE = 8
"""Of the squares that the spotter sees."""

Place = tuple[int, int, int, int]
SQUARES: list[Place] = [(10, 10, 18, 18), (32, 16, 48, 32), (48, 48, 80, 80)]
"""Of 8, 16 and 32 pixels, where its windows lie at the scales 1, 1/2 and 1/4."""


class Spotter(nn.Module):
    """How bright the middle of each window is, less what is around it: finds squares of 8 pixels alone."""

    def __init__(self) -> None:
        super().__init__()
        kernel = torch.full((12, 12), -1 / (12 * 12 - SIDE * SIDE))
        kernel[2:-2, 2:-2] = 1 / (SIDE * SIDE)
        self.kernel = nn.Parameter(kernel[None, None])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        grey = image.mean(1, keepdim=True) / 255
        scores = nn.functional.conv2d(grey, self.kernel, stride=2)
        return torch.cat([scores] * 4, 1) * 0, scores


WINDOWS: dict[str, Any] = {
    "arrangement": "maps",
    "boxes": {"output": 0},
    "scores": {"output": 1},
    "code": "edges",
    "priors": {"strides": (2,), "offset": 3.0, "anchors": (((SIDE, SIDE),),)},
    "nms": {"iou": 0.5},
    "threshold": 0.9,
    "with_priors": True,
}

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

COLOURS = {"red": (255, 20, 20), "green": (20, 255, 20), "blue": (20, 20, 255)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles `spotter`, `finder` and `namer`."""
    folder = tmp_path_factory.mktemp("pyramid")
    for name, text in (("finder", FINDER), ("namer", NAMER)):
        onnx.save_model(onnx.parser.parse_model(text), str(folder / f"{name}.onnx"))
    decoded, laid = transforms.Decode(), transforms.Layout()
    sources = {
        "spotter": modelport.Source(
            Spotter(), inputs="image=1x3x12..512x12..512", transforms=[decoded, laid],
            task="detection", parameters=WINDOWS, labels=["square"],
        ),
        "finder": modelport.Source(
            folder / "finder.onnx", transforms=[decoded, laid], task="text_detection",
            parameters={"unclip_ratio": 0, "thresh": 0.5},
        ),
        "namer": modelport.Source(
            folder / "namer.onnx", transforms=[decoded, transforms.Resize((8, 8)), laid],
            task="classification", parameters={"scores": "probabilities"}, labels=list(COLOURS),
        ),
    }  # fmt: skip
    for name, source in sources.items():
        modelport.deploy(
            source, output=folder / name, engines=["onnxruntime"], precisions=["fp32"], threads=1,
            report=False,
        )  # fmt: skip
    return folder


def squares(places: list[Place], size: tuple[int, int] = (96, 96)) -> Image.Image:
    return things(dict.fromkeys(places, "white"), size)


def things(places: dict[Place, str], size: tuple[int, int] = (120, 80)) -> Image.Image:
    image = Image.new("RGB", size)
    pen = ImageDraw.Draw(image)
    for (left, top, right, bottom), colour in places.items():
        fill = COLOURS.get(colour, (255, 255, 255))
        pen.rectangle((left, top, right - 1, bottom - 1), fill)
    return image


def halves(**fields: Any) -> Pyramid:
    """Scales 1, 1/2, ... as long as a window of the spotter fits, its surroundings included."""
    return Pyramid(window=12, smallest=12, factor=0.5, interpolation="pil.box", **fields)


def found_in(result: Any) -> list[list[float]]:
    return sorted(list(each.box) for each in result.objects)


# --- scales ---------------------------------------------------------------------------------------


def test_scales_lead_from_the_smallest_objects_to_the_whole_picture() -> None:
    pyramid = Pyramid(window=12, smallest=20, factor=0.709)
    scales = pyramid.scales_of((640, 480))
    assert scales[0] == 12 / 20
    np.testing.assert_allclose(np.divide(scales[1:], scales[:-1]), 0.709)
    assert 480 * scales[-1] >= 12 > 480 * scales[-1] * 0.709
    assert pyramid.scales_of((20, 900)) == (0.6,), "a window exactly"
    assert Pyramid(window=10, smallest=30, factor=0.5).scales_of((90, 130)) == (1 / 3, 1 / 6)
    assert Pyramid(scales=(1, 0.5, 2)).scales_of((3, 4)) == (1, 0.5, 2)


def test_a_picture_without_a_scale_is_refused(folder: Path) -> None:
    with Pipeline([Stage("squares", folder / "spotter", pyramid=halves())], threads=1) as chain:
        small = Image.new("RGB", (40, 7))
        with pytest.raises(DataError) as caught:
            chain(small)
        with chain.map([squares(SQUARES), small]) as results:
            kinds = [type(result) for result in results]
    assert str(caught.value) == (
        "No scale fits a picture of 40 x 7 pixels. Expected both sides at least as long as the smallest "
        "object: 12. Lower `smallest` in the pyramid, or leave out pictures and crops so small."
    )
    assert kinds == [Chained, Failed]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window": 12, "smallest": 20, "factor": 1.0}, "less than 1"),
        ({"window": 12, "smallest": 20, "factor": 0.0}, "greater than 0"),
        ({"window": 12, "smallest": 0}, "greater than 0"),
        ({"scales": ()}, "at least 1 item"),
        ({"scales": (1.0, -1.0)}, "greater than 0"),
        ({"scales": (1.0,), "window": 12, "smallest": 20}, "give either `scales`, or both"),
        ({"window": 12}, "give either `scales`, or both `window` and `smallest`"),
        ({}, "give either `scales`, or both `window` and `smallest`"),
        ({"scales": (1.0,), "steps": 3}, "Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_what_is_no_pyramid(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Pyramid(**fields)


def test_far_too_many_scales_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"640 x 480 pixels has more than 200 scales\. Lower the `factor`"
    ):
        Pyramid(window=12, smallest=20, factor=0.999).scales_of((640, 480))


def test_a_scale_that_is_far_too_large_is_refused() -> None:
    with pytest.raises(DataError, match="a picture of 100 x 100 has 100000 x 100000"):
        Pyramid(scales=(1000,)).shown(Image.new("RGB", (100, 100)), 1000)


def test_places_are_counted_by_the_sides_or_by_the_scale() -> None:
    image = Image.new("RGB", (101, 51))
    for nominal, expected in ((False, (51 / 101, 26 / 51)), (True, (0.5, 0.5))):
        pyramid = Pyramid(scales=(0.5,), rounding="ceil", nominal=nominal)
        shown, matrix = pyramid.shown(image, 0.5)
        assert shown.size == (51, 26)
        np.testing.assert_allclose(np.diag(matrix), [*expected, 1])


# --- several scales -------------------------------------------------------------------------------


def test_objects_of_all_sizes_are_found_where_they_are(folder: Path) -> None:
    stages = [
        Stage("all", folder / "spotter", pyramid=halves()),
        Stage("small", folder / "spotter"),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(squares(SQUARES))
        other = chain(squares([(60, 20, 76, 36), (20, 40, 28, 48)]))
    np.testing.assert_allclose(found_in(found["all"]), sorted(map(list, SQUARES)))
    np.testing.assert_allclose(found_in(found["small"]), [SQUARES[0]])
    np.testing.assert_allclose(found_in(other["all"]), [[20, 40, 28, 48], [60, 20, 76, 36]])
    assert isinstance(found["all"], Detections)
    assert {each.label for each in found["all"].objects} == {"square"}
    assert list(found.timing_ms) == ["decode", "all", "small"]


def test_one_object_at_two_scales_is_one(folder: Path) -> None:
    image = things({(10, 10, 40, 30): "red", (60, 12, 90, 32): "green"})
    for iou, count in ((0.5, 2), (1.0, 4)):
        pyramid = Pyramid(scales=(1.0, 0.5), join=Nms(iou=iou))
        with Pipeline([Stage("things", folder / "finder", pyramid=pyramid)], threads=1) as chain:
            found = chain(image)
        assert len(found["things"].lines) == count
        lefts = {round(line.quad[0][0], -1) for line in found["things"].lines}
        assert lefts == {10, 60}


def test_crops_are_looked_at_in_several_scales(folder: Path) -> None:
    """Each crop shows its own square whole, and others at most in part."""
    crops = Crops("squares", scale=3.0)
    stages = [
        Stage("squares", folder / "spotter", pyramid=halves()),
        Stage("again", folder / "spotter", crops, pyramid=halves()),
        Stage("once", folder / "spotter", crops),
    ]
    with Pipeline(stages, threads=1) as chain:
        parts = list(chain(squares(SQUARES)).each("squares"))
    assert len(parts) == 3
    for part in parts:
        np.testing.assert_allclose(found_in(part["again"]), [part.thing.box])
        assert len(part["once"]) == (part.thing.box[2] - part.thing.box[0] == SIDE)


def test_crops_without_a_scale_fail_alone(folder: Path) -> None:
    stages = [
        Stage("squares", folder / "spotter", pyramid=halves()),
        Stage(
            "again", folder / "spotter", Crops("squares"), pyramid=Pyramid(window=12, smallest=10)
        ),
    ]
    with Pipeline(stages, threads=1) as chain:
        parts = list(chain(squares(SQUARES[:2])).each("squares"))
    failed = [part.thing.box[0] for part in parts if isinstance(part["again"], Failed)]
    assert failed == [10], "a crop of 8 pixels"


# --- joined crops ---------------------------------------------------------------------------------

NEAR: dict[Place, str] = {
    (10, 10, 40, 30): "red",
    (44, 12, 74, 32): "green",
    (12, 36, 42, 56): "blue",
}
"""So near that a crop twice as large shows parts of its neighbours."""


def wide(**fields: Any) -> Crops:
    return Crops("one", scale=5.0, **fields)


def corners(lines: Any) -> list[tuple[int, int]]:
    return sorted((round(line.quad[0][0]), round(line.quad[0][1])) for line in lines)


def test_what_crops_share_is_found_once(folder: Path) -> None:
    stages = [
        Stage("one", folder / "finder"),
        Stage("each", folder / "finder", wide()),
        Stage("two", folder / "finder", wide(join=Nms(iou=0.5))),
        Stage("colour", folder / "namer", Crops("two")),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(things(NEAR))
        again = chain([things(NEAR), things({(10, 10, 40, 30): "green"})])
    assert len(list(found.each("each"))) == 9, "each crop shows all three"
    assert corners(found["two"].lines) == sorted(place[:2] for place in NEAR)
    assert all("two" not in part for part in found.each("one"))
    named = {corners([part.thing])[0]: part["colour"].label for part in found.each("two")}
    assert named == {place[:2]: colour for place, colour in NEAR.items()}
    assert again[0] == found
    assert [part["colour"].label for part in again[1].each("two")] == ["green"]  # type: ignore[attr-defined]


def test_without_things_the_joined_result_is_empty(folder: Path) -> None:
    stages = [
        Stage("one", folder / "finder"),
        Stage("two", folder / "finder", wide(join=Nms())),
        Stage("three", folder / "finder", Crops("two", join=Nms())),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(Image.new("RGB", (30, 30)))
    assert found["two"].lines == found["three"].lines == ()


def test_a_joined_result_stands_where_the_earlier_one_stood(folder: Path) -> None:
    stages = [
        Stage("one", folder / "finder"),
        Stage("two", folder / "finder", Crops("one")),
        Stage("three", folder / "finder", Crops("two", join=Nms())),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(things(NEAR))
    assert "three" not in found
    for part in found.each("one"):
        assert corners(part["three"].lines) == corners([part.thing])


def test_a_crop_that_fails_fails_the_joined_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [
        Stage("one", folder / "finder"),
        Stage("two", folder / "namer", Crops("one")),
        Stage("three", folder / "finder", Crops("one", join=Nms())),
        Stage("four", folder / "finder", Crops("three", join=Nms())),
    ]
    with Pipeline(stages, threads=1) as chain:
        predictor = chain.steps[2].predictor
        prepare = predictor.prepare

        def broken(image: Any, *rest: Any) -> Any:
            if image.getpixel((5, 5)) == COLOURS["green"]:
                raise DataError("This crop cannot be read")
            return prepare(image, *rest)

        image = things(NEAR)
        before = chain(image)
        monkeypatch.setattr(predictor, "prepare", broken)
        found = chain(image)
    assert not isinstance(before["three"], Failed)
    assert isinstance(found["three"], Failed)
    assert "four" not in found
    assert chain.describe(found).count("This crop cannot be read") == 1


def test_steps_on_the_way_are_not_given(folder: Path) -> None:
    stages = [
        Stage("one", folder / "finder", keep=False),
        Stage("two", folder / "finder", wide(join=Nms(iou=0.5))),
        Stage("colour", folder / "namer", Crops("two")),
    ]
    with Pipeline(stages, threads=1) as chain:
        found = chain(things(NEAR))
    assert list(found.results) == ["two"]
    assert list(found.parts) == ["two"]
    assert len(found.rows()) == 3
    assert chain.describe(found) == "3 lines of text: red 1.00; green 1.00; blue 1.00"


WRONG: dict[str, tuple[Callable[[Path], list[Stage]], str]] = {
    "hangs on what is not kept": (
        lambda folder: [
            Stage("one", folder / "finder", keep=False),
            Stage("two", folder / "namer", Crops("one")),
        ],
        "The result of the stage 'two' hangs on things of 'one', which are not kept. Expected keep=True "
        "for 'one', keep=False for 'two', or a join of its crops.",
    ),
    "a join hangs there too": (
        lambda folder: [
            Stage("one", folder / "finder", keep=False),
            Stage("two", folder / "finder", Crops("one"), keep=False),
            Stage("three", folder / "finder", Crops("two", join=Nms())),
        ],
        "The result of the stage 'three' hangs on things of 'one', which are not kept. Expected",
    ),
    "nothing is kept": (
        lambda folder: [Stage("one", folder / "finder", keep=False)],
        "The pipeline keeps no result. Expected a stage with keep=True.",
    ),
    "turned by what is joined": (
        lambda folder: [
            Stage("one", folder / "finder"),
            Stage("two", folder / "finder", Crops("one", join=Nms())),
            Stage("three", folder / "namer", Crops("one", turn=Turn("two", degrees={"a": 90}))),
        ],
        "The stage 'three' turns crops by 'two'. Expected an earlier stage that takes crops of 'one'",
    ),
    "names are not joined": (
        lambda folder: [Stage("name", folder / "namer", pyramid=Pyramid(scales=(1, 2)))],
        "The stage 'name' joins results of the task classification, which are more than things with "
        "places. Expected a task such as detection, face_detection or text_detection.",
    ),
    "nor those of crops": (
        lambda folder: [
            Stage("one", folder / "finder"),
            Stage("name", folder / "namer", Crops("one", join=Nms())),
        ],
        "The stage 'name' joins results of the task classification",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_stages_that_cannot_be_meant(case: str, folder: Path) -> None:
    make, said = WRONG[case]
    with pytest.raises(UsageError) as caught:
        Pipeline(make(folder), threads=1)
    assert str(caught.value).startswith(said)


# --- what stays -----------------------------------------------------------------------------------


def seen(box: Place, score: float, prior: Place | None = None, index: int = 0) -> Detection:
    return Detection(box, f"class {index}", index, score, prior)


def kept(how: Nms, *lists: list[Detection]) -> list[Detection]:
    result = joined([Detections(tuple(each)) for each in lists], how, DetectionTask())
    assert isinstance(result, Detections)
    return list(result.objects)


def test_the_best_of_all_results_stays() -> None:
    worse, better = seen((0, 0, 10, 10), 0.6), seen((0, 1, 10, 11), 0.9)
    apart, other = seen((40, 0, 50, 10), 0.7), seen((0, 0, 10, 10), 0.5, index=1)
    assert kept(Nms(iou=0.5), [worse, apart], [better], [other]) == [better, apart, other]
    assert kept(Nms(iou=0.5, agnostic=True), [worse, apart], [better], [other]) == [better, apart]
    assert kept(Nms(iou=0.5)) == []


def test_things_may_compete_by_their_priors() -> None:
    """The boxes lie apart, and their priors above each other; and the other way round."""
    one, two = seen((0, 0, 9, 9), 0.9, (0, 0, 20, 20)), seen((11, 0, 20, 9), 0.8, (0, 0, 20, 19))
    three = seen((1, 0, 10, 9), 0.7, (50, 0, 70, 20))
    assert kept(Nms(iou=0.5), [one, two], [three]) == [one, two]
    assert kept(Nms(iou=0.5, by="priors"), [one, two], [three]) == [one, three]
    with pytest.raises(UsageError, match="joined by priors, and a Detection keeps none"):
        kept(Nms(by="priors"), [seen((0, 0, 9, 9), 0.9)])


def test_a_soft_join_lowers_scores() -> None:
    one, two = seen((0, 0, 10, 10), 0.9), seen((0, 0, 10, 5), 0.8)
    first, second = kept(Nms(iou=0.3, soft="linear"), [two], [one])
    assert first == one
    assert second.box == two.box
    assert second.score == pytest.approx(0.4)


# --- files ----------------------------------------------------------------------------------------


def refining(folder: Path) -> Pipeline:
    crops = Crops(
        "squares", scale=2.0, square=True, clip=False, fill=(0, 0, 1), edges="floor", nominal=True,
        join=Nms(iou=0.6, over="smaller"),
    )  # fmt: skip
    pyramid = halves(join=Nms(iou=0.4, by="priors"), rounding="ceil", nominal=True)
    stages = [
        Stage("squares", folder / "spotter", pyramid=pyramid, keep=False),
        Stage("lines", folder / "finder", crops),
    ]
    return Pipeline(stages, threads=1, name="refining")


def test_a_saved_pipeline_keeps_scales_and_joins(folder: Path, tmp_path: Path) -> None:
    image = squares(SQUARES)
    with refining(folder) as chain:
        path = chain.save(tmp_path / "chain")
        expected = chain(image)
        steps = [(step.takes, step.pyramid, step.keep) for step in chain.steps]
    content = json.loads((path / "pipeline.json").read_text())
    assert content["stages"][0]["keep"] is False
    assert content["stages"][0]["pyramid"]["join"] == {"iou": 0.4, "by": "priors"}
    assert content["stages"][1]["takes"]["join"] == {"iou": 0.6, "over": "smaller"}
    with modelport.load(path, threads=1) as opened:
        assert [(step.takes, step.pyramid, step.keep) for step in opened.steps] == steps
        found = opened(image)
    assert found == expected
    assert len(found["lines"].lines) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda stages: stages[0]["pyramid"].update(factor=1.5),
            "is wrong at 'stages.0.pyramid.factor': Input should be less than 1.",
        ),
        (
            lambda stages: stages[0]["pyramid"].update(scales=[1.0]),
            "is wrong at 'stages.0.pyramid': Value error, give either `scales`, or both",
        ),
        (
            lambda stages: stages[1]["takes"]["join"].update(iou=2),
            "is wrong at 'stages.1.takes.join.iou': Input should be less than or equal to 1.",
        ),
        (
            lambda stages: stages[1].update(keep=False),
            "is wrong: The pipeline keeps no result. Expected a stage with keep=True.",
        ),
    ],
)
def test_a_wrong_pyramid_in_a_file_is_named(
    change: Callable[[Any], Any], said: str, folder: Path, tmp_path: Path
) -> None:
    with refining(folder) as chain:
        path = chain.save(tmp_path / "chain")
    file = path / "pipeline.json"
    content = json.loads(file.read_text())
    change(content["stages"])
    file.write_text(json.dumps(content))
    with pytest.raises(BundleFormatError) as caught:
        Pipeline.load(path)
    assert str(caught.value).startswith(f"{path}: pipeline.json {said}")
