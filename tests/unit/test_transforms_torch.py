"""Our resizes beside torch's own, which torchvision uses for tensors and its detectors for everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from modelport.runtime.transforms import CenterCrop, Resize
from modelport.runtime.transforms.picture import PicturePreprocessor

Array = np.ndarray[Any, Any]
SIZES = [
    ((320, 213), (224, 150)),
    ((97, 143), (64, 64)),
    ((64, 48), (150, 199)),
    ((301, 301), (40, 77)),
]


def slopes(width: int, height: int) -> Array:
    """What photos are made of: slopes with a little noise, for bicubic filters ring at hard edges."""
    generator = np.random.default_rng(width)
    small = Image.fromarray(generator.integers(20, 236, (7, 8, 3)).astype(np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return (smooth + generator.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8)


def torchs(array: Array, size: tuple[int, int], mode: str, **options: Any) -> Array:
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float()
    found = interpolate(tensor, size=size[::-1], mode=mode, **options)
    return found.clip(0, 255)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialias_is_pil(mode: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    array = slopes(*before)
    found = PicturePreprocessor([Resize(after[::-1], interpolation=f"pil.{mode}")]).pixels(array)
    expected = torchs(array, after, mode, antialias=True, align_corners=False)
    # PIL rounds to whole levels after each of its two passes, and torch here not at all
    assert np.abs(found - expected).max() <= (1.0 if mode == "bilinear" else 1.1)


@pytest.mark.parametrize(("before", "after"), SIZES)
@pytest.mark.parametrize(("mode", "ours"), [("bilinear", "linear"), ("bicubic", "cubic")])
def test_without_antialias_is_opencv(
    mode: str, ours: str, before: tuple[int, int], after: tuple[int, int]
) -> None:
    array = slopes(*before)
    found = PicturePreprocessor([Resize(after[::-1], interpolation=f"opencv.{ours}")]).pixels(array)
    assert np.abs(found - torchs(array, after, mode, align_corners=False)).max() <= 1.01


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_areas_are_torchs(before: tuple[int, int], after: tuple[int, int]) -> None:
    array = slopes(*before)
    resize = Resize(after[::-1], interpolation="torch.area")
    expected = torchs(array, after, "area")
    found = PicturePreprocessor([resize]).pixels(array)
    assert found.shape == (*after[::-1], 3)
    assert np.abs(found - expected).max() <= 0.5 + 1e-4, "rounded once"
    part = [resize, CenterCrop(31)]
    left, top = round((after[0] - 31) / 2), round((after[1] - 31) / 2)
    np.testing.assert_array_equal(
        PicturePreprocessor(part).pixels(array), found[top : top + 31, left : left + 31]
    )
    grey = Image.fromarray(array[:, :, 0])
    np.testing.assert_array_equal(np.asarray(resize.apply(grey)), found[:, :, 0])


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_nearest(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Torch's `nearest-exact` looks at the middle of a pixel as PIL does, `nearest` at its corner."""
    array = slopes(*before)

    def ours(method: str) -> Array:
        return PicturePreprocessor([Resize(after[::-1], interpolation=method)]).pixels(array)

    def alike(found: Array, expected: Array, middle: int) -> None:
        """But where a place is exactly at the edge of a pixel, and the last bit of a float decides."""
        whole = [
            (2 * np.arange(after[axis]) + middle) * before[axis] % (2 * after[axis]) == 0
            for axis in (1, 0)
        ]
        differ = (found != expected).any(2)
        assert not differ[~whole[0]][:, ~whole[1]].any()

    exact = torchs(array, after, "nearest-exact")
    alike(ours("pil.nearest"), exact, 1)
    alike(ours("opencv.nearest_exact"), exact, 1)
    alike(ours("opencv.nearest"), torchs(array, after, "nearest"), 0)
