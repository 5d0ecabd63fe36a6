"""The demo's own job: a real ImageNet MobileNetV2, real photos, real labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import modelport
from modelport.bundle.read import Bundle
from modelport.graph import io, provenance
from modelport.runtime.transforms import IMAGENET_MEAN, IMAGENET_STD
from modelport.verify.compare import compare
from support import ROOT

EXAMPLE = f"{ROOT / 'examples' / 'mobilenet_v2.py'}:build"
BUDGET = 0.01


@pytest.fixture(scope="module")
def photos(demo_data: Path) -> list[Path]:
    found = sorted((demo_data / "photos").glob("*.jpg"))
    assert len(found) == 20
    return found


@pytest.fixture(scope="module")
def bundle(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return modelport.deploy(
        EXAMPLE,
        output=tmp_path_factory.mktemp("mobilenet") / "bundle",
        weights=demo_data / "mobilenet_v2.pth",
        calibration=demo_data / "calibration",
        labels=demo_data / "labels.txt",
        licence="BSD-3-Clause",
        budget=BUDGET,
        threads=2,
    )


def prepared(photo: Path) -> np.ndarray:
    """What torchvision's evaluation transforms do, written out with PIL and numpy."""
    image = Image.open(photo).convert("RGB")
    width, height = image.size
    short = 256
    size = (
        (short, int(short * height / width))
        if width <= height
        else (int(short * width / height), short)
    )
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    image = image.crop((left, top, left + 224, top + 224))
    pixels = np.asarray(image).astype(np.float32) / 255
    normal = (pixels - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
    return normal.transpose(2, 0, 1)[None]


def right(predictor: modelport.Predictor, photos: list[Path]) -> int:
    wanted = [int(photo.stem.rsplit("_", 1)[1]) for photo in photos]
    found = [answer.index for answer in predictor(photos)]
    return sum(a == b for a, b in zip(wanted, found, strict=True))


def test_fp32_gets_eighteen_of_twenty(bundle: Bundle, photos: list[Path]) -> None:
    with modelport.load(bundle.path, variant="onnxruntime-fp32") as predictor:
        assert right(predictor, photos) == 18


def test_chosen_variant_stays_within_the_budget(bundle: Bundle, photos: list[Path]) -> None:
    chosen = bundle.manifest.variant()
    assert chosen.verdict == "chosen"
    assert chosen.fidelity is not None
    assert chosen.fidelity.passed
    assert chosen.fidelity.loss is not None
    assert chosen.fidelity.loss <= BUDGET
    with modelport.load(bundle.path) as predictor:
        assert predictor.variant == chosen
        assert right(predictor, photos) >= 17


def test_every_variant_is_judged(bundle: Bundle) -> None:
    for entry in bundle.manifest.variants:
        assert entry.reason
        if entry.fidelity is not None and entry.fidelity.loss is not None:
            within = entry.fidelity.passed and entry.fidelity.loss <= BUDGET
            assert within is (entry.verdict != "rejected"), entry.name


def test_transforms_are_those_of_training(bundle: Bundle, photos: list[Path]) -> None:
    with modelport.load(bundle.path) as predictor:
        assert predictor.preprocessor is not None
        for photo in photos:
            made, want = predictor.preprocessor(photo), prepared(photo)
            assert made.shape == want.shape
            levels = np.abs(made - want) * np.float32(IMAGENET_STD)[:, None, None] * 255
            assert levels.max() <= 1.001, photo.name


def test_verify_proves_the_bundle(bundle: Bundle) -> None:
    check = modelport.verify(bundle.path, threads=2)
    assert check.passed, check.problems
    assert check.grey_levels is not None
    assert check.grey_levels <= 1.0


def test_graph_comes_out_clean(bundle: Bundle) -> None:
    made = bundle.manifest.provenance
    assert made.operators_before["BatchNormalization"] == 52
    assert set(made.operators_after) <= {
        "Conv", "Clip", "Add", "ReduceMean", "Gemm", "GlobalAveragePool", "Flatten", "Reshape",
    }  # fmt: skip
    assert made.operators_after["Conv"] == 52
    assert made.operators_after["Clip"] == 35
    assert made.cost["parameters"] == pytest.approx(3.49e6, rel=0.01)
    assert made.cost["multiply_adds"] == pytest.approx(300e6, rel=0.01)


def test_every_node_knows_its_module(bundle: Bundle) -> None:
    entry = bundle.manifest.variant("onnxruntime-fp32")
    graph = io.load(bundle.path / entry.files["model"]).graph
    for node in graph:
        assert provenance.MODULE in node.metadata_props, node.name
    assert "features.0.0" in {provenance.module_of(node) for node in graph}


def test_channels_in_the_wrong_order_are_found(bundle: Bundle, photos: list[Path]) -> None:
    """BGR where RGB was meant is not the same model, by the tolerance of any precision."""
    with modelport.load(bundle.path, variant="onnxruntime-fp32") as predictor:
        tensors = [prepared(photo) for photo in photos]
        name = bundle.signature.inputs[0].name
        want = [predictor.session.run({name: each}) for each in tensors]
        swapped = [np.ascontiguousarray(each[:, ::-1]) for each in tensors]
        got = [predictor.session.run({name: each}) for each in swapped]
        for precision in ("fp32", "bf16", "int8"):
            assert not compare(want, got, bundle.signature, precision, classes=True).passed


def test_outputs_are_those_of_pytorch(bundle: Bundle, demo_data: Path, photos: list[Path]) -> None:
    from modelport.frontends.reference import call_reference

    module = call_reference(EXAMPLE).model
    module.load_state_dict(torch.load(demo_data / "mobilenet_v2.pth", weights_only=True))
    module.eval()
    name = bundle.signature.inputs[0].name
    with (
        modelport.load(bundle.path, variant="onnxruntime-fp32") as predictor,
        torch.inference_mode(),
    ):
        for photo in photos[:4]:
            tensor = prepared(photo)
            want = module(torch.from_numpy(tensor)).numpy()
            got = predictor.session.run({name: tensor})["logits"]
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_bundle_records_what_it_was_made_of(bundle: Bundle, demo_data: Path) -> None:
    labels = (demo_data / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert bundle.manifest.labels == tuple(labels)
    assert len(labels) == 1000
    assert bundle.manifest.licence == "BSD-3-Clause"
    assert bundle.manifest.provenance.weights == "mobilenet_v2.pth"
    assert (bundle.path / "report.html").is_file()
