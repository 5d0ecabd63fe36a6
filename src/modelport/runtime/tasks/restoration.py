"""A better picture: larger, without noise, in colour."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import FiniteFloat, PositiveInt, model_validator

from modelport.errors import FeedsError
from modelport.runtime.decoding.reading import TENSORS, not_nan, output_named, planes_of
from modelport.runtime.placement import Placement
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.tiling import Tiling
from modelport.types import Array, Outputs


@dataclass(frozen=True, eq=False)
class Restored(Result):
    """The picture that the model made.

    Attributes:
        pixels: uint8, height x width x 3 in RGB order, or height x width of a grey one.
        scale: its width in those of the picture that went in.
    """

    pixels: Array
    scale: float

    @cached_property
    def image(self) -> Image.Image:
        return Image.fromarray(self.pixels)

    def to_json(self) -> dict[str, Any]:
        height, width = self.pixels.shape[:2]
        return {"width": width, "height": height, "scale": self.scale}


class RestorationParameters(Parameters):
    """Attributes:
    output: name of the output; by default the first. One or three channels.
    layout: of it: `nchw` or `nhwc`.
    range: what black and white are in it.
    colour: order of its three channels.
    scale: how many pixels the output has on each side for one of the input.
    tiling: how a picture that is larger than the input is cut; see `Tiling`.
    """

    output: str | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"
    range: tuple[FiniteFloat, FiniteFloat] = (0.0, 1.0)
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: PositiveInt = 1
    tiling: Tiling | None = None

    @model_validator(mode="after")
    def _has_range(self) -> RestorationParameters:
        if self.range[0] == self.range[1]:
            raise ValueError("black and white are the same number in range")
        return self


class RestorationTask(Task[RestorationParameters, Restored]):
    name: ClassVar[str] = "restoration"
    summary: ClassVar[str] = "a better picture: larger, without noise, in colour"
    Parameters: ClassVar[type[Parameters]] = RestorationParameters

    def decode(self, outputs: Outputs, context: Context[RestorationParameters]) -> Restored:
        wanted = context.parameters
        planes = planes_of(output_named(outputs, wanted.output), wanted.layout, "a picture")
        if len(planes) not in (1, 3):
            raise FeedsError(
                f"The output has {len(planes)} channels", expected="one or three", hint=TENSORS
            )
        planes = _unpadded(not_nan(planes, "a picture"), context.placement, wanted.scale)
        black, white = wanted.range
        levels = (planes.astype(np.float32) - black) * (255 / (white - black))
        pixels = np.moveaxis(np.rint(levels).clip(0, 255).astype(np.uint8), 0, -1)
        if len(planes) == 1:
            pixels = pixels[..., 0]
        elif wanted.colour == "bgr":
            pixels = pixels[..., ::-1]
        came = context.placement.picture[0] if context.placement else pixels.shape[1] / wanted.scale
        return Restored(np.ascontiguousarray(pixels), pixels.shape[1] / came)

    def draw(self, image: Image.Image, result: Restored) -> Image.Image:
        """The new picture, at its own size."""
        return result.image.convert("RGB")

    def describe(self, result: Restored) -> str:
        height, width = result.pixels.shape[:2]
        return f"{width}x{height} picture, {result.scale:g} times as wide"


def _unpadded(planes: Array, placement: Placement | None, scale: int) -> Array:
    """Without what a letterbox or padding put around the picture."""
    if placement is None:
        return planes
    width, height = placement.picture
    corners = placement.points_to_tensor(np.array([[0, 0], [width, height]]))
    limits = np.array(placement.tensor)
    (left, top), (right, bottom) = np.rint(corners.clip(0, limits)).astype(int) * scale
    return planes[:, top:bottom, left:right]
