"""From a library's own preprocessing to declared transforms, proved on pictures.

A codebase proposes transforms from the library's metadata. They count only if they give what the
library itself gives, on pictures of several sizes and within one grey level: its metadata does not
tell what an overridden method does with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from modelport.errors import ModelportError
from modelport.runtime.transforms import CenterCrop, Decode, Layout, Normalize, Resize, Transform
from modelport.runtime.transforms.base import Spatial
from modelport.runtime.transforms.frames import extent
from modelport.runtime.transforms.picture import PicturePreprocessor
from modelport.types import Array

SIZES = ((320, 213), (150, 201), (97, 143), (259, 257), (64, 40))
"""Width and height of the pictures: lying and standing, large and small, of odd shapes."""

METHODS = {
    "nearest": "pil.nearest",
    "box": "pil.box",
    "bilinear": "pil.bilinear",
    "hamming": "pil.hamming",
    "bicubic": "pil.bicubic",
    "lanczos": "pil.lanczos",
}
"""The libraries' words for how to resize."""

_LONGEST = 1024

ROUNDING = 1.01
"""Grey levels that two ways of the same resize may differ by, and a little for float32."""


_NONE = "so no transforms were declared: declare your own, or feed tensors"


@dataclass(frozen=True)
class Recipe:
    """Attributes:
    transforms: empty where the library's processing cannot be said with ours.
    size: height and width that every picture comes out with; None where that depends on it.
    notes: why something is missing.
    """

    transforms: tuple[Transform, ...] = ()
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    def fitting(self, size: tuple[int, int], owner: str) -> Recipe:
        """The recipe for a model whose input has that height and width."""
        if not self.transforms or self.size == size:
            return self
        if self.size is None:
            note = (
                f"{owner} brings pictures to no fixed size, and this input takes {size[0]}x{size[1]} "
                "only: use pictures of that size, or declare transforms with a Resize"
            )
            return Recipe(self.transforms, None, (*self.notes, note))
        note = (
            f"{owner} brings pictures to {self.size[0]}x{self.size[1]}, and this input takes "
            f"{size[0]}x{size[1]}, {_NONE}"
        )
        return Recipe((), None, (*self.notes, note))


def prove(
    proposals: Iterable[Sequence[Transform]],
    theirs: Callable[[Image.Image], Any],
    owner: str,
) -> Recipe:
    """The first proposal that does what the library does.

    Args:
        proposals: transforms that may do the same.
        theirs: the library's processing of an RGB picture, to an array of channels x height x width.
        owner: who processes, for notes.
    """
    candidates = [list(proposal) for proposal in proposals]
    pictures = [_picture(*size) for size in (*SIZES, *_telling_sizes(candidates))]
    try:
        expected = [_batch(theirs(picture)) for picture in pictures]
    except Exception as error:  # a foreign processor raises whatever it stumbles over
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return Recipe(notes=(f"{owner} fails on a plain picture ({reason}), {_NONE}",))
    for candidate in candidates:
        if _does(candidate, pictures, expected):
            sizes = {(array.shape[2], array.shape[3]) for array in expected}
            return Recipe(tuple(candidate), sizes.pop() if len(sizes) == 1 else None)
    return Recipe(notes=(f"{owner} does what modelport's transforms cannot say, {_NONE}",))


def _does(
    proposal: Sequence[Transform], pictures: Sequence[Image.Image], expected: Sequence[Array]
) -> bool:
    try:
        pipeline = PicturePreprocessor(proposal)
    except ModelportError:  # the metadata has one mean for three channels, say
        return False
    made = (_sides(proposal, *picture.size) for picture in pictures)
    if any(sides != wanted.shape[:1:-1] for sides, wanted in zip(made, expected, strict=True)):
        return False  # before pictures of any size are made
    normalize = pipeline.normalize
    grey = max(normalize.scale / std for std in normalize.std) if normalize else 1.0
    found = (pipeline(picture) for picture in pictures)
    return all(
        ours.shape == wanted.shape and float(np.abs(ours - wanted).max()) <= ROUNDING * grey
        for ours, wanted in zip(found, expected, strict=True)
    )


def _sides(proposal: Sequence[Transform], width: int, height: int) -> tuple[int, int]:
    for step in proposal:
        if isinstance(step, Spatial):
            width, height = step.sides(width, height)
    return width, height


def _batch(result: Any) -> Array:
    array = np.asarray(result, np.float32)
    return array[None] if array.ndim == 3 else array


@lru_cache(16)
def _picture(wide: int, high: int) -> Image.Image:
    """Noise: every pixel that is taken from another place shows."""
    generator = np.random.default_rng(wide * high)
    return Image.fromarray(generator.integers(0, 256, (high, wide, 3), dtype=np.uint8))


def _telling_sizes(proposals: Sequence[Sequence[Transform]]) -> list[tuple[int, int]]:
    """Sizes whose margin to crop is 3 pixels, or as many more as 4 divides; ribbons that reach limits.

    Libraries round the half of any other margin to the same pixel.
    """
    sizes: set[tuple[int, int]] = set()
    for proposal in proposals:
        limited = [step for step in proposal if isinstance(step, Resize) and step.limit]
        for step in limited:
            across = 64 * (step.limit or 0) // min(extent(step.size)) + 37
            sizes |= {(across, 64), (64, across)} if across <= _LONGEST else set()
        resize = next((step.size for step in proposal if isinstance(step, Resize)), None)
        crop = next((step.extent()[0] for step in proposal if isinstance(step, CenterCrop)), None)
        if isinstance(resize, int) and crop is not None:
            longer = resize + (3 - (resize - crop)) % 4
            sizes |= {(longer, resize), (resize, longer)}
    return sorted(sizes)


def resized_and_cropped(
    *,
    resize: int | tuple[int, int] | None,
    crop: int | tuple[int, int] | None,
    interpolation: str,
    normalize: Normalize | None,
    decode: Decode | None = None,
    floor: bool = False,
) -> list[Transform]:
    """The usual order of steps. `floor` rounds odd margins of the crop down."""
    steps: list[Transform] = [decode or Decode()]
    if resize is not None:
        steps.append(Resize(resize, interpolation=METHODS.get(interpolation, interpolation)))
    if crop is not None:
        steps.append(CenterCrop(crop, rounding="floor" if floor else "half-even"))
    return [*steps, *([normalize] if normalize else []), Layout()]
