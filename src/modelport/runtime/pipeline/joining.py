"""Several results about one picture become one: their things together, thinned out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelport.errors import UsageError
from modelport.runtime.decoding.nms import Nms
from modelport.runtime.failed import Failed
from modelport.runtime.pipeline.things import box_of, score_of, things_of
from modelport.runtime.tasks.base import Result, Task
from modelport.types import Array


def joined(results: Sequence[Result], how: Nms, task: Task[Any, Any]) -> Result:
    """One result of that task with what stays of all things, best first.

    Places must be those of one picture. Without any results it holds nothing.

    Returns:
        A `Failed` where one of them is: what stays would be only a part of the answer.

    Raises:
        UsageError: where `how` goes by priors and the things keep none.
    """
    failed = next((result for result in results if isinstance(result, Failed)), None)
    if failed is not None:
        return failed
    things = [thing for result in results for thing in things_of(result) or ()]
    make: Any = task.holds  # `check_joins` sees to it that there is one
    found: Result = make(tuple(_thinned(things, how)))
    return found


def _thinned(things: Sequence[Any], how: Nms) -> list[Any]:
    if not things:
        return []
    boxes = np.array([_rival(thing, how) for thing in things], np.float64)
    scores = np.array([score_of(thing) for thing in things], np.float64)
    kept, found = how.keep(boxes, scores, _classes(things), None, 0.0)
    return [
        things[number] if score == scores[number] else replace(things[number], score=score)
        for number, score in zip(kept.tolist(), found.tolist(), strict=True)
    ]


def _rival(thing: Any, how: Nms) -> Array:
    """The corners by which a thing competes."""
    if how.by == "boxes":
        return box_of(thing)
    prior = getattr(thing, "prior", None)
    if prior is None:
        raise UsageError(
            f"Results are joined by priors, and a {type(thing).__name__} keeps none",
            expected="a model whose task has `priors`, and `with_priors` set",
            hint="Join by boxes, or deploy the model with `with_priors`",
        )
    return np.asarray(prior, np.float64)


def _classes(things: Sequence[Any]) -> Array:
    """A number for each class of things; one for all where they have none."""
    return np.array([getattr(thing, "index", 0) for thing in things], np.intp)


def check_joins(stage: str, task: Task[Any, Any]) -> None:
    """Raises UsageError where results of that task cannot become one."""
    if task.holds is None:
        raise UsageError(
            f"The stage {stage!r} joins results of the task {task.name}, which are more than things "
            "with places",
            expected="a task such as detection, face_detection or text_detection",
        )
