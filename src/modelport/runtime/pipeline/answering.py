"""Answers for many crops at once, with as few engine calls as their shapes allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from modelport.errors import ModelportError
from modelport.runtime.failed import Failed
from modelport.runtime.pipeline.pyramid import Pyramid
from modelport.runtime.placement import Placement
from modelport.runtime.steps import run_each
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Prepared
from modelport.types import Array

if TYPE_CHECKING:
    from modelport.runtime.steps import Steps

AT_ONCE = 32
"""At least so many crops are prepared before any runs, so that those of one shape meet."""


@dataclass(frozen=True, eq=False)
class View:
    """What a model is shown: a picture, or a part of one.

    Attributes:
        image: the pixels.
        whole: the picture they are from.
        matrix: 3 x 3, from places of the picture to places of the part; None for the whole picture.
    """

    image: Image.Image
    whole: Image.Image
    matrix: Array | None = None

    def at(self, scale: float, pyramid: Pyramid) -> View:
        """The same, larger or smaller."""
        image, matrix = pyramid.shown(self.image, scale)
        return replace(
            self, image=image, matrix=matrix if self.matrix is None else matrix @ self.matrix
        )

    def prepared(self, steps: Steps) -> Prepared:
        """The tensor, whose places lead to the whole picture, past the part."""
        found: Prepared = steps.prepare(self.image)
        if found.placement is None or self.matrix is None:
            return found
        placement = found.placement
        matrix = placement.matrix @ self.matrix
        return replace(found, placement=Placement(self.whole.size, placement.tensor, matrix))


@dataclass(frozen=True, eq=False)
class Wanted:
    """A view to be made when its turn comes, so that not all crops are in memory together.

    Attributes:
        make: cuts it; a ModelportError that it raises becomes the result.
        shape: width over height, as far as it is known; neighbours by it are likely of one shape.
    """

    make: Callable[[], View]
    shape: float = 1.0


def scaled(wanted: Wanted, pyramid: Pyramid) -> list[Wanted]:
    """One for each scale; the view itself is made now, for its size says which scales there are."""
    view = _tried(wanted.make)
    scales = (
        view if isinstance(view, Failed) else _tried(lambda: pyramid.scales_of(view.image.size))
    )
    if isinstance(scales, Failed):
        return [replace(wanted, make=partial(_raised, scales))]
    return [replace(wanted, make=partial(view.at, scale, pyramid)) for scale in scales]


def _raised(failed: Failed) -> View:
    raise failed.error


def answers(steps: Steps, wanted: Sequence[Wanted]) -> list[Result]:
    """The results in the same order; a `Failed` where a view could not be answered."""
    order = sorted(range(len(wanted)), key=lambda number: wanted[number].shape)
    found: dict[int, Result] = {}
    step = max(AT_ONCE, steps.batch_size)
    for start in range(0, len(order), step):
        some = order[start : start + step]
        found |= dict(zip(some, _answered(steps, [wanted[n] for n in some]), strict=True))
    return [found[number] for number in range(len(wanted))]


def _answered(steps: Steps, wanted: Sequence[Wanted]) -> list[Result]:
    prepared = [_tried(partial(_prepared, steps, each)) for each in wanted]
    ready = [n for n, each in enumerate(prepared) if not isinstance(each, Failed)]
    ready.sort(key=lambda number: _shapes(prepared[number]))
    outputs = run_each(steps, [prepared[number] for number in ready]) if ready else []
    found = list(prepared)
    for number, output in zip(ready, outputs, strict=True):
        found[number] = _decoded(steps, output, prepared[number])
    return found


def _prepared(steps: Steps, wanted: Wanted) -> Prepared:
    return wanted.make().prepared(steps)


def _decoded(steps: Steps, outputs: Any, prepared: Prepared) -> Result:
    if isinstance(outputs, ModelportError):
        return Failed(outputs)
    if isinstance(outputs, Exception):
        raise outputs  # a fault of ours or of the engine's library, and none of the picture's
    found: Result = _tried(lambda: steps.decode(outputs, prepared))
    return found


def _tried(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ModelportError as error:
        return Failed(error)


def _shapes(prepared: Prepared) -> list[tuple[int, ...]]:
    return [array.shape for array in prepared.tensors.values()]
