"""The three steps from an input to a result, which may overlap for different inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Stopwatch


class Steps(Protocol):
    """What `Mapped` and `Batcher` ask of a predictor, or of whatever else answers."""

    @property
    def batch_size(self) -> int:
        """How many inputs one call of the engine takes."""

    @property
    def streams(self) -> int:
        """How many threads may be in `run` at once."""

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Any:
        """What the engine is given for one input. Several threads do this at once."""

    def run(self, prepared: Sequence[Any]) -> Sequence[Any]:
        """The outputs for each."""

    def decode(self, outputs: Any, prepared: Any) -> Result:
        """The result of one input. Several threads do this at once."""


class Whole:
    """One call for everything, for what cannot be taken apart: a chain of models, say."""

    batch_size = 1
    streams = 1

    def __init__(self, answers: Any) -> None:
        self._answers = answers

    def prepare(self, item: Any, watch: Stopwatch | None = None) -> Any:
        return item

    def run(self, prepared: Sequence[Any]) -> Sequence[Any]:
        return [self._answers(item) for item in prepared]

    def decode(self, outputs: Any, prepared: Any) -> Result:
        result: Result = outputs
        return result


def steps_of(answers: Any) -> Steps:
    """Those of a predictor; else the call as a whole."""
    apart = all(
        hasattr(answers, name) for name in ("batch_size", "streams", "prepare", "run", "decode")
    )
    return answers if apart else Whole(answers)


def run_each(steps: Steps, prepared: Sequence[Any]) -> list[Any]:
    """The outputs for each, or the exception in its place.

    Where a run together fails, each runs alone, so that only the guilty one has an error.
    """
    try:
        return list(steps.run(prepared))
    except Exception as error:
        if len(prepared) == 1:
            return [error]
    return [run_each(steps, [each])[0] for each in prepared]
