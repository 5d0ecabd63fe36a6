"""The report: what it says, that it stands alone, and that nothing in it can act."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from modelport.bundle.manifest import (
    DimEntry,
    FidelityEntry,
    LatencyEntry,
    Manifest,
    Provenance,
    SignatureEntry,
    TaskEntry,
    TensorEntry,
    VariantEntry,
)
from modelport.errors import BundleError, UsageError
from modelport.report import view, words
from modelport.report.data import ReportCase
from modelport.report.html import write_report

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> & $x$ {{ 7 * 7 }}"
JPEG = b"\xff\xd8\xff\xe0 not really a picture"
SPACE = "\u00a0"

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """Reads a page, checking that every element is closed where it should be."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.pieces: list[str] = []
        self.svg_pieces: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            (self.svg_pieces if "svg" in self.open else self.pieces).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    @property
    def svg_text(self) -> str:
        return " ".join(" ".join(self.svg_pieces).split())

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


def fidelity(loss: float | None = 0.0001, **changes: Any) -> FidelityEntry:
    given: dict[str, Any] = {
        "samples": 20,
        "cosine_mean": 0.99996,
        "cosine_min": 0.9999,
        "max_abs_error": 2.4e-6,
        "sqnr_db": 41.3,
        "top1_agreement": 0.95,
        "loss": loss,
        "loss_kind": "expected_top1",
        "passed": True,
    }
    return FidelityEntry(**{**given, **changes})


def latency(median: float) -> LatencyEntry:
    return LatencyEntry(
        median_ms=median, low_ms=0.95 * median, high_ms=1.1 * median, rounds=30, threads=2
    )


def variant(name: str, median: float | None, loss: float | None, **changes: Any) -> VariantEntry:
    given: dict[str, Any] = {
        "name": name,
        "engine": name.partition("-")[0],
        "precision": name.partition("-")[2],
        "size_bytes": 51_200_000,
        "fidelity": fidelity(loss),
        "latency": None if median is None else latency(median),
        "verdict": "accepted",
        "reason": f"why {name}",
    }
    return VariantEntry(**{**given, **changes})


def manifest(**changes: Any) -> Manifest:
    sizes = (DimEntry(minimum=1, maximum=16), 3, 224, 224)
    given: dict[str, Any] = {
        "name": "resnet50",
        "created": "2026-05-11T09:14:02Z",
        "licence": "BSD-3-Clause",
        "signature": SignatureEntry(
            inputs=(TensorEntry(name="image", dtype="float32", shape=sizes),),
            outputs=(TensorEntry(name="logits", dtype="float32", shape=(1, 1000)),),
        ),
        "transforms": ({"kind": "resize", "size": 256}, {"kind": "center_crop", "size": 224}),
        "task": TaskEntry(name="classification", parameters={"top": 5}),
        "default": "openvino-bf16",
        "variants": (
            variant("onnxruntime-fp32", 2.2, 0.0),
            variant("openvino-bf16", 1.0, 0.0001, verdict="chosen"),
            variant("openvino-int8", 0.92, 0.0128, verdict="rejected"),
            variant("openvino-int8-mixed", 0.94, 0.005),
        ),
        "provenance": provenance(),
    }
    return Manifest(**{**given, **changes})


def provenance(**changes: Any) -> Provenance:
    given: dict[str, Any] = {
        "source": "torchvision.models:resnet50",
        "weights_sha256": "ab" * 32,
        "opset": 21,
        "versions": {"openvino": "2026.1.0"},
        "machine": {"cpu": "Xeon 8481C"},
        "budget": 0.01,
        "calibration_samples": 100,
        "verification_samples": 20,
        "verification_data": "20 pictures from data/val",
        "held_out": True,
        "operators_before": {"Conv": 53, "BatchNormalization": 53},
        "operators_after": {"Conv": 53},
        "passes": (
            {
                "name": "fold_batchnorm",
                "summary": "Folds a batch normalisation into the convolution before it.",
                "changed": True,
                "refusals": [
                    {"where": "layer4.conv3", "reason": "another reader"},
                    {"where": "layer3.conv3", "reason": "another reader"},
                ],
                "removed_nodes": 53,
            },
            {"name": "fuse_gelu", "summary": "Fuses.", "rejected": "it changed the results"},
        ),
        "notes": ("Calibrated with seed 0.",),
    }
    return Provenance(**{**given, **changes})


