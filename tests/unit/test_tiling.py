"""Large pictures in tiles: as if they had gone through the model whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from modelport.errors import FeedsError
from modelport.runtime.one_tile import OneTile, one_tile
from modelport.runtime.tasks import TASKS
from modelport.runtime.tiling import Span, Tiler, Tiling, tiler_of
from modelport.runtime.transforms import Decode, Layout, preprocessor
from modelport.types import Dim, TensorSpec

Array = np.ndarray[Any, Any]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]

RADIUS = 3
"""Of the receptive field of the net below."""


def spec(*shape: Any) -> TensorSpec:
    return TensorSpec("x", "float32", shape)


def net(scale: int = 1, seed: int = 0) -> Run:
    """Three padded convolutions, and as many pixels more on each side as `scale` says."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(6, 2 * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
    model = nn.Sequential(*layers).eval()

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            return {"y": model(torch.from_numpy(feeds["x"].copy())).numpy()}

    return run


def picture(height: int, width: int, seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((1, 3, height, width)).astype(np.float32)


sizes = st.integers(24, 70)


@settings(max_examples=12)
@given(
    height=sizes,
    width=sizes,
    scale=st.integers(1, 3),
    discard=st.integers(RADIUS, 5),
    extra=st.integers(0, 6),
    blend=st.sampled_from(["ramp", "mean"]),
)
def test_tiles_give_what_the_whole_gives(
    height: int, width: int, scale: int, discard: int, extra: int, blend: Any
) -> None:
    """To the border of the picture, where tiles have the same zeros beside them."""
    run = net(scale)
    tiling = Tiling(overlap=2 * discard + extra, discard=discard, blend=blend)
    tiler = Tiler(tiling, spec(1, 3, 24, 24))
    whole = picture(height, width)
    found = tiler.run(run, {"x": whole})["y"]
    expected = run({"x": whole})["y"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


def shrinking(scale: int = 1, stride: int = 1) -> Run:
    """Two convolutions without padding, which lack two pixels at each edge, after one that may stride."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 6, stride, stride=stride), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU()]
    layers += [nn.Conv2d(6, 2 * (scale * stride) ** 2, 3), nn.PixelShuffle(scale * stride)]
    model = nn.Sequential(*layers).eval()

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            return {"y": model(torch.from_numpy(feeds["x"].copy())).numpy()}

    return run


def mirrored(tensor: Array, margin: int, height: int = 0, width: int = 0) -> Array:
    """Around all edges, and by so many pixels more below and on the right."""
    edges = [(0, 0), (0, 0), (margin, margin + height), (margin, margin + width)]
    return np.pad(tensor, edges, mode="reflect")


@settings(max_examples=12)
@given(
    height=sizes, width=sizes, scale=st.integers(1, 3), overlap=st.integers(0, 6),
    free=st.booleans(), stride=st.sampled_from([1, 2]),
)  # fmt: skip
def test_networks_that_lack_a_margin(
    height: int, width: int, scale: int, overlap: int, free: bool, stride: int
) -> None:
    """Tiles need not overlap then: what each gives is that of the whole picture, mirrored at its edges."""
    margin = 2 * stride
    shape = (1, 3, Dim(), Dim()) if free else (1, 3, 24, 24)
    tiling = Tiling(size=24, overlap=overlap, discard=0, margin=margin, multiple=stride)
    run, whole = shrinking(scale, stride), picture(height, width)
    found = Tiler(tiling, spec(*shape)).run(run, {"x": whole})["y"]
    even = mirrored(whole, margin, height % stride, width % stride)
    expected = run({"x": even})["y"][..., : scale * height, : scale * width]
    assert found.shape == (1, 2, scale * height, scale * width)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("side", [(5, 9), (20, 20), (20, 21)])
def test_pictures_of_one_tile_have_a_margin_too(side: tuple[int, int]) -> None:
    """Those that a model of free sizes takes at once are fed as they are, and mirrored around that."""
    seen = []

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        seen.append(feeds["x"].shape[2:])
        return {"y": feeds["x"][..., 2:-2, 2:-2]}

    tiler = Tiler(Tiling(size=24, overlap=4, discard=0, margin=2), spec(1, 3, Dim(), Dim()))
    whole = picture(*side)
    assert tiler.cuts(whole)
    np.testing.assert_allclose(tiler.run(run, {"x": whole})["y"], whole, atol=1e-6)
    assert set(seen) == {(24, 24) if side == (20, 21) else (side[0] + 4, side[1] + 4)}
    middle = tiler.middle(whole)
    assert middle.shape[2:] == seen[0]
    np.testing.assert_array_equal(middle, mirrored(whole, 2)[..., : middle.shape[3]])


def test_a_margin_that_nobody_said_is_asked_for() -> None:
    tiler = Tiler(Tiling(overlap=4, discard=2), spec(1, 3, 16, 16))
    with pytest.raises(
        FeedsError, match=r"Set tiling\.margin to what the output lacks at each edge"
    ):
        tiler.run(lambda feeds: {"y": feeds["x"][..., 2:-2, 2:-2]}, {"x": picture(30, 30)})
    with pytest.raises(FeedsError, match="neighbours share 4 pixels inside a margin of 6"):
        Tiler(Tiling(overlap=4, discard=2, margin=6), spec(1, 3, 16, 16))


def test_too_little_overlap_shows() -> None:
    run, whole = net(), picture(60, 60)
    tiler = Tiler(Tiling(overlap=2, discard=1), spec(1, 3, 24, 24))
    found = tiler.run(run, {"x": whole})["y"]
    assert np.abs(found - run({"x": whole})["y"]).max() > 1e-3


def test_a_ramp_has_no_seam() -> None:
    """A model that adds something else to every tile: jumps become slopes."""
    steps = iter(range(100))

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": np.full_like(feeds["x"][:, :1], next(steps))}

    tiler = Tiler(Tiling(overlap=10, discard=1), spec(1, 3, 20, 20))
    found = tiler.run(run, {"x": picture(20, 30)})["y"][0, 0, 0]
    assert (found[0], found[-1]) == (0, 1)
    assert 0 < np.diff(found).max() < 0.13


@settings(max_examples=25)
@given(
    side=st.integers(8, 90),
    overlap=st.integers(0, 7),
    share=st.floats(0, 0.5),
    scale=st.integers(1, 4),
    blend=st.sampled_from(["ramp", "mean"]),
)
def test_shares_add_up_to_one(
    side: int, overlap: int, share: float, scale: int, blend: Any
) -> None:
    tiling = Tiling(overlap=overlap, discard=int(overlap * share), blend=blend)
    tiler = Tiler(tiling, spec(1, 3, 8, 8))
    span: Span = tiler._span(side, 8)
    total = np.zeros(side * scale)
    for start, shares in zip(span.starts, span.shares(tiling, scale), strict=True):
        assert shares.min() >= 0
        total[start * scale : (start + 8) * scale] += shares
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_a_smaller_picture_is_mirrored_up_to_a_tile() -> None:
    seen = []

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        seen.append(feeds["x"])
        return {"y": feeds["x"] * 2}

    tiler = Tiler(Tiling(overlap=4, discard=2), spec(1, 3, 16, 16))
    whole = picture(5, 16)
    found = tiler.run(run, {"x": whole})["y"]
    np.testing.assert_array_equal(found, whole * 2)
    assert [each.shape for each in seen] == [(1, 3, 16, 16)]
    np.testing.assert_array_equal(seen[0][:, :, 5], whole[:, :, 3])


@pytest.mark.parametrize("batch", [1, 4])
def test_tiles_go_through_in_batches(batch: int) -> None:
    sizes_seen = []

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        sizes_seen.append(len(feeds["x"]))
        return {"y": feeds["x"] + feeds["k"]}

    tiler = Tiler(Tiling(overlap=4, discard=2), spec(batch, 3, 16, 16))
    whole, k = picture(28, 40), np.ones((1, 1, 1, 1), np.float32)
    found = tiler.run(run, {"x": whole, "k": k}, batch)["y"]
    np.testing.assert_allclose(found, whole + 1, atol=1e-6)
    assert sizes_seen == ([1] * 6 if batch == 1 else [4, 4])  # the last is filled up


def test_tiles_begin_at_multiples() -> None:
    """A net with a stride gives the same only where its tiles begin at multiples of that."""
    torch.manual_seed(0)
    down = nn.Conv2d(3, 4, 3, padding=1, stride=4)
    model = nn.Sequential(down, nn.ReLU(), nn.Upsample(scale_factor=4, mode="nearest")).eval()

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        with torch.no_grad():
            return {"y": model(torch.from_numpy(feeds["x"].copy())).numpy()}

    whole = picture(52, 44)
    found = {
        multiple: Tiler(
            Tiling(overlap=9, discard=4, multiple=multiple), spec(1, 3, 24, 24)
        ).run(run, {"x": whole})["y"]
        for multiple in (1, 4)
    }  # fmt: skip
    expected = run({"x": whole})["y"]
    np.testing.assert_allclose(found[4], expected, atol=1e-6)
    assert np.abs(found[1] - expected).max() > 0.01


def test_channels_may_be_last() -> None:
    run, whole = net(2), picture(40, 50)

    def turned(feeds: Mapping[str, Array]) -> dict[str, Array]:
        found = run({"x": feeds["x"].transpose(0, 3, 1, 2)})["y"]
        return {"y": found.transpose(0, 2, 3, 1)}

    tiler = Tiler(Tiling(overlap=8, discard=3, layout="nhwc"), spec(1, 24, 24, 3))
    found = tiler.run(turned, {"x": whole.transpose(0, 2, 3, 1)})["y"]
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), run({"x": whole})["y"], atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "side", "cut"),
    [
        ((1, 3, 64, 64), (64, 64), False),
        ((1, 3, 64, 64), (64, 65), True),
        ((1, 3, 64, 64), (10, 64), True),
        ((1, 3, Dim("h"), Dim("w")), (10, 64), False),
        ((1, 3, Dim("h"), Dim("w")), (65, 64), True),
    ],
)
def test_what_fits_is_not_cut(shape: Any, side: tuple[int, int], cut: bool) -> None:
    free = isinstance(shape[2], Dim)
    tiler = Tiler(Tiling(size=64 if free else None), spec(*shape))
    assert tiler.cuts(picture(*side)) is cut


def test_what_cannot_be_tiled_is_said() -> None:
    with pytest.raises(FeedsError, match=r"Set the task's parameter tiling\.size"):
        Tiler(Tiling(), spec(1, 3, Dim("h"), Dim("w")))
    with pytest.raises(FeedsError, match="tiling says tiles of 32"):
        Tiler(Tiling(size=32), spec(1, 3, 64, 64))
    with pytest.raises(FeedsError, match="Expected an input with four axes"):
        Tiler(Tiling(), spec(1, 64))
    with pytest.raises(FeedsError, match="Tiles are 16x16, and neighbours share 32 pixels"):
        Tiler(Tiling(), spec(1, 3, 16, 16))
    with pytest.raises(ValidationError, match="an overlap of 8 cannot make up for 5 pixels"):
        Tiling(overlap=8, discard=5)


@pytest.mark.parametrize("shape", [(1, 7), (1, 2, 8, 8), (1, 2, 24, 30)])
def test_outputs_of_other_sizes_are_refused(shape: tuple[int, ...]) -> None:
    tiler = Tiler(Tiling(overlap=4, discard=2), spec(1, 3, 16, 16))
    with pytest.raises(FeedsError, match=r"The output 'y' has shape .* for a tile of 16x16"):
        tiler.run(lambda _: {"y": np.zeros(shape, np.float32)}, {"x": picture(30, 30)})


def test_a_task_says_whether_it_is_tiled() -> None:
    restoration = TASKS.get("restoration")
    inputs = [spec(1, 3, 64, 64)]
    assert tiler_of(restoration.parameters({}), inputs) is None
    assert tiler_of(TASKS.get("classification").parameters({}), inputs) is None
    tiler = tiler_of(restoration.parameters({"tiling": {"overlap": 8, "discard": 4}}), inputs)
    assert tiler is not None
    assert tiler.tile == (64, 64)


def test_data_for_the_engine_is_one_tile() -> None:
    parameters = TASKS.get("restoration").parameters({"tiling": {"overlap": 4, "discard": 2}})
    inner = preprocessor([Decode(draft=True), Layout()])
    assert one_tile(None, parameters, [spec(1, 3, 16, 16)]) is None
    cut = one_tile(inner, parameters, [spec(1, 3, 16, 16)])
    assert isinstance(cut, OneTile)
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    middle = image[7:23, 12:28].transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(cut(image), middle)
    exact = cut.as_in_training()
    assert exact is not None
    np.testing.assert_array_equal(exact(image), middle)
    assert cut(image[:16, :16]).shape == (1, 3, 16, 16)
    assert cut.unit == 1.0
