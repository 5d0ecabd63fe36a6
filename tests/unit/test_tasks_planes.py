"""Planes of an output come back to the pixels of the picture as PyTorch resizes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from modelport.runtime.decoding.planes import Grid, Method, gathered, resized_to, strongest
from modelport.runtime.placement import Placement, scaling, shifting

Array = np.ndarray[Any, Any]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_torch(planes: Array, size: tuple[int, int], mode: str, corners: bool = False) -> Array:
    aligned = {} if mode.startswith("nearest") else {"align_corners": corners}
    return interpolate(torch.from_numpy(planes)[None], size, mode=mode, **aligned)[0].numpy()


def stretched(picture: tuple[int, int], tensor: tuple[int, int]) -> Placement:
    """A picture of that width and height, resized to the tensor."""
    return Placement(picture, tensor, scaling(picture, tensor))


SIZES = [((40, 30), (64, 64)), ((97, 61), (31, 47)), ((5, 7), (64, 32)), ((64, 64), (64, 64))]


@pytest.mark.parametrize(("picture", "tensor"), SIZES)
@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("bilinear", "bilinear"), ("bicubic", "bicubic"), ("nearest", "nearest-exact")],
)
def test_a_resize_is_that_of_torch(
    picture: tuple[int, int], tensor: tuple[int, int], stride: int, ours: Method, theirs: str
) -> None:
    planes = noise(3, tensor[1] // stride, tensor[0] // stride)
    found = Grid(stretched(picture, tensor), planes.shape[1:]).resized(planes, ours)
    np.testing.assert_allclose(found, by_torch(planes, picture[::-1], theirs), atol=2e-5)


@pytest.mark.parametrize(("picture", "tensor"), SIZES)
def test_aligned_corners_are_those_of_torch(
    picture: tuple[int, int], tensor: tuple[int, int]
) -> None:
    planes = noise(2, tensor[1] // 4, tensor[0] // 4)
    grid = Grid(stretched(picture, tensor), planes.shape[1:], align_corners=True)
    expected = by_torch(planes, picture[::-1], "bilinear", corners=True)
    np.testing.assert_allclose(grid.resized(planes), expected, atol=2e-5)


def test_padding_is_cut_off_before_the_resize() -> None:
    """A letterbox: the picture is 40x20 in the middle of a tensor of 48x32."""
    placement = Placement((100, 50), (48, 32), shifting(4, 6) @ scaling((100, 50), (40, 20)))
    planes = noise(2, 32, 48)
    grid = Grid(placement, (32, 48))
    expected = by_torch(planes[:, 6:26, 4:44].copy(), (50, 100), "bilinear")
    np.testing.assert_allclose(grid.resized(planes), expected, atol=2e-5)
    assert grid.seen() is None


def test_what_a_crop_left_out_is_not_seen() -> None:
    placement = Placement((10, 8), (6, 4), shifting(-2, -3))
    planes = noise(1, 4, 6)
    grid = Grid(placement, (4, 6))
    seen = grid.seen()
    assert seen is not None
    inside = np.zeros((8, 10), bool)
    inside[3:7, 2:8] = True
    np.testing.assert_array_equal(seen, inside)
    np.testing.assert_allclose(grid.resized(planes)[0][inside].reshape(4, 6), planes[0])


def test_a_turned_picture_is_turned_back() -> None:
    """A quarter turn: x and y of the tensor are y and 4 - x of the picture."""
    matrix = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 4.0], [0.0, 0.0, 1.0]])
    grid = Grid(Placement((4, 6), (6, 4), matrix), (4, 6))
    plane = noise(1, 4, 6)
    expected = np.rot90(plane[0], -1)
    np.testing.assert_allclose(grid.resized(plane)[0], expected, atol=1e-5)
    np.testing.assert_allclose(grid.nearest(plane[0]), expected)
    np.testing.assert_array_equal(strongest(np.concatenate([plane, -plane]), grid), expected < 0)
    assert grid.seen() is None


def test_bands_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    planes = noise(3, 9, 9)
    whole = resized_to(planes, (50, 40))
    monkeypatch.setattr("modelport.runtime.decoding.planes._AT_ONCE", 500)
    np.testing.assert_array_equal(resized_to(planes, (50, 40)), whole)
    assert len(list(Grid(stretched((40, 50), (9, 9)), (9, 9)).bands(planes))) == 13


sides = st.integers(1, 24)


@settings(max_examples=25)
@given(
    classes=st.integers(1, 6),
    cells=st.tuples(sides, sides),
    picture=st.tuples(sides, sides),
    seed=st.integers(0, 99),
    smooth=st.booleans(),
)
def test_the_strongest_is_found_without_resizing_everything(
    classes: int, cells: tuple[int, int], picture: tuple[int, int], seed: int, smooth: bool
) -> None:
    coarse = noise(classes, 3, 3, seed=seed)
    planes = resized_to(coarse, cells) if smooth else noise(classes, *cells, seed=seed)
    grid = Grid(stretched(picture, cells[::-1]), cells)
    values = by_torch(planes, picture[::-1], "bilinear")
    found = strongest(planes, grid)
    chosen = np.take_along_axis(values, found[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, values.max(0), atol=1e-4)
    clear = classes == 1 or np.subtract(*np.sort(values, 0)[-1:-3:-1]) > 1e-4
    np.testing.assert_array_equal(found[clear], values.argmax(0)[clear])


def test_the_nearest_cell_decides_where_labels_are_resized() -> None:
    planes = noise(4, 8, 8)
    grid = Grid(stretched((20, 12), (8, 8)), (8, 8))
    expected = by_torch(planes.argmax(0)[None].astype(np.float32), (12, 20), "nearest-exact")[0]
    np.testing.assert_array_equal(strongest(planes, grid, resize_first=False), expected)


@settings(max_examples=15)
@given(y=st.floats(0, 4, width=32), x=st.floats(0, 5, width=32))
def test_cubic_and_linear_mixtures_keep_constants(y: float, x: float) -> None:
    planes = np.full((1, 5, 6), 3.0, np.float32)
    for method in ("nearest", "bilinear", "bicubic"):
        found = gathered(planes, np.array([y]), np.array([x]), method)  # type: ignore[arg-type]
        assert found[0, 0] == pytest.approx(3, rel=1e-5)
