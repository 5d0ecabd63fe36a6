"""What is ours in every case: a bundle, opened as its user opens it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import THREADS

from runtime_runs.case import Contender


class Ours(Contender):
    """A predictor, or a pipeline. A subclass says where the bundle is, and what a plain result is."""

    def __init__(self) -> None:
        import modelport

        self.predictor: Any = modelport.load(self.bundle(), threads=THREADS)

    @classmethod
    @abstractmethod
    def bundle(cls) -> Path:
        """Where it is; deployed first where it is not there yet."""

    @classmethod
    def ready(cls) -> None:
        cls.bundle()

    def __call__(self, path: Path) -> Any:
        return self.predictor(path)

    def many(self, paths: Sequence[Path]) -> list[Any]:
        return list(self.predictor.map(paths, errors="raise"))
