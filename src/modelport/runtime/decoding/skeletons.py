"""Names of keypoints, and which of them are joined, for the data sets that most models are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modelport.runtime.decoding.sheet import Colour, colour_of

Bones = tuple[tuple[int, int], ...]


class Skeleton(NamedTuple):
    """Names in the order of the keypoints, and the pairs of numbers that a bone joins."""

    names: tuple[str, ...]
    bones: Bones


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{side} {name}" for name in names for side in ("left", "right"))


def _fingers() -> tuple[tuple[str, ...], Bones]:
    names, bones = ["wrist"], []
    for finger in ("thumb", "index", "middle", "ring", "little"):
        bones.append((0, len(names)))
        for joint in range(1, 5):
            names.append(f"{finger} {joint}")
            if joint > 1:
                bones.append((len(names) - 2, len(names) - 1))
    return tuple(names), tuple(bones)


_COCO = Skeleton(
    (
        "nose",
        *_both("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
    ),
    (
        (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
        (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    ),
)  # fmt: skip

SKELETONS: dict[str, Skeleton] = {
    "coco17": _COCO,
    "hand21": Skeleton(*_fingers()),
    "face5": Skeleton(
        ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner"), ()
    ),
}


def bone_colour(names: Sequence[str], bone: tuple[int, int]) -> Colour:
    """Left and right in two colours, what joins them in a third; fingers and others by number."""
    words = [names[number] if number < len(names) else "" for number in bone]
    sides = {word.split(" ")[0] for word in words} & {"left", "right"}
    if len(sides) == 1:
        return (60, 210, 90) if sides == {"left"} else (255, 140, 40)
    fingers = ("thumb", "index", "middle", "ring", "little")
    for number, finger in enumerate(fingers):
        if words[1].startswith(finger):
            return colour_of(number)
    return (70, 150, 255)
