"""Real OCR: PaddleOCR's models find, turn and read the lines of a picture, as rapidocr does with them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

import modelport
from modelport import transforms
from modelport.errors import SourceError
from modelport.frontends.metadata import labels_in
from modelport.runtime.pipeline import Chained, Crops, Pipeline, Stage, Turn
from weights import unpacked

Array = np.ndarray[Any, Any]
PACKAGE = "pypi:rapidocr-onnxruntime==1.4.4"
PAPER = (250, 248, 240)

# What rapidocr-onnxruntime 1.4.4 says of `page()`: text, corners in whole pixels, score of the text; and in
# the end the score of the line, of its detector.
SAID = [
    ("Deploy once, run anywhere", [50, 36, 588, 38, 588, 82, 50, 80], 0.999, 0.776),
    ("The quick brown fox", [70, 136, 422, 136, 422, 176, 70, 176], 0.981, 0.798),
    ("jumps over 13 lazy dogs", [506, 138, 877, 136, 877, 174, 506, 176], 0.983, 0.794),
    ("going upwards", [885, 202, 924, 202, 928, 458, 889, 458], 0.995, 0.719),
    ("Total: 4,815.16 EUR", [70, 227, 388, 227, 388, 259, 70, 259], 0.969, 0.833),
    ("and down by nine", [575, 245, 867, 292, 860, 330, 569, 282], 0.956, 0.790),
    ("turned by twelve degrees", [88, 401, 499, 319, 507, 356, 96, 439], 0.991, 0.757),
    ("this side is upside down", [431, 546, 839, 550, 839, 588, 430, 584], 0.993, 0.778),
]


def page() -> Image.Image:
    """Eight lines, of which two are slanted, one is upside down and one goes upwards."""
    image = Image.new("RGB", (960, 640), PAPER)
    for text, place, size, turn, ink in (
        ("Deploy once, run anywhere", (40, 30), 44, 0, (15, 15, 25)),
        ("The quick brown fox", (60, 130), 38, 0, (150, 20, 20)),
        ("jumps over 13 lazy dogs", (500, 132), 34, 0, (20, 20, 150)),
        ("Total: 4,815.16 EUR", (60, 220), 36, 0, (15, 15, 25)),
        ("turned by twelve degrees", (80, 310), 36, 12, (15, 15, 25)),
        ("and down by nine", (560, 240), 36, -9, (15, 15, 25)),
        ("this side is upside down", (420, 540), 38, 180, (15, 15, 25)),
        ("going upwards", (880, 200), 36, 90, (15, 15, 25)),
    ):
        font = ImageFont.load_default(size=size)
        left, top, right, bottom = (round(side) for side in font.getbbox(text))
        strip = Image.new("RGBA", (right - left + 16, bottom - top + 16))
        ImageDraw.Draw(strip).text((8 - left, 8 - top), text, fill=ink, font=font)
        turned = strip.rotate(turn, expand=True, resample=Image.Resampling.BICUBIC)
        image.paste(turned, place, turned)
    return image


@pytest.fixture(scope="module")
def package() -> Path:
    return unpacked(PACKAGE)


@pytest.fixture(scope="module")
def bundles(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three models with what the package's config.yaml and code say of them."""
    models, folder = package / "rapidocr_onnxruntime" / "models", tmp_path_factory.mktemp("ocr")
    reader = models / "ch_PP-OCRv4_rec_infer.onnx"
    half = transforms.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    bgr, layout = transforms.Decode(colour="bgr"), transforms.Layout()
    least = transforms.Resize(
        736, only="enlarge", by="factor", divisor=32, interpolation="opencv.linear"
    )
    sources = {
        "finder": modelport.Source(
            models / "ch_PP-OCRv4_det_infer.onnx",
            task="text_detection",
            parameters={
                "thresh": 0.3, "box_thresh": 0.5, "unclip_ratio": 1.6, "dilate": True,
            },
            transforms=[bgr, least, half, layout],
        ),
        "turner": modelport.Source(
            models / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            task="classification",
            parameters={"scores": "probabilities"},
            labels=["0", "180"],
            transforms=[bgr, transforms.TextLine(48, width=192), half, layout],
        ),
        "reader": modelport.Source(
            reader,
            task="text_recognition",
            labels=labels_in(reader, before=[""], after=[" "]),
            transforms=[bgr, transforms.TextLine(48, width=320, grow=True), half, layout],
        ),
    }  # fmt: skip
    for name, source in sources.items():
        modelport.deploy(
            source, output=folder / name, engines=["onnxruntime"], precisions=["fp32"], threads=1,
            report=False, licence="Apache-2.0",
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def ocr(bundles: Path) -> Iterator[Pipeline]:
    turn = Turn("turned", degrees={"180": 180}, min_score=0.9)
    stages = [
        Stage("lines", bundles / "finder"),
        Stage("turned", bundles / "turner", Crops("lines", cut="quad")),
        Stage("text", bundles / "reader", Crops("lines", cut="quad", turn=turn)),
    ]
    with Pipeline(stages, threads=1, name="ocr") as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def found(ocr: Pipeline) -> Chained:
    return ocr(page())


def test_what_was_written_is_read_back_exactly(found: Chained) -> None:
    assert [part["text"].text for part in found.each("lines")] == [text for text, *_ in SAID]
    assert all(part["text"].score > 0.95 for part in found.each("lines"))


def test_boxes_and_scores_are_those_of_rapidocr(found: Chained) -> None:
    for part, (_, corners, read, seen) in zip(found.each("lines"), SAID, strict=True):
        # It cuts corners to whole pixels of the map, 736/640 of the picture's, and these to whole ones.
        np.testing.assert_allclose(np.reshape(corners, (4, 2)), part.thing.quad, atol=2.5)
        assert part.thing.score == pytest.approx(seen, abs=0.005)
        assert part["text"].score == pytest.approx(read, abs=0.03)


def test_what_stands_on_its_head_is_turned(found: Chained) -> None:
    turned = [part["turned"].label for part in found.each("lines")]
    assert turned == ["180" if text in (SAID[3][0], SAID[7][0]) else "0" for text, *_ in SAID]


def test_characters_come_from_the_file_itself(package: Path) -> None:
    models = package / "rapidocr_onnxruntime" / "models"
    labels = labels_in(models / "ch_PP-OCRv4_rec_infer.onnx", before=[""], after=[" "])
    assert (len(labels), labels[0], labels[1], labels[-1]) == (6625, "", "'", " ")
    with pytest.raises(SourceError) as caught:
        labels_in(models / "ch_PP-OCRv4_det_infer.onnx")
    assert str(caught.value).endswith(
        "has no entry 'character' in its metadata. Expected metadata, and the file has none."
    )


def test_tensors_are_those_that_rapidocr_makes(ocr: Pipeline) -> None:
    """Its preprocessing, written once more from its description."""
    cv2 = pytest.importorskip("cv2")
    finder, turner, reader = (step.predictor for step in ocr.steps)
    whole = np.asarray(page())[:, :, ::-1]
    high, wide = (round(int(side * 736 / 640) / 32) * 32 for side in whole.shape[:2])
    expected = (cv2.resize(whole, (wide, high)).astype(np.float32) / 255 - 0.5) / 0.5
    tensor = finder.prepare(page()).first
    np.testing.assert_allclose(tensor, expected.transpose(2, 0, 1)[None], atol=1e-6)
    for size in ((500, 40), (100, 44), (97, 61), (640, 48), (323, 48)):
        line = page().resize(size)
        for predictor, least, grows in ((turner, 192, False), (reader, 320, True)):
            tensor = predictor.prepare(line).first
            expected = rapid_line(np.asarray(line)[:, :, ::-1], least, grows)
            assert tensor.shape == expected.shape
            np.testing.assert_allclose(tensor, expected, atol=1e-6)


def rapid_line(pixels: Array, least: int, grows: bool) -> Array:
    import cv2

    high, wide = pixels.shape[:2]
    width = int(48 * max(least / 48, wide / high)) if grows else least
    resized = min(math.ceil(48 * wide / high), width)
    scaled = (cv2.resize(pixels, (resized, 48)).astype(np.float32) / 255 - 0.5) / 0.5
    tensor = np.zeros((1, 3, 48, width), np.float32)
    tensor[0, :, :, :resized] = scaled.transpose(2, 0, 1)
    return tensor


def test_rapidocr_itself_says_the_same(package: Path, found: Chained, ocr: Pipeline) -> None:
    """On this page and on another one, live: skipped where its requirements are not installed."""
    for name in ("cv2", "pyclipper", "shapely", "six", "yaml"):
        pytest.importorskip(name, reason=f"rapidocr needs {name}, which is not installed")
    sys.path.insert(0, str(package))
    try:
        from rapidocr_onnxruntime import RapidOCR  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(package))
    engine = RapidOCR()
    for image, chained in ((page(), found), (receipt(), ocr(receipt()))):
        said, _ = engine(image)
        parts = list(chained.each("lines"))
        assert len(said) == len(parts)
        for corners, text, score in said:
            gaps = [np.abs(np.array(part.thing.quad) - corners).max() for part in parts]
            part = parts[int(np.argmin(gaps))]
            assert min(gaps) < 2.5
            assert part["text"].text == text
            assert part["text"].score == pytest.approx(float(score), abs=0.03)


