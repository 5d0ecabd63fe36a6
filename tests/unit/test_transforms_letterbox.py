"""Letterboxes against what YOLOX, Ultralytics, YOLOv5 and MMDetection document of theirs, with OpenCV."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import BundleFormatError, UsageError
from modelport.runtime.placement import Placement
from modelport.runtime.transforms import Decode, Layout, Letterbox, Normalize, Resize, dump, parse
from modelport.runtime.transforms.geometry import CenterCrop
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.runtime.transforms.resampling import Interpolation

Array = np.ndarray[Any, Any]


def picture(width: int, height: int, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    across = np.linspace(0, 160, width)[None, :, None]
    down = np.linspace(0, 60, height)[:, None, None]
    return (across + down + generator.integers(0, 36, (height, width, 3))).astype(np.uint8)


def surrounded(array: Array, left: int, top: int, sides: tuple[int, int], fill: int) -> Array:
    result = np.full((sides[1], sides[0], 3), fill, np.uint8)
    result[top : top + array.shape[0], left : left + array.shape[1]] = array
    return result


def yolox(array: Array, size: tuple[int, int]) -> Array:
    """Its `preproc`: one ratio, sides cut to whole pixels, the picture in the upper left corner."""
    high, wide = size
    ratio = min(high / array.shape[0], wide / array.shape[1])
    sides = (int(array.shape[1] * ratio), int(array.shape[0] * ratio))
    resized = cv2.resize(array, sides, interpolation=cv2.INTER_LINEAR)
    return surrounded(resized, 0, 0, (wide, high), 114)


def ultralytics(
    array: Array, size: tuple[int, int], *, upscale: bool = True, stride: int = 0
) -> Array:
    """Its predictor's letterbox: rounded sides, half margins moved by a tenth before they are rounded."""
    high, wide = size
    ratio = min(high / array.shape[0], wide / array.shape[1])
    ratio = ratio if upscale else min(ratio, 1.0)
    sides = (round(array.shape[1] * ratio), round(array.shape[0] * ratio))
    spare = (wide - sides[0], high - sides[1])
    if stride:
        spare = (spare[0] % stride, spare[1] % stride)
    if sides != (array.shape[1], array.shape[0]):
        array = cv2.resize(array, sides, interpolation=cv2.INTER_LINEAR)
    left, right = round(spare[0] / 2 - 0.1), round(spare[0] / 2 + 0.1)
    top, bottom = round(spare[1] / 2 - 0.1), round(spare[1] / 2 + 0.1)
    grey = (114, 114, 114)
    return cv2.copyMakeBorder(array, top, bottom, left, right, cv2.BORDER_CONSTANT, value=grey)


def mmdetection(array: Array, edge: int) -> Array:
    """`Resize(scale=(e, e), keep_ratio=True)`, then `Pad(size=(e, e), pad_val=114)`."""
    height, width = array.shape[:2]
    factor = min(edge / max(height, width), edge / min(height, width))
    sides = (int(width * factor + 0.5), int(height * factor + 0.5))
    resized = cv2.resize(array, sides, interpolation=cv2.INTER_LINEAR)
    return surrounded(resized, 0, 0, (edge, edge), 114)


