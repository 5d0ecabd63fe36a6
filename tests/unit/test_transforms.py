"""Pixels and numbers against independent implementations: PIL, OpenCV and torchvision's rules."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from modelport.errors import BundleFormatError, DataError, UsageError
from modelport.runtime.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CenterCrop,
    Decode,
    Layout,
    Normalize,
    Resize,
    dump,
    imagenet,
    parse,
    resampling,
)
from modelport.runtime.transforms.picture import PicturePreprocessor

Array = np.ndarray[Any, Any]


def picture(width: int, height: int, channels: int = 3, seed: int = 0) -> Array:
    """Noise over a gradient: every pixel differs from its neighbours, and both ends are reached."""
    generator = np.random.default_rng(seed)
    across = np.linspace(0, 160, width)[None, :, None]
    down = np.linspace(0, 60, height)[:, None, None]
    noise = generator.integers(0, 36, (height, width, channels))
    array = (across + down + noise).clip(0, 255).astype(np.uint8)
    return array if channels > 1 else array[:, :, 0]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def torchvision_resize(image: Image.Image, size: int, method: Image.Resampling) -> Image.Image:
    """`Resize(size)` on a PIL image, by torchvision's documentation."""
    width, height = image.size
    short, long = (width, height) if width <= height else (height, width)
    longer = int(size * long / short)
    target = (size, longer) if width <= height else (longer, size)
    return image if target == image.size else image.resize(target, method)


def torchvision_crop(image: Image.Image, size: int) -> Image.Image:
    """`CenterCrop(size)`: pads with zeros where the image is smaller, then cuts."""
    width, height = image.size
    if size > width or size > height:
        left = (size - width) // 2 if size > width else 0
        top = (size - height) // 2 if size > height else 0
        right = (size - width + 1) // 2 if size > width else 0
        bottom = (size - height + 1) // 2 if size > height else 0
        padded = np.pad(np.asarray(image), ((top, bottom), (left, right), (0, 0)))
        image = Image.fromarray(padded)
        width, height = image.size
        if size == width and size == height:
            return image
    top = round((height - size) / 2.0)
    left = round((width - size) / 2.0)
    return image.crop((left, top, left + size, top + size))


def torchvision(array: Array, resize: int, crop: int, method: Image.Resampling) -> Array:
    resized = torchvision_resize(Image.fromarray(array), resize, method)
    return np.asarray(torchvision_crop(resized, crop))


