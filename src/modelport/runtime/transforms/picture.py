"""From a picture to a tensor, in as few passes over memory as the transforms allow."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar

from PIL import Image

from modelport.errors import UsageError
from modelport.runtime.buffers import Buffers
from modelport.runtime.placement import Placement, Sides, scaling
from modelport.runtime.transforms.base import (
    FIRST,
    Prepared,
    Preprocessor,
    Spatial,
    Stopwatch,
    Transform,
)
from modelport.runtime.transforms.frames import Frame, Framed, check_fill, levels
from modelport.runtime.transforms.image import Decode, to_array
from modelport.runtime.transforms.tensor import Layout, Normalize, TensorWriter
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
        channels = self.decode.channels
        if self.normalize and not len(self.normalize.mean) == len(self.normalize.std) == channels:
            raise UsageError(
                f"Normalize has {len(self.normalize.mean)} means and {len(self.normalize.std)} "
                f"deviations",
                expected=f"{channels} of each for {self.decode.colour} pictures",
            )
        if self.normalize and self.layout.dtype == "uint8":
            raise UsageError(
                f"Normalize gives fractions, and Layout wants {self.layout.dtype}",
                expected="float32 or float16, or no Normalize",
            )
        self._buffers = Buffers()
        self._channels = channels
        for step in self._spatial:
            check_fill(step, channels, self.decode.colour)

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Prepared:
        """The tensor of one picture: a path, bytes, a PIL picture or a uint8 array."""
        watch = watch or Stopwatch()
        image, sides = self._decoded(item)
        watch.lap("decode")
        image, frame, placement = self._placed(image, sides)
        shown = frame.pixels(image)
        watch.lap("resize")
        out = self._buffers.empty(self._shape(frame.sides), self.layout.dtype)
        self._write(shown, frame, out[0])
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
        return self.decode.sized(picture, self._spatial[0].wanted if self._spatial else None)

    def place(self, image: Image.Image, sides: Sides) -> tuple[Image.Image, Placement]:
        """Applies what changes places, as few times as it takes.

        Args:
            sides: width and height of the picture if it were no draft.
        """
        image, frame, placement = self._placed(image, sides)
        return frame.apply(image), placement

    def _placed(self, image: Image.Image, sides: Sides) -> tuple[Image.Image, Frame, Placement]:
        """All but the last pass over the pixels, and that one as a frame.

        A draft is taken for the whole picture, so that it comes out with the same sides.
        """
        placement = Placement.whole(*sides)
        frame: Frame | None = None
        for step in self._spatial:
            before = placement.tensor
            if isinstance(step, Framed):
                image, frame = _joined(image, frame, step.frame(*before), before)
            else:
                image, frame = frame.apply(image) if frame else image, None
                placement = placement.then(scaling(before, image.size), image.size)
                image = step.apply(image)
            before = placement.tensor
            placement = placement.then(step.matrix(*before), step.sides(*before))
        if frame is None or (frame.is_filled and isinstance(frame.fill, str)):
            image = frame.apply(image) if frame else image
            frame = Frame(image.size, (0, 0, *image.size))
        return image, frame, placement

    def _write(self, shown: Array | None, frame: Frame, out: Array) -> None:
        """The pixels straight to their place in the tensor, and the fill around them."""
        backwards = self.decode.colour == "bgr"
        write = TensorWriter(self.normalize, self.layout, out)
        if shown is not None:
            write.pixels(shown[:, :, ::-1] if backwards else shown, frame.target)
        if frame.is_filled and not isinstance(frame.fill, str):
            fill = levels(frame.fill, self._channels)
            write.around(frame.target, fill[::-1] if backwards else fill)

    def _shape(self, sides: Sides) -> tuple[int, ...]:
        width, height = sides
        if self.layout.order == "nchw":
            return (1, self._channels, height, width)
        return (1, height, width, self._channels)


def _joined(
    image: Image.Image, frame: Frame | None, after: Frame, before: Sides
) -> tuple[Image.Image, Frame]:
    """One frame for both where it may be, else the first one is applied."""
    if frame is None:
        return image, after
    joined = frame.then(after, before)
    return (image, joined) if joined else (frame.apply(image), after)
