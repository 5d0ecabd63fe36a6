"""Sides and pixels of the resizes, against the published rules of the libraries that have them."""

from __future__ import annotations

import io
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import BundleFormatError
from modelport.runtime.placement import Placement
from modelport.runtime.transforms import (
    CenterCrop,
    Crop,
    Decode,
    Layout,
    Letterbox,
    Normalize,
    Pad,
    Resize,
    ResizeToMultiple,
    TextLine,
    dump,
    parse,
)
from modelport.runtime.transforms.frames import Framed
from modelport.runtime.transforms.picture import PicturePreprocessor

Array = np.ndarray[Any, Any]
SIDE = st.integers(1, 3000)


def picture(width: int, height: int) -> Array:
    generator = np.random.default_rng(width * 7919 + height)
    across = np.linspace(0, 160, width)[None, :, None]
    down = np.linspace(0, 60, height)[:, None, None]
    return (across + down + generator.integers(0, 36, (height, width, 3))).astype(np.uint8)


# --- one edge, with a limit ----------------------------------------------------------------------


def torchvision_size(width: int, height: int, size: int, most: int) -> tuple[int, int]:
    """`Resize(size, max_size=most)`: the limit is applied to edges that are whole already."""
    short, long = min(width, height), max(width, height)
    edges = size, int(size * long / short)
    if edges[1] > most:
        edges = int(most * edges[0] / edges[1]), most
    return edges if width <= height else edges[::-1]


def mmcv_size(width: int, height: int, scale: tuple[int, int]) -> tuple[int, int]:
    """`rescale_size`: one factor, both sides rounded with a half added."""
    factor = min(max(scale) / max(width, height), min(scale) / min(width, height))
    return int(width * factor + 0.5), int(height * factor + 0.5)


def detection_size(width: int, height: int, least: int, most: int) -> tuple[int, int]:
    """torchvision's `GeneralizedRCNNTransform`: interpolate by one factor, sides cut."""
    factor = min(least / min(width, height), most / max(width, height))
    return math.floor(width * factor), math.floor(height * factor)


def detr_size(width: int, height: int, size: int, most: int) -> tuple[int, int]:
    """`get_size_with_aspect_ratio` of DETR, which rounds the shorter edge and cuts the longer one."""
    raw = None
    short, long = float(min(width, height)), float(max(width, height))
    if long / short * size > most:
        raw = most * short / long
        size = round(raw)
    if min(width, height) == size:
        return width, height
    exact = size if raw is None else raw
    if width < height:
        return size, int(exact * height / width)
    return int(exact * width / height), size


def ceiled(sides: tuple[int, int], divisor: int) -> tuple[int, int]:
    """What Mask2Former and TextNet do with the sides above."""
    return math.ceil(sides[0] / divisor) * divisor, math.ceil(sides[1] / divisor) * divisor


def no_pixel_less(sides: tuple[int, int]) -> tuple[int, int]:
    """Ours, where the library would make a picture of no pixels."""
    return max(1, sides[0]), max(1, sides[1])


@settings(max_examples=80)
@given(width=SIDE, height=SIDE, size=st.integers(1, 1200), spare=st.integers(1, 800))
def test_a_shorter_edge_with_a_limit(width: int, height: int, size: int, spare: int) -> None:
    most = size + spare
    given = (width, height)
    assert Resize(size, limit=most).target(*given) == no_pixel_less(
        torchvision_size(width, height, size, most)
    )
    assert Resize(size, limit=most, by="factor", rounding="nearest").target(*given) == (
        no_pixel_less(mmcv_size(width, height, (most, size)))
    )
    assert Resize(size, limit=most, by="factor").target(*given) == no_pixel_less(
        detection_size(width, height, size, most)
    )
    assert Resize(size, limit=most, limit_rounding="half-even").target(*given) == no_pixel_less(
        detr_size(width, height, size, most)
    )
    mask2former = Resize(size, limit=most, limit_rounding="half-even", divisor=32,
                         divisor_rounding="ceil")  # fmt: skip
    assert mask2former.target(*given) == ceiled(
        no_pixel_less(detr_size(width, height, size, most)), 32
    )


