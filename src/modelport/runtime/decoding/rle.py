"""COCO's run lengths of masks: the counts of zeros and ones down the columns, and their compressed text.

The format is that of the COCO API. Counts start with zeros. In the text every count, from the third on as its
difference to the one before the last, is written in groups of 5 bits from the lowest, one to a
character from `0` (48) on; bit 6 says that more follow, and bit 5 of the last group is its sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelport.errors import DataError
from modelport.types import Array


def counts_of(mask: Array) -> list[int]:
    """Lengths of the runs of zeros and ones, in turn, down the columns of a height x width mask."""
    flat = np.asarray(mask, bool).ravel(order="F")
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], turns, [flat.size]])
    runs = [int(run) for run in np.diff(edges)]
    return [0, *runs] if flat.size and flat[0] else runs


def mask_of(counts: Sequence[int], height: int, width: int) -> Array:
    """The bool mask of those runs.

    Raises:
        DataError: where they do not fill the mask.
    """
    if sum(counts) != height * width or any(count < 0 for count in counts):
        raise DataError(
            f"Run lengths add up to {sum(counts)}", expected=f"{height * width}: {height}x{width}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def rle_from_mask(mask: Array) -> dict[str, Any]:
    """`{"size": [height, width], "counts": text}`, as COCO's tools read and write it."""
    height, width = mask.shape
    return {"size": [int(height), int(width)], "counts": text_of(counts_of(mask))}


def mask_from_rle(rle: dict[str, Any]) -> Array:
    """The bool mask of COCO's run lengths, compressed or as a list."""
    height, width = rle["size"]
    counts = rle["counts"]
    return mask_of(counts_in(counts) if isinstance(counts, str) else counts, height, width)


def text_of(counts: Sequence[int]) -> str:
    """The compressed text."""
    found: list[str] = []
    for place, count in enumerate(counts):
        left = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            group = left & 31
            left >>= 5
            more = left != (-1 if group & 16 else 0)
            found.append(chr(48 + (group | 32 if more else group)))
    return "".join(found)


def counts_in(text: str) -> list[int]:
    """The counts of a compressed text."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return counts
