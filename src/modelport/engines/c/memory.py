"""Where what lies between the layers is kept: one block of memory, whose parts are used again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ALIGNMENT = 16


def planned(sizes: Mapping[str, int], uses: Sequence[Sequence[str]]) -> tuple[dict[str, int], int]:
    """An offset for each buffer, so that those alive together do not meet; and the bytes of all.

    The largest are placed first, each as low as it fits.

    Args:
        uses: names that each step reads or writes, in the order of the steps.
    """
    spans = _spans(sizes, uses)
    offsets: dict[str, int] = {}
    for name in sorted(sizes, key=lambda each: (-sizes[each], each)):
        taken = sorted(
            (offsets[other], offsets[other] + _rounded(sizes[other]))
            for other in offsets
            if _meet(spans[name], spans[other])
        )
        place = 0
        for start, end in taken:
            if place + _rounded(sizes[name]) <= start:
                break
            place = max(place, end)
        offsets[name] = place
    return offsets, max((offsets[name] + _rounded(sizes[name]) for name in sizes), default=0)


def _spans(sizes: Mapping[str, int], uses: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for step, names in enumerate(uses):
        for name in names:
            if name in sizes:
                spans[name] = (spans.get(name, (step, step))[0], step)
    return {name: spans.get(name, (0, len(uses))) for name in sizes}


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _rounded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