@settings(max_examples=60)
@given(width=SIDE, height=SIDE, size=st.integers(1, 1200))
def test_other_edges(width: int, height: int, size: int) -> None:
    longer = Resize(size, edge="longer", rounding="nearest", by="factor").target(width, height)
    factor = size * 1.0 / max(height, width)  # SAM: int(side * factor + 0.5)
    assert longer == no_pixel_less((int(width * factor + 0.5), int(height * factor + 0.5)))
    long, short = max(width, height), min(width, height)
    edges = int(size * short / long), size  # torchvision's `Resize(None, max_size=size)`
    edges = edges if width <= height else edges[::-1]
    assert Resize(size, edge="longer").target(width, height) == no_pixel_less(edges)
    assert Resize(size, edge="height").target(width, height) == no_pixel_less(
        (int(size * width / height), size)
    )
    assert Resize(size, edge="width").target(width, height) == no_pixel_less(
        (size, int(size * height / width))
    )


@pytest.mark.parametrize(
    ("only", "given", "expected"),
    [
        ("shrink", (300, 200), (100, 66)), ("shrink", (80, 60), (80, 60)),
        ("enlarge", (300, 200), (300, 200)), ("enlarge", (80, 60), (100, 75)),
        ("shrink", (100, 40), (100, 40)), (None, (80, 60), (100, 75)),
    ],
)  # fmt: skip
def test_only_one_way(only: Any, given: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Resize(100, edge="longer", only=only).target(*given) == expected


# --- multiples -----------------------------------------------------------------------------------


def paddle_size(width: int, height: int, limit: int, kind: str) -> tuple[int, int]:
    """PaddleOCR's `DetResizeForTest`: a factor, whole pixels, then multiples of 32."""
    factor = 1.0
    if kind == "max" and max(height, width) > limit:
        factor = limit / max(height, width)
    if kind == "min" and min(height, width) < limit:
        factor = limit / min(height, width)
    high, wide = int(height * factor), int(width * factor)
    return max(round(wide / 32) * 32, 32), max(round(high / 32) * 32, 32)


def dpt_size(
    width: int, height: int, size: tuple[int, int], multiple: int, keep: bool
) -> tuple[int, int]:
    """`get_resize_output_image_size` of DPT: the factor that is nearer to one."""
    down, across = size[0] / height, size[1] / width
    if keep:
        nearer = across if abs(1 - across) < abs(1 - down) else down
        down = across = nearer
    return round(across * width / multiple) * multiple, round(down * height / multiple) * multiple


@settings(max_examples=60)
@given(width=SIDE, height=SIDE, limit=st.integers(32, 1200))
def test_the_sides_of_paddle(width: int, height: int, limit: int) -> None:
    for kind, edge, only in (("max", "longer", "shrink"), ("min", "shorter", "enlarge")):
        step = Resize(limit, edge=edge, only=only, by="factor", divisor=32)
        assert step.target(width, height) == paddle_size(width, height, limit, kind)


@settings(max_examples=60)
@given(width=SIDE, height=SIDE, size=st.tuples(SIDE, SIDE), divisor=st.integers(1, 64))
def test_the_sides_of_depth_models(width: int, height: int, size: Any, divisor: int) -> None:
    for keep in (False, True):
        expected = dpt_size(width, height, size, divisor, keep)
        expected = max(divisor, expected[0]), max(divisor, expected[1])
        step = ResizeToMultiple(divisor=divisor, size=size, keep_ratio=keep)
        assert step.target(width, height) == expected
    floor = ResizeToMultiple(divisor=divisor, rounding="floor").target(width, height)
    assert floor == tuple(max(1, side // divisor) * divisor for side in (width, height))


# --- lines of text -------------------------------------------------------------------------------


def paddle_line(array: Array, height: int, width: int, *, free: bool) -> Array:
    """`resize_norm_img` of PaddleOCR, with what its batch of one line makes of the width."""
    high, wide = array.shape[:2]
    ratio = wide / float(high)
    whole = int(height * max(width / height, ratio)) if free else width
    line = whole if math.ceil(height * ratio) > whole else math.ceil(height * ratio)
    resized = cv2.resize(array, (line, height)).astype(np.float32).transpose(2, 0, 1) / 255
    padded = np.zeros((3, height, whole), np.float32)
    padded[:, :, :line] = (resized - 0.5) / 0.5
    return padded


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(
    "size", [(100, 32), (320, 48), (321, 48), (640, 40), (17, 50), (1000, 31), (333, 37), (5, 60)]
)
def test_a_line_is_that_of_paddle(size: tuple[int, int], free: bool) -> None:
    array = picture(*size)
    steps = [
        Decode(),
        TextLine(48, width=320, grow=free),
        Normalize(mean=(0.5,) * 3, std=(0.5,) * 3),
        Layout(),
    ]
    expected = paddle_line(array, 48, 320, free=free)
    found = PicturePreprocessor(steps)(array)[0]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=60)
@given(width=st.integers(1, 900), height=st.integers(1, 120))
def test_the_sides_of_lines(width: int, height: int) -> None:
    free = TextLine(48, width=320, grow=True).frame(width, height)
    expected = int(48 * max(320 / 48, width / height))
    assert free.sides == (expected, 48)
    assert free.size[0] == min(expected, math.ceil(48 * (width / height)))
    mmocr = TextLine(32, least=32, divisor=16).sides(width, height)  # `RescaleToHeight`
    line = max(32, math.ceil(32 * (width / height)))
    assert mmocr == (round(line / 16) * 16, 32)
    fixed = TextLine(32, width=100, least=32, divisor=16).frame(width, height)
    assert fixed.sides == (100, 32)
    assert fixed.size[0] == min(100, mmocr[0])


# --- padding and crops ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "margins"),
    [
        ({"size": 40}, (0, 0, 10, 20)),
        ({"size": (25, 28)}, (0, 0, 0, 5)),
        ({"divisor": 32}, (0, 0, 2, 12)),
        ({"divisor": 10}, (0, 0, 0, 0)),
        ({"divisor": 10, "always": True}, (0, 0, 10, 10)),
        ({"divisor": 8, "always": True}, (0, 0, 2, 4)),
        ({"square": True}, (0, 0, 0, 10)),
        ({"square": True, "anchor": "center"}, (0, 5, 0, 5)),
        ({"square": True, "divisor": 16, "anchor": "center"}, (1, 6, 1, 6)),
        ({"size": (20, 33), "anchor": "center"}, (1, 0, 2, 0)),
        ({"size": (20, 33), "anchor": "center", "margin": "ceil"}, (2, 0, 1, 0)),
        ({"size": (20, 33), "anchor": "center", "margin": "half-even"}, (2, 0, 1, 0)),
        ({"margins": (1, 2, 3, 4)}, (1, 2, 3, 4)),
        ({"margins": (1, 2, 3, 4), "divisor": 8}, (1, 2, 9, 10)),
    ],
)
@pytest.mark.parametrize(
    ("fill", "mode"),
    [(0, "constant"), ((9, 8, 7), "constant"), ("edge", "edge"), ("reflect", "reflect"),
     ("symmetric", "symmetric")],
)  # fmt: skip
def test_pad(fields: Any, margins: Any, fill: Any, mode: Any) -> None:
    array = picture(30, 20)
    left, top, right, bottom = margins
    around = ((top, bottom), (left, right))
    planes = [np.pad(array[:, :, c], around, mode=mode) for c in range(3)]
    expected = np.stack(planes, 2)
    if mode == "constant":
        inner = np.zeros(expected.shape[:2], bool)
        inner[top : top + 20, left : left + 30] = True
        expected[~inner] = fill
    pipeline = PicturePreprocessor([Pad(fill=fill, **fields)])
    np.testing.assert_array_equal(pipeline.pixels(array), expected)
    np.testing.assert_array_equal(pipeline(array)[0], expected.transpose(2, 0, 1))
    placement = pipeline.prepare(array).placement
    assert placement is not None
    assert placement.tensor == expected.shape[1::-1]
    np.testing.assert_array_equal(placement.points_to_tensor(np.array([0.0, 0.0])), (left, top))


@pytest.mark.parametrize(
    ("step", "edges"),
    [
        (Crop((2, 3, 12, 9)), (2, 3, 12, 9)),
        (Crop((0.1, 0.25, 0.9, 1), unit="fractions"), (3, 5, 27, 20)),
        (Crop((0.5, 0.5, 0.501, 0.501), unit="fractions"), (15, 10, 16, 11)),
        (Crop((-2, 15, 5, 24), fill=9), (-2, 15, 5, 24)),
    ],
)
def test_crop(step: Crop, edges: tuple[int, int, int, int]) -> None:
    array = picture(30, 20)
    left, top, right, bottom = edges
    whole = np.pad(array, ((10, 10), (10, 10), (0, 0)), constant_values=9)
    expected = whole[top + 10 : bottom + 10, left + 10 : right + 10]
    pipeline = PicturePreprocessor([step])
    np.testing.assert_array_equal(pipeline.pixels(array), expected)
    placement = pipeline.prepare(array).placement
    assert placement is not None
    np.testing.assert_array_equal(placement.points_to_tensor(np.array([left, top])), (0, 0))


# --- all together --------------------------------------------------------------------------------

SMALL = st.integers(8, 90)
STEPS = st.one_of(
    st.builds(Resize, SMALL, edge=st.sampled_from(["shorter", "longer", "width", "height"]),
              interpolation=st.sampled_from(["pil.bilinear", "opencv.linear", "pil.box"])),
    st.builds(Resize, st.tuples(SMALL, SMALL)),
    st.builds(CenterCrop, SMALL),
    st.builds(Letterbox, SMALL, fill=st.just((1, 2, 3)), divisor=st.none() | st.just(8)),
    st.builds(Pad, divisor=st.just(16), anchor=st.sampled_from(["center", "top_left"]),
              fill=st.sampled_from([0, 7, "edge", "symmetric"])),
    st.builds(Pad, margins=st.tuples(*[st.integers(0, 9)] * 4), fill=st.just(5)),
    st.builds(Crop, st.just((0.1, 0.2, 0.8, 1.1)), unit=st.just("fractions"), fill=st.just(4)),
    st.builds(ResizeToMultiple, divisor=st.just(8), rounding=st.just("floor")),
    st.builds(TextLine, SMALL, width=st.none() | st.just(64), grow=st.booleans()),
)  # fmt: skip


@settings(max_examples=60)
@given(
    steps=st.lists(STEPS, min_size=1, max_size=4), width=st.integers(8, 120), height=st.integers(8, 120),
    order=st.sampled_from(["nchw", "nhwc"]), colour=st.sampled_from(["rgb", "bgr"]),
)  # fmt: skip
def test_one_pass_gives_what_each_step_alone_gives(
    steps: list[Framed], width: int, height: int, order: Any, colour: Any
) -> None:
    """However steps are joined, and wherever their pixels are written."""
    array = picture(width, height)
    image, placement = Image.fromarray(array), Placement.whole(width, height)
    for step in steps:
        matrix, sides = step.matrix(*image.size), step.sides(*image.size)
        if max(sides) > 2000:
            return  # ribbons only cost time
        image = step.apply(image)
        assert image.size == sides
        placement = placement.then(matrix, sides)
    pipeline = PicturePreprocessor(
        [Decode(colour=colour), *steps, Layout(order=order, dtype="uint8")]
    )
    prepared = pipeline.prepare(array)
    expected = np.asarray(image) if colour == "rgb" else np.asarray(image)[:, :, ::-1]
    found = prepared.first[0]
    found = found.transpose(1, 2, 0) if order == "nchw" else found
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1  # see `_pil_part`
    assert prepared.placement is not None
    assert prepared.placement.tensor == placement.tensor
    np.testing.assert_allclose(prepared.placement.matrix, placement.matrix, atol=1e-9)
    assert parse(dump(steps)) == steps


@pytest.mark.parametrize(
    "steps",
    [
        [Resize(100, edge="longer", rounding="nearest"), Pad(size=100, fill="edge")],
        [Resize(96, edge="longer", only="shrink", by="factor", divisor=32)],
        [TextLine(48, width=160)],
        [Resize(60, limit=90), Pad(divisor=32)],
    ],
)
@pytest.mark.parametrize("size", [(1003, 669), (667, 1001)])
def test_drafts_change_no_sides(steps: list[Any], size: tuple[int, int]) -> None:
    smooth = Image.fromarray(picture(11, 9)).resize(size, Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    smooth.save(stream, "JPEG", quality=95)
    exact, draft = (
        PicturePreprocessor([Decode(draft=draft), *steps]).prepare(stream.getvalue())
        for draft in (False, True)
    )
    assert exact.first.shape == draft.first.shape
    difference = np.abs(exact.first - draft.first)
    assert 0 < difference.max() <= 16, "it is a draft, and a good one"
    assert exact.placement is not None
    assert draft.placement is not None
    np.testing.assert_array_equal(exact.placement.matrix, draft.placement.matrix)


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["nchw", "nhwc"])
@pytest.mark.parametrize("normalized", [False, True])
def test_float16_is_float32_rounded_once(order: Any, normalized: bool) -> None:
    array = picture(40, 30)
    steps: list[Any] = [Letterbox(32, fill=(123.675, 116.28, 103.53))]
    if normalized:
        steps.append(Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)))
    full = PicturePreprocessor([*steps, Layout(order=order)])(array)
    half = PicturePreprocessor([*steps, Layout(order=order, dtype="float16")])(array)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, full.astype(np.float16))


