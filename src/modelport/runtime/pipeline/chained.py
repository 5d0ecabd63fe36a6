"""What a pipeline found: a tree, in which later results hang on the things they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelport.runtime.pipeline.things import listed
from modelport.runtime.tasks.base import Result


@dataclass(frozen=True)
class Chained(Result):
    """What the stages found in one picture: `chained["lines"]` is the result of the stage `lines`.

    Attributes:
        results: by stage, of those that looked at this picture.
        parts: by stage, the things in its result, each with what later stages found in it.
    """

    results: Mapping[str, Result] = field(default_factory=dict)
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)

    def __getitem__(self, stage: str) -> Any:
        """The result of a stage that looked at this; a `Failed` where it could not answer."""
        return self.results[stage]

    def __contains__(self, stage: object) -> bool:
        """Whether the stage looked at this; filters may have left it out."""
        return stage in self.results

    def each(self, stage: str) -> Iterator[Part]:
        """The things that a stage found, at any depth of the tree."""
        for name, parts in self.parts.items():
            for part in parts:
                if name == stage:
                    yield part
                yield from part.each(stage)

    def to_json(self) -> dict[str, Any]:
        """By stage, its result; each thing in there has what later ones say under `results`."""
        return {stage: self._stage_json(stage) for stage in self.results}

    def _stage_json(self, stage: str) -> dict[str, Any]:
        told = self.results[stage].to_json()
        parts = self.parts.get(stage, ())
        name = listed(self.results[stage])
        things = told.get(name) if name is not None else None
        if not any(part.results for part in parts):
            return told
        nested = [{"results": part.to_json()} if part.results else {} for part in parts]
        if isinstance(things, list) and len(things) == len(parts):
            merged = [{**one, **other} for one, other in zip(things, nested, strict=True)]
            return {**told, str(name): merged}
        return {**told, "parts": nested}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each thing that nothing was found in, with all that it hangs on in columns.

        Columns are called `stage.column`. Results of one row stand in each row beside them.
        """
        shared: dict[str, Any] = {}
        rows: list[dict[str, Any]] = []
        for stage, result in self.results.items():
            own = [_prefixed(stage, row) for row in result.rows()]
            parts = self.parts.get(stage)
            if parts is None and len(own) == 1:
                shared |= own[0]
            elif parts is None or len(own) != len(parts):
                rows += own
            else:
                pairs = zip(own, parts, strict=True)
                rows += [{**row, **more} for row, part in pairs for more in part.rows() or [{}]]
        if not rows:
            return [shared] if shared else []
        return [{**shared, **row} for row in rows]


@dataclass(frozen=True)
class Part(Chained):
    """A thing that a stage found, and what later stages found in its crop.

    Attributes:
        thing: the detection, the line of text: what the result of its stage holds.
    """

    thing: Any = None


def _prefixed(stage: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{stage}.{key}": value for key, value in row.items()}
