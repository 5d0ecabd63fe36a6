"""Walks the stages in order, for several pictures together, and grows a tree for each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from modelport.errors import UsageError
from modelport.runtime.failed import Failed
from modelport.runtime.pipeline.answering import View, Wanted, answers, scaled
from modelport.runtime.pipeline.chained import Chained, Part
from modelport.runtime.pipeline.cutting import chosen, cut
from modelport.runtime.pipeline.joining import joined
from modelport.runtime.pipeline.pyramid import Pyramid
from modelport.runtime.pipeline.stages import Crops, Turn
from modelport.runtime.pipeline.things import box_of, things_of
from modelport.runtime.tasks.base import Result
from modelport.runtime.tasks.classification import Classification
from modelport.runtime.transforms.base import Stopwatch

if TYPE_CHECKING:
    from modelport.runtime.predictor import Predictor
    from modelport.runtime.steps import Steps


@dataclass(frozen=True)
class Step:
    """A stage whose model is open.

    Attributes:
        answering: what runs the model where that is not the predictor alone: several sessions of it.
    """

    name: str
    predictor: Predictor
    takes: Crops | None
    answering: Steps | None = None
    pyramid: Pyramid | None = None
    keep: bool = True


@dataclass(eq=False)
class Node:
    """A tree while it grows: a picture, or a thing in one."""

    whole: Image.Image
    thing: Any = None
    results: dict[str, Result] = field(default_factory=dict)
    parts: dict[str, list[Node]] = field(default_factory=dict)

    def holders(self, stage: str) -> Iterator[Node]:
        """The nodes, this one or below, that hold what a stage found in them."""
        if stage in self.parts:
            yield self
        for nodes in self.parts.values():
            for node in nodes:
                yield from node.holders(stage)

    def add(self, stage: str, result: Result) -> None:
        """Takes a result, and a node for each thing in it."""
        self.results[stage] = result
        things = None if isinstance(result, Failed) else things_of(result)
        if things is not None:
            self.parts[stage] = [Node(self.whole, thing) for thing in things]

    def frozen(self, timing_ms: Mapping[str, float], dropped: Collection[str] = ()) -> Chained:
        """The tree without the stages that are dropped."""
        return Chained(self._results(dropped), self._parts(dropped), timing_ms=timing_ms)

    def _part(self, dropped: Collection[str]) -> Part:
        return Part(self._results(dropped), self._parts(dropped), self.thing)

    def _results(self, dropped: Collection[str]) -> dict[str, Result]:
        return {name: result for name, result in self.results.items() if name not in dropped}

    def _parts(self, dropped: Collection[str]) -> dict[str, tuple[Part, ...]]:
        return {
            name: tuple(node._part(dropped) for node in nodes)
            for name, nodes in self.parts.items()
            if name not in dropped
        }


Group = tuple[Node, list[Node]]
"""A node, and those of the things in it that a stage looks at; or a picture, and itself."""


def walk(steps: Sequence[Step], pictures: Sequence[Image.Image], watch: Stopwatch) -> list[Node]:
    """The tree of each picture.

    Raises:
        ModelportError: where a model cannot answer for a whole picture.
        UsageError: where a stage takes crops of results that hold no places.
    """
    roots = [Node(picture) for picture in pictures]
    for step in steps:
        groups = _groups(step, roots)
        results = _found(step, [node for _, nodes in groups for node in nodes])
        for holder, nodes in groups:
            _hang(step, holder, nodes, [next(results) for _ in nodes])
        watch.lap(step.name)
    return roots


def _groups(step: Step, roots: Sequence[Node]) -> list[Group]:
    """What a stage looks at: the pictures, or the things of each earlier result that it takes."""
    crops = step.takes
    if crops is None:
        return [(root, [root]) for root in roots]
    for root in roots:
        _check_places(step.name, crops.of, root)
    return [
        (holder, [nodes[number] for number in chosen([node.thing for node in nodes], crops)])
        for root in roots
        for holder in root.holders(crops.of)
        for nodes in [holder.parts[crops.of]]
    ]


def _found(step: Step, nodes: Sequence[Node]) -> Iterator[Result]:
    """The result for each node; at several scales, these are joined."""
    steps = step.answering or step.predictor
    if step.pyramid is None:
        yield from answers(steps, [_wanted(node, step.takes) for node in nodes])
        return
    levels = [scaled(_wanted(node, step.takes), step.pyramid) for node in nodes]
    results = iter(answers(steps, [wanted for each in levels for wanted in each]))
    for each in levels:
        own = [next(results) for _ in each]
        yield joined(own, step.pyramid.join, step.predictor.task)


def _hang(step: Step, holder: Node, nodes: Sequence[Node], results: Sequence[Result]) -> None:
    """Puts results where they belong: each on its node, or all as one where the things were found."""
    if step.takes is not None and step.takes.join is not None:
        holder.add(step.name, joined(results, step.takes.join, step.predictor.task))
        return
    for node, result in zip(nodes, results, strict=True):
        if isinstance(result, Failed) and step.takes is None:
            raise result.error
        node.add(step.name, result)


def _check_places(stage: str, of: str, node: Node) -> None:
    """A result of that stage without a list of things has no crops, and never will."""
    result = node.results.get(of)
    if result is not None and of not in node.parts and not isinstance(result, Failed):
        raise UsageError(
            f"The stage {stage!r} takes crops of {of!r}, whose {type(result).__name__} holds no "
            "boxes or quads",
            expected="a stage that finds things: detection or text_detection, say",
        )
    for nodes in node.parts.values():
        for each in nodes:
            _check_places(stage, of, each)


def _wanted(node: Node, crops: Crops | None) -> Wanted:
    if crops is None:
        width, height = node.whole.size
        return Wanted(lambda: View(node.whole, node.whole), width / height)
    left, top, right, bottom = box_of(node.thing)
    degrees = _degrees(node, crops.turn)

    def made() -> View:
        part, matrix = cut(node.whole, node.thing, crops, degrees)
        return View(part, node.whole, matrix)

    return Wanted(made, (right - left) / max(bottom - top, 1e-6))


def _degrees(node: Node, turn: Turn | None) -> int:
    """How far to turn a crop by what was said of it; not at all where nothing was."""
    said = None if turn is None else node.results.get(turn.by)
    if turn is None or not isinstance(said, Classification) or said.score < turn.min_score:
        return 0
    return turn.degrees.get(said.label, 0)
