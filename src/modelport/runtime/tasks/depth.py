"""How far every pixel is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from modelport.runtime.decoding.planes import Grid
from modelport.runtime.decoding.reading import not_nan, of_shape, output_named
from modelport.runtime.tasks.base import Context, Parameters, Result, Task
from modelport.runtime.tiling import Tiling
from modelport.types import Array, Outputs

_STOPS = (
    (24, 12, 60),
    (110, 30, 110),
    (190, 55, 85),
    (240, 120, 40),
    (250, 200, 60),
    (252, 252, 200),
)
"""Colours from far to near: each brighter than the one before, so that grey print shows the order."""

_TAILS = (2, 98)
"""Percentiles that the colours are stretched to: a few wild pixels may not darken the rest."""


@dataclass(frozen=True, eq=False)
class Depth(Result):
    """A depth for every pixel of the picture.

    Attributes:
        map: float32, height x width of the picture; NaN where the model did not see it.
        kind: `distance` (larger is farther) or `inverse` (larger is nearer).
        unit: what a distance of 1 is; None where it has no scale.
    """

    map: Array
    kind: str
    unit: str | None

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest value."""
        return float(np.nanmin(self.map)), float(np.nanmax(self.map))

    def at(self, x: float, y: float) -> float:
        """The value of the pixel that this place is in."""
        return float(self.map[int(y), int(x)])

    def to_json(self) -> dict[str, Any]:
        least, most = self.range
        median = float(np.nanmedian(self.map))
        size = list(self.map.shape)
        return {
            "size": size, "kind": self.kind, "unit": self.unit,
            "least": least, "median": median, "most": most,
        }  # fmt: skip


class DepthParameters(Parameters):
    """Attributes:
    output: name of the output; by default the first. 1 x height x width, an axis of one channel
        allowed.
    kind: `distance`, or `inverse` as the relative models (MiDaS, DPT, Depth Anything) give.
    factor, shift: the map holds `value * factor + shift`.
    unit: of a distance, such as `m`; None where it has no scale.
    resize: to the size of the picture: `bilinear`, `bicubic` (as transformers) or `nearest`.
    align_corners: of that resize, as in PyTorch.
    tiling: how a picture that is larger than the input is cut; see `Tiling`. Only for models whose
        numbers mean the same in every tile.
    """

    output: str | None = None
    kind: Literal["distance", "inverse"] = "inverse"
    factor: float = 1.0
    shift: float = 0.0
    unit: str | None = None
    resize: Literal["bilinear", "bicubic", "nearest"] = "bicubic"
    align_corners: bool = False
    tiling: Tiling | None = None


class DepthTask(Task[DepthParameters, Depth]):
    name: ClassVar[str] = "depth"
    summary: ClassVar[str] = "how far every pixel is"
    Parameters: ClassVar[type[Parameters]] = DepthParameters

    def decode(self, outputs: Outputs, context: Context[DepthParameters]) -> Depth:
        wanted = context.parameters
        plane = not_nan(output_named(outputs, wanted.output), "depths")
        while plane.ndim > 2 and 1 in (plane.shape[0], plane.shape[-1]):
            plane = plane[0] if plane.shape[0] == 1 else plane[..., 0]
        planes = of_shape(plane[None], ("1", "height", "width"), "depths")
        grid = Grid(context.placement, planes.shape[1:], align_corners=wanted.align_corners)
        found = grid.resized(planes, wanted.resize)[0]
        found = found * np.float32(wanted.factor) + np.float32(wanted.shift)
        seen = grid.seen()
        if seen is not None:
            found[~seen] = np.nan
        return Depth(found, wanted.kind, wanted.unit)

    def draw(self, image: Image.Image, result: Depth) -> Image.Image:
        drawn = shaded(result.map if result.kind == "inverse" else -result.map)
        return drawn if drawn.size == image.size else drawn.resize(image.size)

    def describe(self, result: Depth) -> str:
        least, most = result.range
        unit = f" {result.unit}" if result.unit else ""
        return f"{result.kind} {least:.3g} to {most:.3g}{unit}"


def shaded(values: Array) -> Image.Image:
    """A picture of the values: dark where they are small, bright where they are large, black for NaN."""
    known = np.isfinite(values)
    low, high = np.percentile(values[known], _TAILS) if known.any() else (0.0, 1.0)
    share = np.clip((np.nan_to_num(values) - low) / max(float(high - low), 1e-12), 0, 1)
    stops = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(share, stops, levels) * known for levels in np.transpose(_STOPS)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))