RECEIPT = ["Corner Bakery", "2 croissants", "1 espresso", "Sum", "5.40", "2.10", "7.50"]


def receipt() -> Image.Image:
    image = Image.new("RGB", (420, 380), (255, 255, 255))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=34)
    places = [(90, 20), (20, 110), (20, 180), (20, 270), (320, 110), (320, 180), (320, 270)]
    for text, place in zip(RECEIPT, places, strict=True):
        pen.text(place, text, fill=(10, 10, 10), font=font)
    return image


def test_another_page_is_read_in_rows(ocr: Pipeline) -> None:
    texts = [part["text"].text for part in ocr(receipt()).each("lines")]
    assert texts == ["Corner Bakery", "2 croissants", "5.40", "1 espresso", "2.10", "Sum", "7.50"]


def test_several_pages_together_say_what_each_says_alone(ocr: Pipeline, found: Chained) -> None:
    blank = Image.new("RGB", (200, 200), PAPER)
    first, second, third = ocr([page(), blank, receipt()])
    for one, other in zip(found.each("lines"), first.each("lines"), strict=True):
        assert one.thing.quad == other.thing.quad
        assert one["text"].text == other["text"].text
        assert one["text"].score == pytest.approx(other["text"].score, abs=1e-4)
    assert list(second.each("lines")) == []
    assert sorted(part["text"].text for part in third.each("lines")) == sorted(RECEIPT)


def test_the_chain_is_one_file(ocr: Pipeline, found: Chained, tmp_path: Path) -> None:
    path = ocr.save(tmp_path / "ocr.zip")
    with modelport.load(path, threads=1) as opened:
        again = opened(page())
        assert again == found
        assert opened.describe(again).startswith("8 lines of text: 0 ")
        drawn = opened.draw(page(), again)
    assert drawn.tobytes() != page().tobytes()
    assert [row["text.text"] for row in again.rows()] == [text for text, *_ in SAID]


def test_each_stage_is_timed(found: Chained) -> None:
    assert list(found.timing_ms) == ["decode", "lines", "turned", "text"]
    assert all(one >= 0 for one in found.timing_ms.values())


def test_lines_come_in_the_order_they_are_read(found: Chained) -> None:
    tops = [part.thing.quad[0][1] for part in found.each("lines")]
    assert all(after > before - 20 for before, after in pairwise(tops))
