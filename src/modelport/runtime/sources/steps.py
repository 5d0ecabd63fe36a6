"""The steps of a predictor, for items of sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelport.errors import DataError
from modelport.feeds import ARRAY_SUFFIXES, read_arrays
from modelport.runtime.predictor import Predictor
from modelport.runtime.sources.base import Item
from modelport.runtime.steps import Steps, steps_of
from modelport.runtime.tasks.base import Result
from modelport.runtime.transforms.base import Prepared, Stopwatch


class ItemSteps:
    """Takes ready feeds out of files of arrays, and leaves everything else to the predictor.

    Args:
        answers: a predictor, or a chain of them, which takes no ready feeds.
        steps: those to take, if not its own.
    """

    def __init__(self, answers: Any, steps: Steps | None = None) -> None:
        self._answers = answers
        self._steps: Steps = steps or steps_of(answers)

    @property
    def batch_size(self) -> int:
        return self._steps.batch_size

    @property
    def streams(self) -> int:
        return self._steps.streams

    def prepare(self, item: Item, watch: Stopwatch | None = None) -> Any:
        """Raises the error of an item that has one."""
        if item.error is not None:
            raise item.error
        if item.path is not None and item.path.suffix.lower() in ARRAY_SUFFIXES:
            return self._ready(item.path)
        return self._steps.prepare(item.content, watch)

    def run(self, prepared: Sequence[Any]) -> Sequence[Any]:
        return self._steps.run(prepared)

    def decode(self, outputs: Any, prepared: Any) -> Result:
        return self._steps.decode(outputs, prepared)

    def _ready(self, path: Path) -> Prepared:
        if not isinstance(self._answers, Predictor):
            raise DataError(
                f"{path} holds ready tensors, and a pipeline begins with pictures",
                hint="Run the bundle of one stage on it",
            )
        others = self._answers.state().first_feeds
        return Prepared(read_arrays(path, self._answers.bundle.signature, others))
