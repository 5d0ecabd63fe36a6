"""Transforms from pixels to the numbers and the layout that the model takes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from modelport.runtime.transforms.base import Stage, Transform
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
    """Order of the axes, with a batch axis of one; and the element type."""

    stage: ClassVar[Stage] = Stage.LAYOUT

    kind: Literal["layout"] = "layout"
    order: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"


def write_tensor(pixels: Array, normalize: Normalize | None, layout: Layout, out: Array) -> None:
    """Writes one picture into `out` without a copy between: scale and shift, channel by channel.

    Args:
        pixels: uint8, height x width x channels.
        out: one sample of the tensor: channels x height x width, or height x width x channels.
    """
    planes = out if layout.order == "nchw" else np.moveaxis(out, 2, 0)
    if normalize is None:
        planes[...] = np.moveaxis(pixels, 2, 0)
        return
    for channel, plane in enumerate(planes):
        std = normalize.std[channel]
        factor = np.float32(normalize.scale / std)
        shift = np.float32(-normalize.mean[channel] / std)
        np.multiply(pixels[:, :, channel], factor, out=plane, dtype=np.float32, casting="unsafe")
        plane += shift
