"""Compiles a list of transforms into one function from a picture to a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from modelport.errors import UsageError
from modelport.runtime.transforms import CenterCrop, Decode, Layout, Normalize, Resize, Transform
from modelport.runtime.transforms.geometry import cropped, resample, resample_crop
from modelport.runtime.transforms.image import to_array
from modelport.runtime.transforms.tensor import write_tensor
from modelport.types import Array

_ORDER = ("decode", "resize", "center_crop", "normalize", "layout")


@dataclass
class Stopwatch:
    """Milliseconds by stage, in the order the stages ran."""

    stages_ms: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=perf_counter)

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.stages_ms[stage] = self.stages_ms.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now


class Pipeline:
    """Decode, then any resizes and crops, then normalise and lay out.

    Raises:
        UsageError: where the transforms cannot be meant in the order they are given.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        _check_order(transforms)
        self.decode = next((t for t in transforms if isinstance(t, Decode)), Decode())
        self.normalize = next((t for t in transforms if isinstance(t, Normalize)), None)
        self.layout = next((t for t in transforms if isinstance(t, Layout)), Layout())
        self._geometry = [t for t in transforms if isinstance(t, (Resize, CenterCrop))]
        channels = 1 if self.decode.colour == "grey" else 3
        if self.normalize and not len(self.normalize.mean) == len(self.normalize.std) == channels:
            raise UsageError(
                f"Normalize has {len(self.normalize.mean)} means and {len(self.normalize.std)} "
                f"deviations",
                expected=f"{channels} of each for {self.decode.colour} pictures",
            )
        if self.normalize and self.layout.dtype != "float32":
            raise UsageError(
                f"Normalize gives fractions, and Layout wants {self.layout.dtype}",
                expected="float32, or no Normalize",
            )
        self._channels = channels

    def __call__(self, picture: Any, watch: Stopwatch | None = None) -> Array:
        """The tensor of one picture, with a batch axis of one. The caller owns it."""
        watch = watch or Stopwatch()
        image = self._decoded(picture)
        watch.lap("decode")
        pixels = to_array(self.place(image), self.decode.colour)
        watch.lap("resize")
        out = np.empty(self._shape(pixels.shape), self.layout.dtype)
        write_tensor(pixels, self.normalize, self.layout, out[0])
        watch.lap("normalize")
        return out

    def as_in_training(self) -> Pipeline | None:
        """The pipeline without its short cuts, or None where it takes none."""
        if not self.decode.draft:
            return None
        exact = copy(self)
        exact.decode = self.decode.model_copy(update={"draft": False})
        return exact

    @property
    def grey_level(self) -> float:
        """The least that one step of 0..255 changes any channel of the tensor."""
        if self.normalize is None:
            return 1.0
        return min(self.normalize.scale / std for std in self.normalize.std)

    def pixels(self, picture: Any) -> Array:
        """The pixels that are normalised: uint8, height x width x channels."""
        return to_array(self.place(self._decoded(picture)), self.decode.colour)

    def _decoded(self, picture: Any) -> Image.Image:
        first = self._geometry[0] if self._geometry else None
        return self.decode(picture, first.target if isinstance(first, Resize) else None)

    def place(self, image: Image.Image) -> Image.Image:
        """Applies the resizes and crops, a resize together with the crop after it."""
        steps = list(self._geometry)
        while steps:
            step = steps.pop(0)
            if isinstance(step, CenterCrop):
                image = cropped(image, step)
            elif steps and isinstance(steps[0], CenterCrop):
                image = resample_crop(image, step, steps.pop(0))  # type: ignore[arg-type]
            else:
                image = resample(image, step.interpolation, step.target(*image.size))
        return image

    def _shape(self, pixels: tuple[int, ...]) -> tuple[int, ...]:
        height, width = pixels[:2]
        if self.layout.order == "nchw":
            return (1, self._channels, height, width)
        return (1, height, width, self._channels)


def _check_order(transforms: Sequence[Transform]) -> None:
    kinds = [transform.kind for transform in transforms]
    ranks = [_ORDER.index("resize" if kind == "center_crop" else kind) for kind in kinds]
    repeated = [kind for kind in ("decode", "normalize", "layout") if kinds.count(kind) > 1]
    if ranks != sorted(ranks) or repeated:
        raise UsageError(
            f"The transforms are {', '.join(kinds)}",
            expected="decode, then resizes and crops, then normalize, then layout",
        )
