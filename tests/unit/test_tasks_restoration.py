"""Pictures that come out of a model, depths, and vectors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity, interpolate, normalize

from modelport.errors import EngineError, FeedsError, UsageError
from modelport.runtime.placement import Placement, scaling, shifting
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.depth import Depth, shaded
from modelport.runtime.tasks.embedding import Embedding, similarities
from modelport.runtime.tasks.restoration import Restored

Array = np.ndarray[Any, Any]


def decode(task: str, given: Array, placement: Placement | None = None, **parameters: Any) -> Any:
    member = TASKS.get(task)
    context = Context(member.parameters(parameters), None, placement)
    return member.decode({"y": given}, context)


def pixels(height: int = 6, width: int = 9, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- restoration --------------------------------------------------------------------------------


@pytest.mark.parametrize("range_", [(0, 1), (-1, 1), (0, 255), (1, 0)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_pictures_come_back(range_: tuple[float, float], layout: str, colour: str) -> None:
    image = pixels()
    values = image.astype(np.float32) / 255 * (range_[1] - range_[0]) + range_[0]
    values = values[..., ::-1] if colour == "bgr" else values
    given = (values.transpose(2, 0, 1) if layout == "nchw" else values)[None]
    found = decode("restoration", given, range=range_, layout=layout, colour=colour)
    assert isinstance(found, Restored)
    np.testing.assert_array_equal(found.pixels, image)
    assert found.image.mode == "RGB"


def test_values_beyond_the_range_are_cut_off() -> None:
    found = decode("restoration", np.array([[[[-0.5, 0.25, 1.5]]]], np.float32))
    assert found.pixels.tolist() == [[0, 64, 255]]
    assert found.image.mode == "L"
    assert TASKS.get("restoration").draw(Image.new("RGB", (3, 1)), found).mode == "RGB"


def test_padding_around_the_picture_is_cut_off() -> None:
    """A picture of 5x4 lies at (2, 1) of the input, and the output has twice its pixels."""
    image = pixels(8, 10)
    whole = np.zeros((1, 3, 12, 16), np.float32)
    whole[0, :, 2:10, 4:14] = image.transpose(2, 0, 1) / 255
    placement = Placement((5, 4), (8, 6), shifting(2, 1))
    found = decode("restoration", whole, placement, scale=2)
    np.testing.assert_array_equal(found.pixels, image)
    assert found.to_json() == {"width": 10, "height": 8, "scale": 2.0}
    assert TASKS.get("restoration").describe(found) == "10x8 picture, 2 times as wide"


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(FeedsError, match=r"The output has 4 channels\. Expected one or three"):
        decode("restoration", np.zeros((1, 4, 8, 8)))
    with pytest.raises(EngineError, match="The output with a picture holds a NaN"):
        decode("restoration", np.full((1, 3, 8, 8), np.nan))
    with pytest.raises(UsageError, match="black and white are the same number"):
        decode("restoration", np.zeros((1, 3, 8, 8)), range=(1, 1))
    with pytest.raises(UsageError, match="an overlap of 4 cannot make up for 3 pixels"):
        decode("restoration", np.zeros((1, 3, 8, 8)), tiling={"overlap": 4, "discard": 3})


# --- depth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(1, 12, 16), (1, 1, 12, 16), (1, 12, 16, 1)])
def test_depths_are_resized_as_torch_does(method: str, shape: tuple[int, ...]) -> None:
    plane = np.random.default_rng(0).random((12, 16)).astype(np.float32)
    placement = Placement((50, 30), (64, 48), scaling((50, 30), (64, 48)))
    found = decode("depth", plane.reshape(shape), placement, resize=method, factor=2, shift=1)
    assert isinstance(found, Depth)
    expected = interpolate(torch.from_numpy(plane)[None, None], (30, 50), mode=method)[0, 0]
    np.testing.assert_allclose(found.map, expected.numpy() * 2 + 1, atol=1e-5)
    assert found.at(49.9, 29.9) == found.map[29, 49]


def test_depths_have_a_range_a_json_form_and_a_drawing() -> None:
    placement = Placement((6, 4), (4, 4), shifting(-1, 0))
    plane = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    found = decode("depth", plane, placement, kind="distance", unit="m", resize="nearest")
    assert np.isnan(found.map[:, [0, 5]]).all()
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert told == {
        "size": [4, 6], "kind": "distance", "unit": "m", "least": 0.0, "median": 7.5, "most": 15.0,
    }  # fmt: skip
    assert TASKS.get("depth").describe(found) == "distance 0 to 15 m"
    drawn = np.asarray(TASKS.get("depth").draw(Image.new("RGB", (6, 4)), found))
    assert drawn[:, 0].max() == 0
    brightness = drawn[:, 1:5].sum(-1).ravel()
    assert (np.diff(brightness.astype(int)) <= 0).all(), "near is bright"


def test_a_flat_map_can_be_drawn() -> None:
    assert shaded(np.full((3, 5), 2.0)).size == (5, 3)
    assert shaded(np.full((3, 5), np.nan)).getextrema() == ((0, 0),) * 3


# --- embedding ----------------------------------------------------------------------------------


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "parameters", "pool"),
    [
        ((1, 8), {}, lambda x: x[0]),
        ((1, 8, 1, 1), {}, lambda x: x[0, :, 0, 0]),
        ((1, 5, 8), {"pooling": "cls"}, lambda x: x[0, 0]),
        ((1, 5, 8), {"pooling": "mean"}, lambda x: x[0].mean(0)),
        ((1, 5, 8), {"pooling": "patches"}, lambda x: x[0, 1:].mean(0)),
        ((1, 8, 3, 4), {"pooling": "mean"}, lambda x: x[0].mean((1, 2))),
        ((1, 3, 4, 8), {"pooling": "mean", "layout": "nhwc"}, lambda x: x[0].mean((0, 1))),
    ],
)
def test_vectors_are_pooled_and_normalised(
    shape: tuple[int, ...], parameters: dict[str, Any], pool: Any
) -> None:
    given = noise(*shape)
    expected = torch.from_numpy(np.asarray(pool(given)))
    found = decode("embedding", given, **parameters)
    assert isinstance(found, Embedding)
    np.testing.assert_allclose(found.vector, normalize(expected, dim=0).numpy(), atol=1e-6)
    plain = decode("embedding", given, **parameters, normalise=False)
    np.testing.assert_allclose(plain.vector, expected.numpy(), atol=1e-6)


def test_similarity_is_the_cosine() -> None:
    some, other = (decode("embedding", noise(1, 16, seed=seed), normalise=False) for seed in (0, 1))
    expected = cosine_similarity(
        torch.from_numpy(some.vector), torch.from_numpy(other.vector), dim=0
    )
    assert some.similarity(other) == pytest.approx(float(expected), abs=1e-6)
    assert some.similarity(some) == pytest.approx(1)
    several = similarities(some, [some, other, np.zeros(16)])
    np.testing.assert_allclose(several, [1, float(expected), 0], atol=1e-6)
    assert similarities(some, []).shape == (0,)
    with pytest.raises(UsageError, match=r"Vectors have 16 and 3 numbers\. Expected those of one"):
        similarities(some, [np.zeros(3)])


def test_a_vector_without_a_length_stays() -> None:
    assert decode("embedding", np.zeros((1, 4))).vector.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("shape", "pooling"),
    [
        ((2, 8), "as_is"),
        ((1, 5, 8), "as_is"),
        ((1, 8), "cls"),
        ((1, 1, 8), "patches"),
        ((1, 0), "as_is"),
    ],
)
def test_outputs_that_are_no_vector_are_refused(shape: tuple[int, ...], pooling: str) -> None:
    with pytest.raises(
        FeedsError, match=rf"and the pooling is {pooling}\. Expected 1 x n for as_is"
    ):
        decode("embedding", np.zeros(shape), pooling=pooling)


def test_vectors_have_a_json_form() -> None:
    found = decode("embedding", np.array([[3.0, 4.0]]))
    assert json.loads(json.dumps(found.to_json()))["vector"] == pytest.approx([0.6, 0.8])
    assert TASKS.get("embedding").describe(found).startswith("2 numbers: 0.600, 0.800")
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    assert TASKS.get("embedding").draw(image, found).tobytes() == image.tobytes()
