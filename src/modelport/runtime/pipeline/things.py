"""The things in a result that have a place, whatever its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from modelport.runtime.tasks.base import Result
from modelport.types import Array

_PLACES = ("box", "quad")


def listed(result: Result) -> str | None:
    """The field of a result that holds its things: the first tuple or list of what has a box or a quad.

    An empty one counts where no other field holds any. None where there is no such field.
    """
    empty = None
    for field in fields(result):
        value = getattr(result, field.name)
        if not isinstance(value, (tuple, list)):
            continue
        if value and all(_has_place(each) for each in value):
            return field.name
        if not value and empty is None:
            empty = field.name
    return empty


def things_of(result: Result) -> Sequence[Any] | None:
    """The things in a result, or None where it holds none by its nature."""
    name = listed(result)
    return None if name is None else tuple(getattr(result, name))


def box_of(thing: Any) -> Array:
    """Left, top, right, bottom in the picture: its box, or the one around its quad."""
    box = getattr(thing, "box", None)
    if box is not None:
        return np.asarray(box, np.float64)
    quad = quad_of(thing)
    return np.concatenate([quad.min(0), quad.max(0)])


def quad_of(thing: Any) -> Array:
    """Four corners (4, 2) in the picture, clockwise: its quad, or the corners of its box."""
    quad = getattr(thing, "quad", None)
    if quad is not None:
        return np.asarray(quad, np.float64).reshape(4, 2)
    left, top, right, bottom = np.asarray(thing.box, np.float64)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def label_of(thing: Any) -> str | None:
    label = getattr(thing, "label", None)
    return None if label is None else str(label)


def score_of(thing: Any) -> float:
    """Its score; 1 where it has none."""
    score = getattr(thing, "score", None)
    return 1.0 if score is None else float(score)


def _has_place(thing: Any) -> bool:
    return any(getattr(thing, name, None) is not None for name in _PLACES)
