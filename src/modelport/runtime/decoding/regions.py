"""Draws maps whose pixels are numbers of regions: tinted, with borders, and named where they are widest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from modelport.runtime.decoding.sheet import Colour, Sheet, colour_of
from modelport.types import Array

Channel = Annotated[int, Field(ge=0, le=255)]
Palette = tuple[tuple[Channel, Channel, Channel], ...]
"""Red, green and blue by class."""

_VEIL = 0.5
"""How much a tint covers; its borders cover all."""

_WORTH_NAMING = 0.004
"""Share of the picture from which on a region gets its name written on it."""


def colour_from(palette: Palette | None, index: int) -> Colour:
    """The colour of a class: of the palette, or the usual one where it has none."""
    return palette[index] if palette and 0 <= index < len(palette) else colour_of(index)


def tinted(
    image: Image.Image, regions: Array, colours: Mapping[int, Colour], names: Mapping[int, str]
) -> Image.Image:
    """A copy of the picture with its regions in colour.

    Args:
        regions: height x width, integers; brought to the size of the picture where it has another.
        colours: by number; regions without one stay as they are.
        names: by number, of those to be named.
    """
    drawn = image.convert("RGB")
    regions = fitted(regions, drawn.size)
    known = sorted(colours)
    if not known or not regions.size:
        return drawn
    place = np.searchsorted(known, regions).clip(0, len(known) - 1)
    covered = np.asarray(known)[place] == regions
    tints = np.asarray([colours[number] for number in known], np.uint8)[place]
    share = np.where(_borders(regions, Sheet(drawn).line), 1.0, _VEIL) * covered
    veil = Image.fromarray((share * 255).astype(np.uint8))
    drawn.paste(Image.fromarray(tints), (0, 0), veil)
    _write_names(drawn, regions, colours, names)
    return drawn


def fitted(regions: Array, size: tuple[int, int]) -> Array:
    """The map at that width and height, each pixel as the nearest of its own."""
    height, width = regions.shape
    if (width, height) == size:
        return regions
    down = ((np.arange(size[1]) + 0.5) * height / size[1]).astype(np.intp)
    across = ((np.arange(size[0]) + 0.5) * width / size[0]).astype(np.intp)
    return np.asarray(regions[down][:, across])


def counted(regions: Array, numbers: Sequence[int] | None = None) -> dict[int, int]:
    """Pixels by number, the most frequent first."""
    if regions.dtype == np.uint8:
        every = np.bincount(regions.ravel(), minlength=256)
        found = np.flatnonzero(every)
        counts = every[found]
    else:
        found, counts = np.unique(regions, return_counts=True)
    pairs = sorted(zip(found.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return {number: count for number, count in pairs if numbers is None or number in numbers}


def spot_in(mask: Array) -> tuple[int, int]:
    """x and y of a pixel inside: the middle of the longest run of a row that has much of the mask."""
    counts = mask.sum(1)
    full = np.flatnonzero(counts >= 0.9 * counts.max())
    row = int(full[len(full) // 2])
    line = np.concatenate([[0], mask[row].astype(np.int8), [0]])
    turns = np.flatnonzero(np.diff(line)).reshape(-1, 2)
    start, end = turns[int(np.diff(turns, axis=1).argmax())]
    return int(start + end) // 2, row


def _borders(regions: Array, line: int) -> Array:
    """Pixels within half a line of another region."""
    reach = max(1, line // 2)
    found = np.zeros(regions.shape, bool)
    down, across = regions[reach:] != regions[:-reach], regions[:, reach:] != regions[:, :-reach]
    found[reach:] |= down
    found[:, reach:] |= across
    return found


def _write_names(
    drawn: Image.Image, regions: Array, colours: Mapping[int, Colour], names: Mapping[int, str]
) -> None:
    sheet = Sheet(drawn)
    for number, pixels in reversed(counted(regions, list(names)).items()):
        if number not in colours or pixels < _WORTH_NAMING * regions.size:
            continue
        x, y = spot_in(regions == number)
        left, top, right, bottom = sheet.pen.textbbox((0, 0), names[number], font=sheet.font)
        corner = (x - (right - left) / 2, y - (bottom - top) / 2)
        sheet.words(corner, names[number], colours[number])
