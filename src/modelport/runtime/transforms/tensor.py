"""Transforms from pixels to the numbers and the layout that the model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from modelport.runtime.transforms.base import Stage, Transform
from modelport.runtime.transforms.resampling import Window
from modelport.types import Array


class Normalize(Transform):
    """`(pixel * scale - mean) / std` for each channel, in the order of the channels decoded.

    Attributes:
        scale: 1/255 brings pixels to 0..1 first, as torchvision and timm do; OpenMMLab's numbers are
            for 0..255 and want 1.
    """

    stage: ClassVar[Stage] = Stage.NUMBERS

    kind: Literal["normalize"] = "normalize"
    mean: tuple[FiniteFloat, ...]
    std: tuple[Annotated[FiniteFloat, Field(gt=0)], ...]
    scale: FiniteFloat = Field(default=1 / 255, gt=0)


class Layout(Transform):
    """Order of the axes, with a batch axis of one; and the element type.

    Numbers of `float16` are computed as float32 and then rounded.
    """

    stage: ClassVar[Stage] = Stage.LAYOUT

    kind: Literal["layout"] = "layout"
    order: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "float16", "uint8"] = "float32"


class TensorWriter:
    """Writes pixels into one sample of a tensor without a copy between.

    Args:
        normalize: scale and shift, channel by channel.
        out: channels x height x width, or height x width x channels, as the layout says.
    """

    def __init__(self, normalize: Normalize | None, layout: Layout, out: Array) -> None:
        self._normalize = normalize
        self._planes = out if layout.order == "nchw" else np.moveaxis(out, 2, 0)

    def pixels(self, pixels: Array, window: Window) -> None:
        """uint8 pixels of height x width x channels to their window (left, top, right, bottom)."""
        left, top, right, bottom = window
        planes = self._planes[:, top:bottom, left:right]
        if self._normalize is None:
            planes[...] = np.moveaxis(pixels, 2, 0)
            return
        for channel, plane in enumerate(planes):
            factor, shift = self._factors(channel)
            exact = plane if plane.dtype == np.float32 else np.empty(plane.shape, np.float32)
            exact[...] = pixels[
                :, :, channel
            ]  # as fast as to convert and multiply in one go, or faster
            exact *= factor
            exact += shift
            if exact is not plane:
                plane[...] = exact

    def around(self, window: Window, levels: Sequence[float]) -> None:
        """One grey level for each channel, outside the window."""
        left, top, right, bottom = window
        for channel, plane in enumerate(self._planes):
            number = self._number(channel, levels[channel])
            if left >= right or top >= bottom:
                plane[...] = number
                continue
            plane[:top] = plane[bottom:] = number
            plane[top:bottom, :left] = plane[top:bottom, right:] = number

    def _number(self, channel: int, level: float) -> float | np.float32:
        if self._normalize is None:
            return level if self._planes.dtype.kind == "f" else round(level)
        factor, shift = self._factors(channel)
        return np.float32(level) * factor + shift

    def _factors(self, channel: int) -> tuple[np.float32, np.float32]:
        given = self._normalize or Normalize(mean=(0.0,), std=(1.0,), scale=1.0)
        std = given.std[channel]
        return np.float32(given.scale / std), np.float32(-given.mean[channel] / std)


def write_tensor(pixels: Array, normalize: Normalize | None, layout: Layout, out: Array) -> None:
    """Writes one whole picture (uint8, height x width x channels) into a sample of a tensor."""
    height, width = pixels.shape[:2]
    TensorWriter(normalize, layout, out).pixels(pixels, (0, 0, width, height))
