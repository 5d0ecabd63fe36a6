"""Tells and draws what a pipeline found, each stage in the way of its task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from modelport.runtime.decoding.sheet import Sheet, colour_of
from modelport.runtime.failed import Failed
from modelport.runtime.pipeline.chained import Chained, Part
from modelport.runtime.pipeline.things import box_of
from modelport.runtime.tasks.base import Result, Task

Tasks = Mapping[str, Task[Any, Any]]
"""By the name of the stage."""

SHOWN = 8
"""So many things are told one by one."""

_PLACED = ("box", "quad", "points", "keypoints", "mask", "polygon")
"""What shows that a result, or a thing in it, has places of its own to draw."""


def describe(tasks: Tasks, found: Chained) -> str:
    """The results in a few words: `2 lines of text: 'Hello' 0.98; 'world' 0.97`."""
    return ", ".join(_told(tasks, found, stage) for stage in found.results)


def _told(tasks: Tasks, found: Chained, stage: str) -> str:
    words = _words(tasks, stage, found.results[stage])
    parts = [part for part in found.parts.get(stage, ()) if part.results]
    told = [describe(tasks, part) for part in parts[:SHOWN]]
    if len(parts) > SHOWN:
        told.append(f"and {len(parts) - SHOWN} more")
    return f"{words}: {'; '.join(told)}" if told else words


def _words(tasks: Tasks, stage: str, result: Result) -> str:
    return result.reason if isinstance(result, Failed) else tasks[stage].describe(result)


def draw(tasks: Tasks, image: Image.Image, found: Chained) -> Image.Image:
    """A copy of the picture with everything on it."""
    drawn = image.convert("RGB")
    if drawn is image:
        drawn = image.copy()
    return _drawn(tasks, drawn, found)


def _drawn(tasks: Tasks, image: Image.Image, found: Chained) -> Image.Image:
    thing = found.thing if isinstance(found, Part) else None
    written: list[str] = []
    for stage, result in found.results.items():
        if isinstance(result, Failed) or (thing is not None and not _has_places(result)):
            written.append(_words(tasks, stage, result))
        else:
            image = tasks[stage].draw(image, result)
    if written and thing is not None:
        left, _, _, bottom = (float(side) for side in box_of(thing))
        sheet = Sheet(image)
        sheet.words((left, bottom + sheet.line), ", ".join(written), colour_of(len(written)))
    for parts in found.parts.values():
        for part in parts:
            image = _drawn(tasks, image, part)
    return image


def _has_places(result: Result) -> bool:
    """Whether it lies somewhere in the picture; else its words are written beside the thing."""
    values = list(vars(result).values())
    inner = [each for value in values if isinstance(value, tuple) for each in value]
    return any(hasattr(each, name) for each in [result, *inner] for name in _PLACED)