METHODS = [Image.Resampling[name] for name in
           ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")]  # fmt: skip


def assert_near(found: Array, expected: Array, method: Image.Resampling) -> None:
    """Within one grey level for the filters whose parts are computed alone, equal for the others."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.uint8
    worst = int(np.abs(found.astype(int) - expected.astype(int)).max(initial=0))
    allowed = 0 if method in (Image.Resampling.NEAREST, Image.Resampling.BOX) else 1
    assert worst <= allowed, f"differs by up to {worst} grey levels"


SIZES = [
    (256, 256), (257, 256), (256, 257), (224, 224), (500, 375), (375, 500), (333, 500), (640, 427),
    (427, 640), (1023, 769), (97, 131), (131, 97), (31, 17), (224, 1000), (1000, 224), (1, 40),
    (40, 1), (2, 3), (1, 1), (225, 223), (255, 341), (1200, 801),
]  # fmt: skip


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_resize_256_crop_224(width: int, height: int, method: str) -> None:
    array = picture(width, height)
    pipeline = PicturePreprocessor(imagenet(interpolation=f"pil.{method}"))
    kind = Image.Resampling[method.upper()]
    assert_near(pipeline.pixels(array), torchvision(array, 256, 224, kind), kind)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 90) | st.integers(100, 500),
    height=st.integers(1, 90) | st.integers(100, 500),
    resize=st.integers(1, 60) | st.integers(100, 300),
    crop=st.integers(1, 70) | st.integers(100, 260),
    method=st.sampled_from(METHODS),
)
def test_resize_and_crop_of_any_size(
    width: int, height: int, resize: int, crop: int, method: Image.Resampling
) -> None:
    """Crops larger and smaller than what is left, every filter, enlarged and shrunk."""
    array = picture(width, height)
    transforms = [
        Resize(resize, interpolation=f"pil.{method.name.lower()}"),
        CenterCrop(crop),
    ]
    expected = torchvision(array, resize, crop, method)
    assert_near(PicturePreprocessor(transforms).pixels(array), expected, method)


@pytest.mark.parametrize("method", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(3024, 4032), (4000, 2250), (900, 2400)])
def test_large_pictures(method: str, size: tuple[int, int]) -> None:
    """Positions in the thousands leave few bits of a float for the place between two pixels."""
    array = np.asarray(Image.fromarray(picture(80, 60)).resize(size, Image.Resampling.NEAREST))
    pipeline = PicturePreprocessor([Resize(256, interpolation=f"pil.{method}"), CenterCrop(224)])
    kind = Image.Resampling[method.upper()]
    assert_near(pipeline.pixels(array), torchvision(array, 256, 224, kind), kind)


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (64, 64), (7, 90)])
@pytest.mark.parametrize("method", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_pil_methods(method: str, size: tuple[int, int]) -> None:
    array = picture(47, 35)
    found = PicturePreprocessor([Resize(size, interpolation=f"pil.{method}")]).pixels(array)
    expected = Image.fromarray(array).resize(size[::-1], Image.Resampling[method.upper()])
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("size", [(30, 20), (20, 30), (64, 64), (7, 90)])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize("method", ["nearest", "linear", "cubic", "area", "lanczos4"])
def test_opencv_methods(method: str, colour: str, size: tuple[int, int]) -> None:
    array = picture(47, 35)
    found = PicturePreprocessor(
        [Decode(colour=colour), Resize(size, interpolation=f"opencv.{method}")]
    ).pixels(array)
    if colour == "grey":
        source = np.asarray(Image.fromarray(array).convert("L"))
    else:
        source = array if colour == "rgb" else np.ascontiguousarray(array[:, :, ::-1])
    flag = getattr(cv2, f"INTER_{method.upper()}")
    expected = cv2.resize(source, size[::-1], interpolation=flag)
    np.testing.assert_array_equal(found, expected.reshape(found.shape))


@pytest.mark.parametrize("method", ["opencv.linear", "opencv.nearest", "opencv.area"])
def test_opencv_resize_then_crop(method: str) -> None:
    array = picture(101, 67)
    found = PicturePreprocessor([Resize(40, interpolation=method), CenterCrop(33)]).pixels(array)
    flag = getattr(cv2, f"INTER_{method.split('.')[1].upper()}")
    whole = cv2.resize(array, (int(40 * 101 / 67), 40), interpolation=flag)
    np.testing.assert_array_equal(found, np.asarray(torchvision_crop(Image.fromarray(whole), 33)))


@pytest.mark.parametrize(
    ("size", "rounding", "expected"),
    [
        ((100, 155), "floor", (10, 15)),
        ((100, 155), "nearest", (10, 16)),
        ((100, 145), "nearest", (10, 15)),
        ((155, 100), "nearest", (16, 10)),
        ((1000, 1), "floor", (10000, 10)),
    ],
)
def test_rounding_of_the_longer_edge(
    size: tuple[int, int], rounding: str, expected: tuple[int, int]
) -> None:
    assert Resize(10, rounding=rounding).target(*size) == expected


@pytest.mark.parametrize(
    ("spare", "half_even", "floor"),
    [
        (0, 0, 0),
        (1, 0, 0),
        (2, 1, 1),
        (3, 2, 1),
        (5, 2, 2),
        (7, 4, 3),
        (-1, 0, -1),
        (-2, -1, -1),
        (-5, -2, -3),
    ],
)
def test_rounding_of_the_margin(spare: int, half_even: int, floor: int) -> None:
    size = (10 + spare, 10 + spare)
    assert CenterCrop(10).corner(*size) == (half_even, half_even)
    assert CenterCrop(10, rounding="floor").corner(*size) == (floor, floor)


def test_crop_of_two_sizes_is_height_by_width() -> None:
    array = picture(30, 40)
    found = PicturePreprocessor([CenterCrop((8, 6))]).pixels(array)
    np.testing.assert_array_equal(found, array[16:24, 12:18])


def test_steps_may_repeat() -> None:
    array = picture(61, 45)
    steps = [CenterCrop(40), Resize(30), Resize(20, interpolation="pil.box"), CenterCrop(10)]
    image = Image.fromarray(array)
    image = torchvision_crop(image, 40)
    image = image.resize((30, 30), Image.Resampling.BILINEAR)
    image = torchvision_crop(image.resize((20, 20), Image.Resampling.BOX), 10)
    assert_near(
        PicturePreprocessor(steps).pixels(array), np.asarray(image), Image.Resampling.BILINEAR
    )


@pytest.mark.parametrize("order", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("mean", "std", "scale"),
    [
        (IMAGENET_MEAN, IMAGENET_STD, 1 / 255),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 1.0),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1 / 255),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1 / 127.5),
    ],
)
def test_normalize(mean: Any, std: Any, scale: float, order: str) -> None:
    array = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    pipeline = PicturePreprocessor(
        [Normalize(mean=mean, std=std, scale=scale), Layout(order=order)]
    )
    expected = (array.astype(np.float64) * scale - np.asarray(mean)) / np.asarray(std)
    expected = expected[None] if order == "nhwc" else expected.transpose(2, 0, 1)[None]
    found = pipeline(array)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.flags.owndata
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_bgr_numbers_belong_to_the_channels_decoded() -> None:
    array = picture(5, 4)
    mean, std = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)
    found = PicturePreprocessor([Decode(colour="bgr"), Normalize(mean=mean, std=std, scale=1.0)])(
        array
    )
    expected = (array[:, :, ::-1].astype(np.float64) - mean) / std
    np.testing.assert_allclose(found[0], expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize(("order", "shape"), [("nchw", (1, 3, 4, 5)), ("nhwc", (1, 4, 5, 3))])
def test_layout_without_normalize_keeps_the_pixels(order: str, shape: Any, dtype: str) -> None:
    array = picture(5, 4)
    found = PicturePreprocessor([Layout(order=order, dtype=dtype)])(array)
    assert found.dtype == dtype
    assert found.shape == shape
    np.testing.assert_array_equal(found[0], array if order == "nhwc" else array.transpose(2, 0, 1))


@pytest.mark.parametrize(("order", "shape"), [("nchw", (1, 1, 4, 5)), ("nhwc", (1, 4, 5, 1))])
def test_grey(order: str, shape: tuple[int, ...]) -> None:
    array = picture(5, 4)
    found = PicturePreprocessor(
        [Decode(colour="grey"), Normalize(mean=(0.5,), std=(0.25,)), Layout(order=order)]
    )(array)
    luma = np.asarray(Image.fromarray(array).convert("L")).astype(np.float64)
    assert found.shape == shape
    np.testing.assert_allclose(found.reshape(4, 5), (luma / 255 - 0.5) / 0.25, atol=1e-5)


def test_the_tensor_is_the_callers_own() -> None:
    pipeline = PicturePreprocessor([Layout(order="nhwc", dtype="uint8")])
    array = picture(5, 4)
    kept = array.copy()
    first = pipeline(array)
    first[...] = 0
    np.testing.assert_array_equal(array, kept)
    np.testing.assert_array_equal(pipeline(array)[0], kept)


def pictures_of_other_kinds() -> Iterator[tuple[str, Image.Image, str, dict[str, Any]]]:
    rgb = Image.fromarray(picture(23, 17))
    yield "jpeg", rgb, "JPEG", {}
    yield "progressive jpeg", rgb, "JPEG", {"progressive": True}
    yield "grey jpeg", rgb.convert("L"), "JPEG", {}
    yield "cmyk jpeg", rgb.convert("CMYK"), "JPEG", {}
    yield "png", rgb, "PNG", {}
    yield "bmp", rgb, "BMP", {}
    yield "tiff", rgb, "TIFF", {}
    yield "webp", rgb, "WEBP", {"lossless": True}
    alpha = rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))
    yield "rgba", alpha, "PNG", {}
    yield "grey with alpha", alpha.convert("LA"), "PNG", {}
    yield "palette", rgb.quantize(32), "PNG", {}
    yield "transparent palette", rgb.quantize(32), "PNG", {"transparency": bytes(range(32))}
    yield "one bit", rgb.convert("1"), "PNG", {}
    yield "gif", rgb.quantize(32), "GIF", {}
    deep = np.arange(23 * 17, dtype=np.uint16).reshape(17, 23) * 167
    yield "16 bit", Image.fromarray(deep), "PNG", {}
    yield "animation", rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(180)]}
    yield "pages", rgb, "TIFF", {"save_all": True, "append_images": [rgb.rotate(180)]}


OTHER_KINDS = {name: rest for name, *rest in pictures_of_other_kinds()}


@pytest.mark.parametrize("colour", ["rgb", "bgr", "grey"])
@pytest.mark.parametrize("name", OTHER_KINDS)
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_every_kind_of_picture(name: str, colour: str, tmp_path: Path) -> None:
    """As PIL converts it (but for 16 bits), from bytes, a path and a PIL image; no file stays open."""
    image, kind, options = OTHER_KINDS[name]
    data = encoded(image, kind, **options)
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(data)
    with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
        warnings.simplefilter("ignore")
        if (
            name == "16 bit"
        ):  # the upper half of each number, where PIL makes nearly all of it white
            opened = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))
        expected = np.asarray(opened.convert("L" if colour == "grey" else "RGB"))
    expected = expected.reshape(17, 23, -1)
    expected = expected[:, :, ::-1] if colour == "bgr" else expected
    pipeline = PicturePreprocessor([Decode(colour=colour)])
    for given_as in (data, bytearray(data), memoryview(data), path, str(path)):
        np.testing.assert_array_equal(pipeline.pixels(given_as), expected)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(pipeline.pixels(opened), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("declared", ["ignore", "exif"])
def test_orientation(orientation: int, declared: str) -> None:
    array = picture(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(array), "PNG", exif=exif)
    turned = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.transpose(1, 0, 2),
        6: np.rot90(array, -1),
        7: array.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(array),
    }[orientation]
    found = PicturePreprocessor([Decode(orientation=declared)]).pixels(data)
    np.testing.assert_array_equal(found, array if declared == "ignore" else turned)


class TestDraft:
    """Large JPEGs decoded at a fraction of their size, where that was asked for."""

    SMOOTH = np.asarray(Image.fromarray(picture(9, 7)).resize((900, 700), Image.Resampling.BICUBIC))

    def both(self, data: Any, *steps: Any) -> tuple[Array, Array]:
        exact, short = (
            PicturePreprocessor([Decode(draft=draft), *steps]) for draft in (False, True)
        )
        assert exact.as_in_training() is None
        return exact.pixels(data), short.pixels(data)

    def test_jpeg_is_nearly_the_same(self) -> None:
        data = encoded(Image.fromarray(self.SMOOTH), "JPEG", quality=95)
        exact, short = self.both(data, Resize(80), CenterCrop(64))
        assert short.shape == exact.shape
        difference = np.abs(short.astype(int) - exact.astype(int))
        assert 0 < difference.max() <= 12
        assert difference.mean() < 1

    @pytest.mark.parametrize("kind", ["PNG", "BMP"])
    def test_other_kinds_are_the_same(self, kind: str) -> None:
        exact, short = self.both(encoded(Image.fromarray(self.SMOOTH), kind), Resize(80))
        np.testing.assert_array_equal(exact, short)

    @pytest.mark.parametrize("steps", [[], [CenterCrop(64)], [Resize(690)]])
    def test_pixels_that_are_wanted_stay(self, steps: list[Any]) -> None:
        data = encoded(Image.fromarray(self.SMOOTH), "JPEG")
        exact, short = self.both(data, *steps)
        np.testing.assert_array_equal(exact, short)

    def test_as_in_training(self) -> None:
        data = encoded(Image.fromarray(self.SMOOTH), "JPEG")
        exact, _ = self.both(data, Resize(80))
        training = PicturePreprocessor([Decode(draft=True), Resize(80)]).as_in_training()
        assert training is not None
        np.testing.assert_array_equal(training.pixels(data), exact)

    def test_a_lent_picture_keeps_its_size(self) -> None:
        data = encoded(Image.fromarray(self.SMOOTH), "JPEG")
        with Image.open(io.BytesIO(data)) as lent:
            short = PicturePreprocessor([Decode(draft=True), Resize(80)]).pixels(lent)
            assert lent.size == (900, 700)
        np.testing.assert_array_equal(short, PicturePreprocessor([Resize(80)]).pixels(data))

    def test_cut_short(self) -> None:
        data = encoded(Image.fromarray(self.SMOOTH), "JPEG")
        with pytest.raises(DataError, match="cannot be decoded"):
            self.both(data[: len(data) // 2], Resize(80))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_pictures_are_read_after_a_fork() -> None:
    """Servers fork workers after loading; a child has none of its parent's threads."""
    code = """
import os, signal, warnings
import numpy as np
from modelport.runtime.transforms import imagenet, resampling
from modelport.runtime.transforms.picture import PicturePreprocessor
resampling.CORES = 2
warnings.simplefilter("ignore")
pipeline, picture = PicturePreprocessor(imagenet()), np.zeros((300, 400, 3), np.uint8)
pipeline(picture)
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(0 if pipeline(picture).shape == (1, 3, 224, 224) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == 0


@pytest.mark.parametrize("method", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"])
@pytest.mark.parametrize("cores", [1, 8])
def test_cores_change_no_more_than_rounding(
    method: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "CORES", cores)
    array = picture(333, 500)
    kind = Image.Resampling[method.upper()]
    whole = PicturePreprocessor([Resize((301, 257), interpolation=f"pil.{method}")]).pixels(array)
    assert_near(whole, np.asarray(Image.fromarray(array).resize((257, 301), kind)), kind)


def test_arrays_of_two_axes_are_grey() -> None:
    array = picture(6, 4, channels=1)
    found = PicturePreprocessor([]).pixels(array)
    np.testing.assert_array_equal(found, np.repeat(array[:, :, None], 3, axis=2))


def test_arrays_need_not_be_contiguous() -> None:
    array = picture(12, 8)[::2, ::-2]
    np.testing.assert_array_equal(PicturePreprocessor([]).pixels(array), array)


class TestUnusablePictures:
    """Each is a DataError that says what it was; none becomes a picture, and none leaks a file."""

    def fails(self, given: Any, *words: str) -> None:
        for colour in ("rgb", "grey"):
            with pytest.raises(DataError) as caught:
                PicturePreprocessor(
                    [Decode(colour=colour, orientation="exif"), *imagenet()[1:3]]
                ).pixels(given)
            for word in words:
                assert word in str(caught.value)
            with pytest.raises(DataError):
                PicturePreprocessor([Decode(colour=colour)]).pixels(given)

    def test_missing_file(self, tmp_path: Path) -> None:
        self.fails(tmp_path / "none.jpg", "There is no picture", "none.jpg")
        self.fails(str(tmp_path / "none.jpg"), "none.jpg", "Check the path")

    def test_folder(self, tmp_path: Path) -> None:
        self.fails(tmp_path, "There is no picture")

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
    @pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
    def test_cut_short(self, kind: str, part: float, tmp_path: Path) -> None:
        """PIL can fill what is missing with grey; a prediction on that is a wrong one."""
        data = encoded(Image.fromarray(picture(120, 90)), kind)
        cut = data[: int(len(data) * part)]
        path = tmp_path / "cut.img"
        path.write_bytes(cut)
        self.fails(path, "cut.img", "cannot be decoded")
        self.fails(cut, "The picture cannot be decoded")

    def test_text_that_is_named_a_picture(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.jpg"
        path.write_text("Not a picture at all.\n" * 50)
        self.fails(path, "notes.jpg", "cannot be decoded", "JPEG, PNG")

    @pytest.mark.parametrize(
        "data", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"II*\0"]
    )
    def test_hardly_any_bytes(self, data: bytes) -> None:
        self.fails(data, "The picture cannot be decoded")

    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((4, 5, 3), np.float32), ["float32", "[4, 5, 3]", "Predictor.infer"]),
            (np.zeros((4, 5, 4), np.uint8), ["uint8", "[4, 5, 4]"]),
            (np.zeros((1, 3, 4, 5), np.uint8), ["[1, 3, 4, 5]"]),
            (np.zeros((4, 5, 3), np.int64), ["int64"]),
            (np.zeros(4, np.uint8), ["[4]"]),
            (np.zeros((0, 5, 3), np.uint8), ["[0, 5, 3]"]),
            (np.zeros((4, 0), np.uint8), ["[4, 0]"]),
        ],
    )
    def test_arrays(self, array: Array, words: list[str]) -> None:
        self.fails(array, "is not a picture", "height x width x 3", *words)

    @pytest.mark.parametrize("given", [None, 3, 2.5, ["a.jpg"], {"a": 1}, object()])
    def test_other_objects(self, given: Any) -> None:
        self.fails(given, f"A {type(given).__name__} is not a picture")

    def test_decompression_bomb(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(encoded(Image.fromarray(picture(50, 40)), "PNG"))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
        self.fails(path, "bomb.png", "cannot be decoded")
        self.fails(path.read_bytes(), "decompression bomb")

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(
        kind=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM"]),
        flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1,
                       max_size=8),
        keep=st.floats(0.05, 1),
    )  # fmt: skip
    def test_damaged_bytes_never_raise_anything_else(
        self, kind: str, flips: list[tuple[float, int]], keep: float
    ) -> None:
        data = bytearray(encoded(Image.fromarray(picture(21, 16)), kind))
        for position, change in flips:
            data[int(position * min(len(data), 160))] ^= change
        damaged = bytes(data[: int(len(data) * keep)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for orientation in ("ignore", "exif"):
                try:
                    found = PicturePreprocessor([Decode(orientation=orientation)]).pixels(damaged)
                except DataError:
                    continue
                assert found.dtype == np.uint8
                assert found.shape[2] == 3


class TestWrongTransforms:
    @pytest.mark.parametrize(
        "transforms",
        [
            [Resize(8), Decode()],
            [Normalize(mean=(0,) * 3, std=(1,) * 3), Resize(8)],
            [Layout(), Normalize(mean=(0,) * 3, std=(1,) * 3)],
            [Layout(), CenterCrop(4)],
            [Decode(), Decode()],
            [Layout(), Layout()],
            [Normalize(mean=(0,) * 3, std=(1,) * 3)] * 2,
        ],
    )
    def test_order(self, transforms: list[Any]) -> None:
        with pytest.raises(UsageError) as caught:
            PicturePreprocessor(transforms)
        kinds = ", ".join(transform.kind for transform in transforms)
        assert f"The transforms are {kinds}" in str(caught.value)
        assert "decode, then resizes and crops" in str(caught.value)

    @pytest.mark.parametrize(
        ("means", "stds", "colour", "wanted"),
        [(1, 3, "rgb", 3), (3, 1, "rgb", 3), (1, 1, "bgr", 3), (3, 3, "grey", 1), (4, 4, "rgb", 3)],
    )
    def test_number_of_means(self, means: int, stds: int, colour: str, wanted: int) -> None:
        with pytest.raises(UsageError) as caught:
            PicturePreprocessor(
                [Decode(colour=colour), Normalize(mean=(0.5,) * means, std=(0.5,) * stds)]
            )
        assert f"{means} means and {stds} deviations" in str(caught.value)
        assert f"{wanted} of each for {colour} pictures" in str(caught.value)

    def test_normalized_numbers_do_not_fit_uint8(self) -> None:
        with pytest.raises(UsageError, match="uint8"):
            PicturePreprocessor([Normalize(mean=(0.5,) * 3, std=(0.5,) * 3), Layout(dtype="uint8")])

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"kind": "rotate", "angle": 90}, ["0", "rotate"]),
            ({"size": 8}, ["0", "kind"]),
            ({"kind": "resize", "size": 0}, ["resize", "size"]),
            ({"kind": "resize", "size": 8, "speed": 1}, ["speed"]),
            ({"kind": "resize", "size": 8, "interpolation": "bilinear"}, ["interpolation"]),
            ({"kind": "center_crop", "size": [4]}, ["size"]),
            ({"kind": "decode", "colour": "cmyk"}, ["colour"]),
            ({"kind": "layout", "order": "chw"}, ["order"]),
            ({"kind": "normalize", "mean": [0.5]}, ["std"]),
            ({"kind": "normalize", "mean": [0.5], "std": [0.0]}, ["std"]),
            ({"kind": "normalize", "mean": [0.5], "std": [float("inf")]}, ["std"]),
            ({"kind": "normalize", "mean": [float("nan")], "std": [1.0]}, ["mean"]),
            ({"kind": "normalize", "mean": [0.5], "std": [0.5], "scale": 0}, ["scale"]),
        ],
    )
    def test_parse(self, entry: dict[str, Any], words: list[str]) -> None:
        with pytest.raises(BundleFormatError, match="The transform at") as caught:
            parse([entry])
        for word in words:
            assert word in str(caught.value)


SIZE = st.one_of(st.integers(1, 4096), st.tuples(st.integers(1, 4096), st.integers(1, 4096)))
NUMBERS = st.floats(-500, 500).filter(lambda number: number != 0)
TRANSFORMS = st.one_of(
    st.builds(
        Decode,
        colour=st.sampled_from(["rgb", "bgr", "grey"]),
        orientation=st.sampled_from(["ignore", "exif"]),
    ),
    st.builds(
        Resize,
        SIZE,
        interpolation=st.sampled_from(
            ["pil.bilinear", "pil.box", "opencv.area", "opencv.lanczos4"]
        ),
        rounding=st.sampled_from(["floor", "nearest"]),
    ),
    st.builds(CenterCrop, SIZE, rounding=st.sampled_from(["half-even", "floor"])),
    st.builds(
        Normalize,
        mean=st.lists(NUMBERS, min_size=1, max_size=3).map(tuple),
        std=st.lists(st.floats(1e-3, 500), min_size=1, max_size=3).map(tuple),
        scale=st.floats(1e-4, 2),
    ),
    st.builds(
        Layout, order=st.sampled_from(["nchw", "nhwc"]), dtype=st.sampled_from(["float32", "uint8"])
    ),
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(transforms=st.lists(TRANSFORMS, max_size=6))
def test_dump_and_parse(transforms: list[Any]) -> None:
    assert parse(dump(transforms)) == transforms
    assert parse(json.loads(json.dumps(dump(transforms)))) == transforms


def test_imagenet_is_what_torchvision_documents() -> None:
    decode, resize, crop, normalize, layout = imagenet()
    assert (resize.size, resize.interpolation, crop.size) == (256, "pil.bilinear", 224)
    assert (normalize.mean, normalize.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (decode.colour, decode.orientation) == ("rgb", "ignore")
    assert (layout.order, layout.dtype) == ("nchw", "float32")
    assert PicturePreprocessor(imagenet())(picture(300, 200)).shape == (1, 3, 224, 224)


@pytest.mark.parametrize("rotated", [False, True])
def test_draft_is_never_smaller_than_the_resize_wants(tmp_path: Path, rotated: bool) -> None:
    """A draft of a picture on its side is measured upright, as the resize will see it."""
    image = Image.fromarray(picture(800, 480))
    exif = Image.Exif()
    exif[0x0112] = 6 if rotated else 1
    image.save(tmp_path / "a.jpg", exif=exif)
    resize = Resize((300, 90)) if rotated else Resize((90, 300))
    decode = Decode(draft=True, orientation="exif")
    drafted = decode(tmp_path / "a.jpg", resize.target)
    wanted = resize.target(*drafted.size)
    assert drafted.width >= wanted[0]
    assert drafted.height >= wanted[1]
    assert drafted.size == ((240, 400) if rotated else (400, 240))


def test_draft_leaves_pictures_that_are_no_larger_than_needed(tmp_path: Path) -> None:
    Image.fromarray(picture(300, 280)).save(tmp_path / "a.jpg")
    exact = PicturePreprocessor(imagenet()).pixels(tmp_path / "a.jpg")
    np.testing.assert_array_equal(
        PicturePreprocessor(imagenet(draft=True)).pixels(tmp_path / "a.jpg"), exact
    )


def test_pipeline_as_in_training_takes_no_draft(tmp_path: Path) -> None:
    Image.fromarray(picture(1024, 1024)).save(tmp_path / "a.jpg")
    short = PicturePreprocessor(imagenet(draft=True))
    exact = short.as_in_training()
    assert exact is not None
    assert PicturePreprocessor(imagenet()).as_in_training() is None
    want = PicturePreprocessor(imagenet()).pixels(tmp_path / "a.jpg")
    np.testing.assert_array_equal(exact.pixels(tmp_path / "a.jpg"), want)
    assert (short.pixels(tmp_path / "a.jpg") != want).any()
