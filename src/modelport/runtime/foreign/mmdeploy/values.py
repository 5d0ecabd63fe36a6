"""The values of their transforms, checked, in our words."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from modelport.errors import BundleFormatError
from modelport.runtime.foreign.folder import Fields
from modelport.runtime.transforms import Normalize, Transform

_INTERPOLATIONS = {
    "nearest": "opencv.nearest",
    "bilinear": "opencv.linear",
    "bicubic": "opencv.cubic",
    "area": "opencv.area",
    "lanczos": "opencv.lanczos4",
}
_PILLOW = {
    "nearest": "pil.nearest",
    "bilinear": "pil.bilinear",
    "bicubic": "pil.bicubic",
    "box": "pil.box",
    "lanczos": "pil.lanczos",
    "hamming": "pil.hamming",
}

Kind = TypeVar("Kind", bound=Transform)


def normalize_of(entry: Fields, mean: list[float], std: list[float]) -> Normalize | None:
    if not any(mean) and all(value == 1 for value in std):
        return None
    return made(entry, Normalize, mean=tuple(mean), std=tuple(std), scale=1.0)


def interpolation_of(entry: Fields) -> str:
    """Their word; a resize that was declared with PIL's backend is done with PIL."""
    table = _PILLOW if entry.raw("backend") == "pillow" else _INTERPOLATIONS
    word = entry.text("interpolation", "bilinear")
    demand(entry, "interpolation", word in table)
    return table[word]


def size_of(entry: Fields, key: str) -> tuple[int, int]:
    """One whole number or two, of which the second may be -1."""
    value = entry.raw(key)
    edges = value if isinstance(value, list) else [value, value]
    if len(edges) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) for n in edges):
        raise BundleFormatError(
            f"{entry.where}: {key} is {value!r:.60}", expected="one or two whole numbers"
        )
    return edges[0], edges[1]


def pad_value(entry: Fields) -> float:
    """`pad_val`: a number, or one in a dictionary by the kind of picture, the first of a list there."""
    value = entry.raw("pad_val")
    if isinstance(value, dict):
        value = value.get("img", 0)
    if isinstance(value, list) and value and all(each == value[0] for each in value):
        value = value[0]
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BundleFormatError(
            f"{entry.where}: pad_val is {entry.raw('pad_val')!r:.60}",
            expected="one number for all channels",
        )
    return float(value)


def demand(entry: Fields, key: str, fits: bool) -> None:
    if not fits:
        raise BundleFormatError(
            f"{entry.where}: {key} is {entry.raw(key)!r:.60}, which has no counterpart in modelport",
            hint="Make a bundle of the model with modelport deploy and transforms of your own",
        )


def made(entry: Fields, kind: type[Kind], **fields: Any) -> Kind:
    """A transform of ours; what it refuses is told with the place in their file."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        found = error.errors()  # one for each type that a field may have
        telling = next((each for each in found if each["type"] in _TELLING), found[0])
        told = f"{telling['loc'][0]}: {telling['msg']}" if telling["loc"] else telling["msg"]
        raise BundleFormatError(
            f"{entry.where}: {entry.text('type')} cannot be done here ({told})"
        ) from error


_TELLING = ("greater_than", "greater_than_equal", "less_than_equal", "value_error")
"""Errors about a value; the others are about types that it might have had."""
