"""From a file, bytes or array to a picture of 8 bits a channel."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import Field

from modelport.errors import DataError
from modelport.runtime.placement import Sides
from modelport.runtime.transforms.base import Stage, Transform
from modelport.runtime.transforms.jpeg import without_last_bits
from modelport.types import Array

_ORIENTATION, _LYING = 0x0112, 5
"""EXIF tag, and the first of its values that say a picture lies on its side."""

_MODES = {"rgb": "RGB", "bgr": "RGB", "grey": "L", "grey3": "L"}


Shade = Annotated[int, Field(ge=0, le=255)]


class Decode(Transform):
    """Decodes a picture.

    Attributes:
        colour: order of the channels that later transforms see; `grey3` is grey in three equal ones.
        orientation: `ignore` leaves pixels as they are stored, as PIL and so torchvision do; `exif`
            turns them upright, as OpenCV does.
        background: the grey level, or red, green and blue, that shows through where a picture is
            transparent; None leaves transparency out of account, as PIL and OpenCV do.
        draft: whether a JPEG may be decoded as a draft, faster and not quite as in training: at 1/2,
            1/4 or 1/8 of its size where the resize after it wants no more, which averages blocks
            where the resize would have filtered; and a progressive one without the last bits of its
            detail. `deploy` counts the difference against the fidelity budget.
    """

    stage: ClassVar[Stage] = Stage.DECODE

    kind: Literal["decode"] = "decode"
    colour: Literal["rgb", "bgr", "grey", "grey3"] = "rgb"
    orientation: Literal["ignore", "exif"] = "ignore"
    background: Shade | tuple[Shade, Shade, Shade] | None = None
    draft: bool = False

    @property
    def channels(self) -> int:
        """How many each pixel has."""
        return 1 if self.colour == "grey" else 3

    def __call__(
        self, picture: Any, wanted: Callable[[int, int], tuple[int, int]] | None = None
    ) -> Image.Image:
        """Reads a path, bytes, a PIL picture, or a uint8 array (height, width[, 3], RGB).

        Args:
            wanted: from the width and height of the file to those that the next resize makes.

        Raises:
            DataError: where the file is missing or is no picture that can be decoded.
        """
        return self.sized(picture, wanted)[0]

    def sized(
        self, picture: Any, wanted: Callable[[int, int], tuple[int, int]] | None = None
    ) -> tuple[Image.Image, Sides]:
        """The picture, and its width and height if it were no draft."""
        image = _open(_lightened(picture) if self.draft else picture, called=picture)
        try:
            sides = self._upright(image)
            lent = isinstance(picture, Image.Image)  # a draft would shrink the caller's own picture
            if self.draft and wanted is not None and not lent:
                image.draft(None, self._wanted(image, wanted))
            if self.orientation == "exif":
                image = ImageOps.exif_transpose(image)
            image = self._coloured(image)
            image.load()
        except Exception as error:  # decoders of damaged bytes raise whatever they stumble over
            raise _undecodable(picture, error) from error
        return image, sides

    def _coloured(self, image: Image.Image) -> Image.Image:
        if image.mode.startswith("I;16"):
            image = _upper_eight(image)
        if self.background is not None and image.has_transparency_data:
            image = _on_ground(image, self.background)
        mode = _MODES[self.colour]
        image = image if image.mode == mode else image.convert(mode)
        return image.convert("RGB") if self.colour == "grey3" else image

    def _upright(self, image: Image.Image) -> Sides:
        """Width and height as later transforms see them."""
        return (image.height, image.width) if self._lies(image) else image.size

    def _lies(self, image: Image.Image) -> bool:
        return self.orientation == "exif" and image.getexif().get(_ORIENTATION, 1) >= _LYING

    def _wanted(
        self, image: Image.Image, wanted: Callable[[int, int], tuple[int, int]]
    ) -> tuple[int, int]:
        """The size to decode at least, in the file's own orientation."""
        if not self._lies(image):
            return wanted(*image.size)
        width, height = wanted(image.height, image.width)
        return height, width


def _upper_eight(image: Image.Image) -> Image.Image:
    """Of grey with 16 bits, as OpenCV does; PIL would make everything above 255 white."""
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _on_ground(image: Image.Image, ground: int | tuple[int, int, int]) -> Image.Image:
    colour = ground if isinstance(ground, tuple) else (ground,) * 3
    below = Image.new("RGBA", image.size, (*colour, 255))
    return Image.alpha_composite(below, image.convert("RGBA"))


def _lightened(picture: Any) -> Any:
    """The bytes of a file or of memory, with less to decode; anything else as it is."""
    if isinstance(picture, (str, os.PathLike)) and Path(picture).is_file():
        return without_last_bits(Path(picture).read_bytes())
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return without_last_bits(bytes(picture))
    return picture


def _open(picture: Any, called: Any) -> Image.Image:
    """Opens lazily; `called` is what the caller gave, for messages."""
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, (str, os.PathLike)):
        path = Path(picture)
        if not path.is_file():
            raise DataError(f"There is no picture {path}", hint="Check the path")
    elif not isinstance(picture, (bytes, bytearray, memoryview)):
        raise DataError(
            f"A {type(picture).__name__} is not a picture",
            expected="a path, bytes, a PIL image, or a uint8 array of height x width x 3",
        )
    try:
        # Given a path, PIL keeps the file open where there are more frames or decoding fails.
        data = path.read_bytes() if isinstance(picture, (str, os.PathLike)) else picture
        return Image.open(io.BytesIO(data))
    except Exception as error:
        raise _undecodable(called, error) from error


def _from_array(array: Array) -> Image.Image:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)
    if array.dtype != np.uint8 or not fits or array.size == 0:
        raise DataError(
            f"An array of {array.dtype} and shape {list(array.shape)} is not a picture",
            expected="uint8 of height x width x 3 in RGB order, or height x width",
            hint="Pass ready tensors to Predictor.infer instead",
        )
    return Image.fromarray(array)


def _undecodable(picture: Any, error: Exception) -> DataError:
    named = isinstance(picture, (str, os.PathLike))
    what = str(picture) if named else "The picture"
    return DataError(
        f"{what} cannot be decoded ({' '.join(str(error).split())[:160]})",
        expected="a whole JPEG, PNG, WebP, BMP or TIFF picture",
        hint="Check that the file is complete and opens in a viewer",
    )


def to_array(image: Image.Image, colour: str) -> Array:
    """Pixels as uint8 of height x width x channels, in the order that `colour` names."""
    array = np.asarray(image)
    if array.ndim == 2:
        return array[:, :, None]
    return array[:, :, ::-1] if colour == "bgr" else array