def mmyolo(array: Array, edge: int) -> Array:
    """`YOLOv5KeepRatioResize`, then `LetterResize(allow_scale_up=False)` as its YOLOv5 configs test."""
    height, width = array.shape[:2]
    ratio = min(edge / max(height, width), edge / min(height, width))
    method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    if ratio != 1:
        array = cv2.resize(array, (int(width * ratio), int(height * ratio)), interpolation=method)
    across, down = edge - array.shape[1], edge - array.shape[0]
    return surrounded(array, round(across // 2 - 0.1), round(down // 2 - 0.1), (edge, edge), 114)


SIZES = [
    (640, 427), (427, 640), (333, 500), (97, 131), (640, 640), (1023, 769), (49, 49), (31, 17),
    (500, 1), (3, 400), (200, 199), (101, 67),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_libraries(width: int, height: int) -> None:
    array = picture(width, height)

    def ours(**fields: Any) -> Array:
        return PicturePreprocessor([Letterbox(**fields)]).pixels(array)

    if min(width, height) * 96 >= max(width, height):  # YOLOX has no picture of no pixels
        np.testing.assert_array_equal(
            ours(size=(96, 128), anchor="top_left", rounding="floor"), yolox(array, (96, 128))
        )
        np.testing.assert_array_equal(
            ours(
                size=128, interpolation="opencv.area", enlarging="opencv.linear", rounding="floor"
            ),
            mmyolo(array, 128),
        )
        np.testing.assert_array_equal(
            ours(size=(96, 128), upscale=False), ultralytics(array, (96, 128), upscale=False)
        )
        np.testing.assert_array_equal(
            ours(size=160, divisor=32), ultralytics(array, (160, 160), stride=32)
        )
        np.testing.assert_array_equal(
            ours(size=100, anchor="top_left", rounding="nearest"), mmdetection(array, 100)
        )
    np.testing.assert_array_equal(ours(size=(641, 640)), ultralytics(array, (641, 640)))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    width=st.integers(8, 300),
    height=st.integers(8, 300),
    size=st.tuples(st.integers(40, 200), st.integers(40, 200)),
    upscale=st.booleans(),
)
def test_ultralytics_of_any_size(
    width: int, height: int, size: tuple[int, int], upscale: bool
) -> None:
    array = picture(width, height)
    found = PicturePreprocessor([Letterbox(size, upscale=upscale)]).pixels(array)
    np.testing.assert_array_equal(found, ultralytics(array, size, upscale=upscale))


LETTERBOXES = st.builds(
    Letterbox,
    st.integers(16, 200) | st.tuples(st.integers(16, 200), st.integers(16, 200)),
    fill=st.integers(0, 255) | st.tuples(*[st.integers(0, 255)] * 3),
    anchor=st.sampled_from(["center", "top_left"]),
    upscale=st.booleans(),
    interpolation=st.sampled_from(["opencv.linear", "opencv.area", "pil.bilinear", "pil.box"]),
    enlarging=st.none() | st.just("pil.bilinear"),
    rounding=st.sampled_from(["floor", "nearest", "half-even", "ceil"]),
    margin=st.sampled_from(["floor", "ceil", "half-even"]),
    divisor=st.none() | st.sampled_from([1, 7, 32]),
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(step=LETTERBOXES, width=st.integers(1, 400), height=st.integers(1, 400))
def test_laws(step: Letterbox, width: int, height: int) -> None:
    """All of the picture is there, it fits, and beside it is nothing but the fill."""
    high, wide = (step.size,) * 2 if isinstance(step.size, int) else step.size
    sides = step.sides(width, height)
    assert sides[0] <= wide
    assert sides[1] <= high
    if step.divisor is None:
        assert sides == (wide, high)
    else:
        assert (wide - sides[0]) % step.divisor == (high - sides[1]) % step.divisor == 0
    frame = step.frame(width, height)
    left, top, right, bottom = frame.target
    assert (right - left, bottom - top) == frame.size
    assert frame.inside == (0, 0, *frame.size)
    across, down = frame.size[0] / width, frame.size[1] / height
    expected = [[across, 0, left], [0, down, top], [0, 0, 1]]
    np.testing.assert_allclose(step.matrix(width, height), expected)
    slack = 1 if step.rounding == "floor" else 0  # int(97 * (96 / 97)) is 95, and YOLOX's too
    fits = frame.size[0] >= wide - slack or frame.size[1] >= high - slack
    assert fits or not step.upscale
    assert step.upscale or (frame.size[0] <= width and frame.size[1] <= height)
    image = step.apply(Image.new("RGB", (width, height), (1, 2, 3)))
    assert image.size == sides
    array = np.asarray(image)
    beside = np.ones(array.shape[:2], bool)
    beside[top:bottom, left:right] = False
    fill = step.fill if isinstance(step.fill, tuple) else (step.fill,) * 3
    assert (array[beside] == fill).all()
    assert (array[~beside] == (1, 2, 3)).all()
    assert parse(json.loads(json.dumps(dump([step])))) == [step]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    step=LETTERBOXES,
    width=st.integers(20, 300),
    height=st.integers(20, 300),
    seed=st.integers(0, 99),
)
def test_places_go_where_their_pixels_go(
    step: Letterbox, width: int, height: int, seed: int
) -> None:
    """A bright spot is where the matrix says, and the way back leads to where it came from."""
    generator = np.random.default_rng(seed)
    x, y = float(generator.uniform(6, width - 6)), float(generator.uniform(6, height - 6))
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    image = Image.fromarray(np.repeat(spot[:, :, None], 3, 2).astype(np.uint8))
    step = step.model_copy(update={"fill": 0})
    prepared = PicturePreprocessor([step]).prepare(image)
    placement = prepared.placement
    assert placement is not None
    if placement.scale < 0.5:
        return  # too few pixels are left of the spot
    found = prepared.first[0, 0].astype(np.float64)
    weights = found.sum()
    size = found.shape
    centre = (
        (found.sum(0) * (np.arange(size[1]) + 0.5)).sum() / weights,
        (found.sum(1) * (np.arange(size[0]) + 0.5)).sum() / weights,
    )
    np.testing.assert_allclose(centre, placement.points_to_tensor(np.array([x, y])), atol=0.35)
    np.testing.assert_allclose(placement.points_to_picture(np.array(centre)), (x, y), atol=0.7)


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
@pytest.mark.parametrize("order", ["nchw", "nhwc"])
def test_the_tensor_has_the_fill_in_its_own_colours_and_numbers(order: Any, colour: Any) -> None:
    array = picture(40, 20)
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    steps = [
        Decode(colour=colour),
        Letterbox(32, fill=(10, 20, 30)),
        Normalize(mean=mean, std=std, scale=1.0),
        Layout(order=order),
    ]
    found = PicturePreprocessor(steps)(array)[0]
    found = found.transpose(1, 2, 0) if order == "nchw" else found
    whole = np.full((32, 32, 3), (10, 20, 30), np.uint8)
    whole[8:24] = cv2.resize(array, (32, 16))
    whole = whole if colour == "rgb" else whole[:, :, ::-1]
    np.testing.assert_allclose(found, (whole - np.array(mean)) / std, atol=1e-5)


def test_grey_and_bytes() -> None:
    array = picture(40, 20)
    steps = [Decode(colour="grey"), Letterbox(32, fill=7), Layout(dtype="uint8")]
    found = PicturePreprocessor(steps)(array)
    assert found.dtype == np.uint8
    assert found.shape == (1, 1, 32, 32)
    assert (found[0, 0, :8] == 7).all()
    luma = np.asarray(Image.fromarray(array).convert("L"))
    np.testing.assert_array_equal(found[0, 0, 8:24], cv2.resize(luma, (32, 16)))


def test_fractions_of_a_grey_level_reach_the_tensor() -> None:
    steps = [Letterbox(32, fill=(123.675, 116.28, 103.53)),
             Normalize(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), scale=1.0)]  # fmt: skip
    found = PicturePreprocessor(steps)(picture(40, 20))
    np.testing.assert_allclose(found[0, :, :8], 0, atol=1e-6)
    assert PicturePreprocessor(steps[:1])(picture(40, 20))[0, 0, 0, 0] == np.float32(123.675)
    image = Letterbox(32, fill=(123.675, 116.28, 103.53)).apply(Image.fromarray(picture(40, 20)))
    assert image.getpixel((0, 0)) == (124, 116, 104)


def test_a_crop_after_it_takes_what_is_there() -> None:
    array = picture(50, 20)
    whole = ultralytics(array, (40, 40))
    found = PicturePreprocessor([Letterbox(40), CenterCrop((36, 30))]).pixels(array)
    np.testing.assert_array_equal(found, whole[2:38, 5:35])
    larger = PicturePreprocessor([Letterbox(40), CenterCrop((44, 44))]).pixels(array)
    np.testing.assert_array_equal(larger, np.pad(whole, ((2, 2), (2, 2), (0, 0))))
    again = PicturePreprocessor([Letterbox(40), Resize((20, 20), interpolation="pil.box")])
    expected = Image.fromarray(whole).resize((20, 20), Image.Resampling.BOX)
    np.testing.assert_array_equal(again.pixels(array), np.asarray(expected))


@pytest.mark.parametrize("interpolation", ["pil.bilinear", "opencv.area"])
@pytest.mark.parametrize("size", [(1001, 667), (667, 1001), (1203, 899), (2000, 333)])
def test_drafts_come_out_with_the_same_sides_and_places(
    size: tuple[int, int], interpolation: Interpolation
) -> None:
    """At 1/8 of its size an odd picture is no longer of the same shape; the result must not tell."""
    small = Image.fromarray(picture(13, 9))
    smooth = small.resize(size, Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    smooth.save(stream, "JPEG", quality=95)
    step = Letterbox(110, interpolation=interpolation)
    exact, draft = (
        PicturePreprocessor([Decode(draft=draft), step]).prepare(stream.getvalue())
        for draft in (False, True)
    )
    assert exact.first.shape == draft.first.shape
    difference = np.abs(exact.first - draft.first)
    assert 0 < difference.max() <= 12
    assert difference.mean() < 1
    assert isinstance(exact.placement, Placement)
    assert isinstance(draft.placement, Placement)
    np.testing.assert_array_equal(exact.placement.matrix, draft.placement.matrix)
    assert exact.placement.picture == draft.placement.picture == size
    decoded, sides = Decode(draft=True).sized(stream.getvalue(), step.wanted)
    assert sides == size
    assert decoded.size == tuple(math.ceil(side / 8) for side in size)


def test_a_fill_for_each_channel_needs_as_many_channels() -> None:
    with pytest.raises(UsageError) as caught:
        PicturePreprocessor([Decode(colour="grey"), Letterbox(32, fill=(1, 2, 3))])
    assert str(caught.value) == (
        "The letterbox has 3 grey levels to fill with. Expected one, or 1 for grey pictures."
    )


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"size": 0}, "size"),
        ({"size": 32, "fill": 256}, "fill"),
        ({"size": 32, "fill": [1, float("nan"), 3]}, "fill"),
        ({"size": 32, "anchor": "right"}, "anchor"),
        ({"size": 32, "divisor": 0}, "divisor"),
        ({"size": 32, "rounding": "up"}, "rounding"),
        ({}, "size"),
    ],
)
def test_wrong_fields(entry: dict[str, Any], word: str) -> None:
    with pytest.raises(BundleFormatError, match=rf"The transform at '0\.letterbox\.{word}"):
        parse([{"kind": "letterbox", **entry}])