def case(name: str = "a.jpg", **changes: Any) -> ReportCase:
    given: dict[str, Any] = {
        "picture": JPEG,
        "source": "tabby cat 0.87",
        "chosen": "tabby cat 0.86",
        "agrees": True,
        "golden": False,
    }
    return ReportCase(**{**given, "name": name, **changes})


def written(folder: Path, described: Manifest | None = None, *cases: ReportCase) -> str:
    path = folder / "report.html"
    write_report(described or manifest(), cases, path)
    assert [each.name for each in folder.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


def sentence(described: Manifest) -> str:
    return "".join(phrase.text for phrase in view.verdict(described).sentence).replace(SPACE, " ")


# The page


def test_page_is_well_formed_and_in_order(tmp_path: Path) -> None:
    page = Page(written(tmp_path, None, case(), case("b.jpg", picture=None, agrees=False)))
    order = ["verdict", "plot", "variants", "graph", "cases", "environment", "signature"]
    ids = page.values("id")
    assert [each for each in ids if each in order] == order
    assert len(ids) == len(set(ids))


def test_page_needs_no_other_file_and_no_script(tmp_path: Path) -> None:
    html = written(tmp_path, None, case())
    page = Page(html)
    for attribute in ("src", "href", "xlink:href", "srcset", "action", "data"):
        assert all(value.startswith(("data:", "#")) for value in page.values(attribute))
    assert "http:" not in html
    assert "https:" not in html
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_every_reference_within_the_drawings_leads_somewhere(tmp_path: Path) -> None:
    page = Page(written(tmp_path))
    targets = [value[1:] for value in page.values("href") if value.startswith("#")]
    targets += re.findall(r"url\(#([^)]+)\)", " ".join(page.values("clip-path")))
    assert targets
    assert set(targets) <= set(page.values("id"))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = manifest(
        name=HOSTILE,
        licence=HOSTILE,
        labels=(HOSTILE,),
        default=HOSTILE,
        variants=(
            variant("onnxruntime-fp32", 2.0, 0.0),
            variant(
                HOSTILE, 1.0, 0.02, verdict="chosen", reason=HOSTILE, options={HOSTILE: HOSTILE}
            ),
        ),
        transforms=({"kind": HOSTILE, HOSTILE: HOSTILE},),
        provenance=provenance(
            source=HOSTILE,
            verification_data=HOSTILE,
            operators_before={HOSTILE: 1},
            passes=(
                {
                    "name": HOSTILE,
                    "summary": HOSTILE,
                    "refusals": [{"where": HOSTILE, "reason": HOSTILE}],
                },
            ),
            machine={HOSTILE: HOSTILE},
            notes=(HOSTILE,),
        ),
    )
    page = Page(written(tmp_path, hostile, case(HOSTILE, source=HOSTILE, chosen=HOSTILE)))
    assert "script" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert('x')</script>") >= 14
    assert page.svg_text.count(HOSTILE) == 2
    assert "49" not in page.text


def test_a_picture_that_is_none_is_left_out(tmp_path: Path) -> None:
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    page = Page(written(tmp_path, None, case(picture=svg)))
    assert "img" not in page.tags
    assert "no picture" in page.text


def test_text_that_utf8_cannot_hold_is_written(tmp_path: Path) -> None:
    html = written(tmp_path, manifest(), case("caf\udce9.jpg"))
    assert "caf\\udce9.jpg" in html


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert written(first, None, case()) == written(second, None, case())


def test_user_settings_of_matplotlib_change_nothing(tmp_path: Path) -> None:
    import matplotlib

    plain = written(tmp_path)
    with matplotlib.rc_context({"font.size": 33, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert written(tmp_path) == plain
        assert matplotlib.rcParams["font.size"] == 33


def test_both_themes_and_the_printer_are_served(tmp_path: Path) -> None:
    html = written(tmp_path)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    # Every colour of the drawings is a variable of the page, or it would vanish on one theme.
    styles = " ".join(value for _, name, value in Page(html).attributes if name == "style")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", styles) == []


# What it says


def test_all_variants_with_their_reasons(tmp_path: Path) -> None:
    long = "because " * 60 + "of that"
    described = manifest(
        variants=(
            *manifest().variants,
            variant("tensorrt-fp16", None, None, verdict="rejected", reason=long, fidelity=None),
            variant("x-int8", 1, 0.1, fidelity=fidelity(0.1, reasons=("one sample is far off",))),
        )
    )
    text = Page(written(tmp_path, described)).text
    for each in described.variants:
        assert each.name in text
        assert each.reason in text
    assert "one sample is far off" in text
    assert "Not drawn, for want of a measurement: tensorrt-fp16." in text


def test_drawing_names_each_measured_variant(tmp_path: Path) -> None:
    page = Page(written(tmp_path))
    for each in manifest().variants:
        # One drawing for wide screens and one for narrow ones.
        assert len(re.findall(rf"{each.name}(?![\w-])", page.svg_text)) == 2
    assert f"budget 1{SPACE}%" in page.svg_text.replace(" %", f"{SPACE}%")


def test_labels_do_not_overlap() -> None:
    from modelport.report import plot

    crowd = [variant(f"engine{i}-int8", 1 + 0.01 * i, 0.004, verdict="accepted") for i in range(6)]
    for svg in plot.draw(crowd, 0.01).values():
        labels = re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>engine', svg)
        assert len(labels) == 6
        places = [(float(x), float(y)) for x, y in labels]
        for i, (x, y) in enumerate(places):
            for other_x, other_y in places[i + 1 :]:
                assert abs(x - other_x) > 50 or abs(y - other_y) > 9


@pytest.mark.parametrize(
    ("losses", "budget"),
    [([0.0], None), ([0.0, 1e-12], 0.0), ([-1e-9, 0.5], 0.01), ([1.0, 3.0], 1.0)],
)
def test_any_loss_can_be_drawn(losses: list[float], budget: float | None) -> None:
    from modelport.report import plot

    variants = [variant(f"v{i}-x", 10.0**i, loss) for i, loss in enumerate(losses)]
    drawings = plot.draw([*variants, variant("far-x", 900.0, 0.001)], budget)
    assert sorted(drawings) == ["narrow", "wide"]
    assert all("far-x" in svg and "nan" not in svg for svg in drawings.values())


def test_what_is_unknown_is_a_dash(tmp_path: Path) -> None:
    bare = Manifest(
        name="bare",
        created="",
        signature=SignatureEntry(inputs=(), outputs=()),
        task=TaskEntry(name="tensors"),
        default="onnxruntime-fp32",
        variants=(
            variant("onnxruntime-fp32", None, None, fidelity=None, size_bytes=0, reason=""),
            variant(
                "openvino-int8",
                1.0,
                None,
                fidelity=fidelity(
                    None,
                    cosine_mean=None,
                    cosine_min=None,
                    max_abs_error=None,
                    sqnr_db=None,
                    top1_agreement=None,
                ),
            ),
        ),
        provenance=Provenance(source="model.onnx"),
    )
    page = Page(written(tmp_path, bare, case("", picture=None, source="", chosen="")))
    assert "None" not in page.text
    assert "nan" not in page.text.split()
    assert "Licence —" in page.text
    assert "svg" not in page.tags
    row = page.text.partition("fp32 —")[2].partition("✓")[0]
    assert row.count("—") >= 6


def test_operators_and_passes(tmp_path: Path) -> None:
    text = Page(written(tmp_path)).text
    assert "BatchNormalization 53 0 \u221253" in text
    assert "Conv 53 53 =" in text
    assert "Total 106 53 \u221253" in text
    assert "53 nodes fewer" in text
    assert "2 places left alone, and why another reader: layer4.conv3, layer3.conv3" in text
    assert "fuse_gelu ✕ rolled back Fuses. it changed the results" in text


def test_disagreement_shows_without_colour_and_comes_first(tmp_path: Path) -> None:
    odd = case("odd.jpg", chosen="tiger 0.41", agrees=False, golden=True)
    text = Page(written(tmp_path, None, case("even.jpg"), odd)).text
    assert "1 of 2 give the same answer" in text
    assert "≠ differs golden source tabby cat 0.87 openvino-bf16 tiger 0.41 odd.jpg = same" in text


def test_environment_and_signature(tmp_path: Path) -> None:
    text = Page(written(tmp_path)).text
    for part in (
        "torchvision.models:resnet50",
        "ab" * 32,
        "opset 21",
        "cpu Xeon 8481C",
        "openvino 2026.1.0",
        "Calibrated with seed 0.",
        "image float32 · 1..16 × 3 × 224 × 224",
        "logits float32 · 1 × 1000",
        "resize size 256 center_crop size 224",
    ):
        assert part in text


# The verdict


def test_verdict_compares_with_onnxruntime() -> None:
    assert sentence(manifest()) == (
        "openvino-bf16 is 2.2x faster than the fp32 ONNX Runtime variant"
        " and loses 0.01 % (budget 1 %)"
    )
    assert view.verdict(manifest()).standing == "Within the budget"


@pytest.mark.parametrize(
    ("variants", "budget", "expected"),
    [
        (
            [variant("openvino-bf16", 1.0, 0.0001)],
            0.01,
            "openvino-bf16 takes 1.00 ms a call and loses 0.01 % (budget 1 %)",
        ),
        (
            [variant("onnxruntime-fp32", None, 0.0), variant("openvino-bf16", 1.0, 0.0)],
            None,
            "openvino-bf16 takes 1.00 ms a call and loses nothing",
        ),
        (
            [variant("onnxruntime-fp32", 1.0, 0.0), variant("openvino-bf16", 1.02, 0.002)],
            None,
            "openvino-bf16 is about as fast as the fp32 ONNX Runtime variant and loses 0.2 %",
        ),
        (
            [variant("onnxruntime-fp32", 1.0, 0.0), variant("openvino-bf16", 12.0, None)],
            0.01,
            "openvino-bf16 is 12x slower than the fp32 ONNX Runtime variant;"
            " its loss was not measured",
        ),
        (
            [variant("openvino-bf16", None, 0.002)],
            0.01,
            "openvino-bf16 loses 0.2 % (budget 1 %); its latency was not measured",
        ),
        (
            [variant("openvino-bf16", None, None)],
            0.01,
            "openvino-bf16 was chosen; neither its latency nor its loss was measured",
        ),
        ([variant("other-bf16", 1.0, 0.0)], 0.01, "No variant was chosen"),
    ],
)
def test_verdict_copes_with_what_is_missing(
    variants: list[VariantEntry], budget: float | None, expected: str
) -> None:
    described = manifest(variants=tuple(variants), provenance=provenance(budget=budget))
    assert sentence(described) == expected


def test_verdict_owns_up() -> None:
    far = variant("openvino-bf16", 2.1, 0.02, fidelity=fidelity(0.02, reasons=("too far",)))
    result = view.verdict(manifest(variants=(variant("onnxruntime-fp32", 2.3, 0.0), far)))
    assert (result.standing, result.good) == ("Over the budget", False)
    assert result.remarks[0] == "Too far."
    assert result.remarks[-1] == "The two ranges overlap, so part of the difference may be noise."


def test_calibration_data_among_the_verified_is_admitted(tmp_path: Path) -> None:
    text = Page(written(tmp_path, manifest(provenance=provenance(held_out=False)))).text
    assert "Held out no calibration used 100 samples, some of them verified here too" in text


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("expected_top1", "mean of how much probability the source gives its own answer over the"),
        ("cosine", "Loss is 1 - mean cosine similarity of the outputs."),
        ("other", "Loss is measured as other."),
    ],
)
def test_loss_is_explained(tmp_path: Path, kind: str, meaning: str) -> None:
    measured = fidelity(0.001, loss_kind=kind)
    described = manifest(variants=(variant("openvino-bf16", 1.0, 0.001, fidelity=measured),))
    assert meaning in Page(written(tmp_path, described)).text


# Numbers


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (None, "—"),
        (float("nan"), "—"),
        (0.0, "0 %"),
        (0.0001, "0.01 %"),
        (0.0128, "1.28 %"),
        (1e-6, "0.0001 %"),
        (1e-9, "< 0.0001 %"),
        (0.99996, "99.99 %"),
        (0.9997, "99.97 %"),
        (1.0, "100 %"),
        (-0.005, "\u22120.5 %"),
    ],
)
def test_percent(fraction: float | None, expected: str) -> None:
    assert words.percent(fraction).replace(SPACE, " ") == expected


def test_other_numbers() -> None:
    assert [words.milliseconds(each) for each in (None, 0.0123, 1.0, 12.34, 250.4)] == [
        "—",
        "0.012",
        "1.00",
        "12.3",
        "250",
    ]
    assert words.megabytes(0) == "—"
    assert words.megabytes(51_234_000) == "51.2"
    assert words.significant(2.4e-6) == "2.4e\u22126"
    assert words.decimal(float("inf"), 1) == "∞"
    assert words.count(1, "sample") == "1 sample"


# What can go wrong


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as caught:
        write_report(manifest(), [], tmp_path / "report.html")
    assert package in caught.value.seen
    assert 'pip install "modelport[report]"' in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_failure_to_write_leaves_the_old_page(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        write_report(manifest(), [], tmp_path / "missing" / "report.html")
    folder = tmp_path / "report.html"
    folder.mkdir()
    with pytest.raises(BundleError, match="cannot be written"):
        write_report(manifest(), [], folder)
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]