def test_grey_in_three_channels() -> None:
    array = picture(20, 10)
    found = PicturePreprocessor([Decode(colour="grey3"), Letterbox(20, fill=(1, 2, 3))])(array)[0]
    luma = np.asarray(Image.fromarray(array).convert("L"))
    for channel in range(3):
        np.testing.assert_array_equal(found[channel, 5:15], luma)
        assert (found[channel, :5] == channel + 1).all()


@pytest.mark.parametrize("background", [None, 255, (10, 20, 30)])
@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_what_shows_through(kind: str, background: Any) -> None:
    array = picture(12, 9)
    alpha = np.linspace(0, 255, 12 * 9).reshape(9, 12).astype(np.uint8)
    image = Image.fromarray(np.dstack([array, alpha]))
    stream = io.BytesIO()
    options: dict[str, Any] = {}
    if kind == "P":
        image = Image.fromarray(array).quantize(16)
        options["transparency"] = bytes(range(0, 256, 16))
    else:
        image = image.convert(kind)
    image.save(stream, "PNG", **options)
    found = PicturePreprocessor([Decode(background=background)]).pixels(stream.getvalue())
    opened = np.asarray(Image.open(stream).convert("RGBA")).astype(np.float64)
    if background is None or kind == "RGB":
        expected = opened[:, :, :3]
    else:
        share = opened[:, :, 3:] / 255
        expected = opened[:, :, :3] * share + np.asarray(background) * (1 - share)
    np.testing.assert_allclose(found, expected, atol=1)


