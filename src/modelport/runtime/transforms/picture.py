"""From a picture to a tensor, in as few passes over memory as the transforms allow."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, cast

import numpy as np
from PIL import Image

from modelport.errors import UsageError
from modelport.runtime.placement import Placement, Sides, scaling
from modelport.runtime.transforms.base import (
    FIRST,
    Prepared,
    Preprocessor,
    Spatial,
    Stopwatch,
    Transform,
)
from modelport.runtime.transforms.geometry import CenterCrop, Resize, resample_crop
from modelport.runtime.transforms.image import Decode, to_array
from modelport.runtime.transforms.tensor import Layout, Normalize, write_tensor
from modelport.types import Array


class PicturePreprocessor(Preprocessor):
    """Decode, then any resizes and crops, then normalise and lay out.

    Raises:
        UsageError: where the transforms cannot be meant in the order they are given.
    """

    medium: ClassVar[str] = "picture"

    def __init__(self, transforms: Sequence[Transform]) -> None:
        super().__init__(transforms)
        self.decode = next((t for t in transforms if isinstance(t, Decode)), Decode())
        self.normalize = next((t for t in transforms if isinstance(t, Normalize)), None)
        self.layout = next((t for t in transforms if isinstance(t, Layout)), Layout())
        self._spatial = [t for t in transforms if isinstance(t, Spatial)]
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

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """The tensor of one picture: a path, bytes, a PIL picture or a uint8 array."""
        watch = watch or Stopwatch()
        image, sides = self._decoded(item)
        watch.lap("decode")
        image, placement = self.place(image, sides)
        pixels = to_array(image, self.decode.colour)
        watch.lap("resize")
        out = np.empty(self._shape(pixels.shape), self.layout.dtype)
        write_tensor(pixels, self.normalize, self.layout, out[0])
        watch.lap("normalize")
        return Prepared({FIRST: out}, placement)

    def as_in_training(self) -> PicturePreprocessor | None:
        """The same without drafts, or None where it takes none."""
        if not self.decode.draft:
            return None
        exact = copy(self)
        exact.decode = self.decode.model_copy(update={"draft": False})
        return exact

    @property
    def unit(self) -> float:
        """The least that one step of 0..255 changes any channel of the tensor."""
        if self.normalize is None:
            return 1.0
        return min(self.normalize.scale / std for std in self.normalize.std)

    def pixels(self, picture: Any) -> Array:
        """The pixels that are normalised: uint8, height x width x channels."""
        return to_array(self.place(*self._decoded(picture))[0], self.decode.colour)

    def _decoded(self, picture: Any) -> tuple[Image.Image, Sides]:
        first = self._spatial[0] if self._spatial else None
        return self.decode.sized(picture, first.target if isinstance(first, Resize) else None)

    def place(self, image: Image.Image, sides: Sides) -> tuple[Image.Image, Placement]:
        """Applies what changes places, a resize together with the crop after it.

        Args:
            sides: width and height of the picture if it were no draft.
        """
        placement = Placement.whole(*sides)
        if image.size != sides:
            placement = placement.then(scaling(sides, image.size), image.size)
        steps = list(self._spatial)
        while steps:
            step = steps.pop(0)
            sizes = image.size
            joined = isinstance(step, Resize) and steps and isinstance(steps[0], CenterCrop)
            placement = placement.then(step.matrix(*sizes), step.sides(*sizes))
            if joined:
                crop = cast(CenterCrop, steps.pop(0))
                placement = placement.then(
                    crop.matrix(*placement.tensor), crop.sides(*placement.tensor)
                )
                image = resample_crop(image, cast(Resize, step), crop)
            else:
                image = step.apply(image)
        return image, placement

    def _shape(self, pixels: tuple[int, ...]) -> tuple[int, ...]:
        height, width = pixels[:2]
        if self.layout.order == "nchw":
            return (1, self._channels, height, width)
        return (1, height, width, self._channels)
