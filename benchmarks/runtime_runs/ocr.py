"""PaddleOCR's detector, classifier and reader, chained, on rendered pages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from harness import BUILD, THREADS

from runtime_runs.case import Case, Contender, Missing
from runtime_runs.ours import Ours
from runtime_runs.packages import unpacked

WORDS = (
    "Deploy once, run anywhere",
    "The quick brown fox",
    "jumps over 13 lazy dogs",
    "Total: 4,815.16 EUR",
    "Invoice 2026-11-22",
    "Thank you for your order",
)
PAGES = 12


def package() -> Path:
    """The unpacked package that brings the models."""
    return unpacked("pypi:rapidocr-onnxruntime==1.4.4") / "rapidocr_onnxruntime"


def pages() -> list[Path]:
    """Pages with all lines, in another order and at other places on each."""
    from PIL import Image, ImageDraw, ImageFont

    folder = BUILD / "pages"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(PAGES):
        image = Image.new("RGB", (960, 640), (250, 248, 240))
        pen = ImageDraw.Draw(image)
        for line, words in enumerate((WORDS * 3)[number : number + len(WORDS)]):
            font = ImageFont.load_default(size=30 + 2 * line)
            pen.text((40 + 50 * line, 40 + 95 * line), words, (20, 20, 30), font=font)
        image.save(folder / f"page_{number}.png")
    return sorted(folder.glob("*.png"))


class Chain(Ours):
    """The pipeline, its three bundles deployed with one engine."""

    @classmethod
    def bundle(cls) -> Path:
        target = BUILD / "ocr"
        if not target.exists():
            _deploy(target)
        return target

    def plain(self, result: Any) -> Any:
        return [part["text"].text for part in result.each("lines")]


def _deploy(target: Path) -> None:
    import modelport
    from modelport import transforms
    from modelport.frontends.metadata import labels_in
    from modelport.runtime.pipeline import Crops, Pipeline, Stage, Turn

    models = package() / "models"
    half = transforms.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3)
    bgr, layout = transforms.Decode(colour="bgr"), transforms.Layout()
    least = transforms.Resize(
        736, only="enlarge", by="factor", divisor=32, interpolation="opencv.linear"
    )
    reader = models / "ch_PP-OCRv4_rec_infer.onnx"
    sources = {
        "lines": modelport.Source(
            models / "ch_PP-OCRv4_det_infer.onnx",
            task="text_detection",
            parameters={"thresh": 0.3, "box_thresh": 0.5, "unclip_ratio": 1.6, "dilate": True},
            transforms=[bgr, least, half, layout],
        ),
        "turned": modelport.Source(
            models / "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            task="classification",
            parameters={"scores": "probabilities"},
            labels=["0", "180"],
            transforms=[bgr, transforms.TextLine(48, width=192), half, layout],
        ),
        "text": modelport.Source(
            reader,
            task="text_recognition",
            labels=labels_in(reader, before=[""], after=[" "]),
            transforms=[bgr, transforms.TextLine(48, width=320, grow=True), half, layout],
        ),
    }
    for name, source in sources.items():
        modelport.deploy(
            source, output=target.with_name(f"ocr_{name}"), engines=["onnxruntime"],
            precisions=["fp32"], threads=THREADS, report=False, overwrite=True,
        )  # fmt: skip
    turn = Turn("turned", degrees={"180": 180}, min_score=0.9)
    stages = [
        Stage("lines", target.with_name("ocr_lines")),
        Stage("turned", target.with_name("ocr_turned"), Crops("lines", cut="quad")),
        Stage("text", target.with_name("ocr_text"), Crops("lines", cut="quad", turn=turn)),
    ]
    with Pipeline(stages, threads=THREADS, name="ocr") as pipeline:
        pipeline.save(target)


class Original(Contender):
    """rapidocr-onnxruntime itself, which is also what people write by hand: OpenCV and ONNX Runtime."""

    def __init__(self) -> None:
        needed = ("pypi:pyclipper==1.4.0", "pypi:shapely==2.2.0")
        sys.path[:0] = [str(package().parent), *(str(unpacked(each)) for each in needed)]
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise Missing(f"rapidocr-onnxruntime 1.4.4 does not run here: {error}") from error
        self.read = RapidOCR(intra_op_num_threads=THREADS)

    def __call__(self, path: Path) -> Any:
        return self.read(str(path))[0]

    def plain(self, result: Any) -> Any:
        return [text for _, text, _ in result]


def differ(ours: Any, theirs: Any) -> str | None:
    if len(ours) != len(theirs):
        return f"{len(ours)} lines against {len(theirs)}"
    pairs = zip(ours, theirs, strict=True)
    return ", ".join(f"{a!r} against {b!r}" for a, b in pairs if a != b) or None


CASE = Case(
    "ocr",
    "PP-OCRv4, three models, from a PNG of six lines to their text",
    pages,
    {"modelport pipeline": Chain, "rapidocr-onnxruntime": Original},
    differ,
    ("Its own library is a script of OpenCV and ONNX Runtime, so both comparisons are one.",),
)