# --- wrong fields --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "resize", "size": [3, 4], "limit": 9}, "belongs to a size of the shorter one"),
        ({"kind": "resize", "size": 3, "edge": "longer", "limit": 9}, "the shorter one"),
        ({"kind": "resize", "size": [3, 4], "only": "shrink"}, "belongs to a size of one edge"),
        ({"kind": "crop", "box": [5, 5, 5, 9]}, "must have an area"),
        ({"kind": "crop", "box": [0.5, 0, 4, 9]}, "pixels are whole numbers"),
        ({"kind": "crop", "box": [0, 0, float("inf"), 9]}, "finite"),
        ({"kind": "pad", "margins": [1, 2, -3, 4]}, "greater than or equal to 0"),
        ({"kind": "pad", "fill": "mirror"}, "pad.fill"),
        ({"kind": "resize_to_multiple"}, "resize_to_multiple.divisor"),
        ({"kind": "text_line", "height": 0}, "text_line.height"),
        ({"kind": "decode", "background": 256}, "decode.background"),
        ({"kind": "layout", "dtype": "int8"}, "layout.dtype"),
    ],
)
def test_wrong_fields(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(BundleFormatError) as caught:
        parse([entry])
    assert "The transform at '0." in str(caught.value)
    assert words in str(caught.value)
